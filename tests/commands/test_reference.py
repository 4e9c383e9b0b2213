"""Published figures beside the scores of a run, as a user types it."""

import json

from tests.conftest import SHORT, only_run
from tests.data import twins

QUICK = "protocol.taps=8"
CHUNK = "model.separator.chunk_seconds=5.90625"  # 64 frames
RECIPE = ["experiment=jansson2017_ikala", QUICK, *SHORT, CHUNK]
PREFIX = "distance to reference (Jansson et al., ISMIR 2017, iKala): "


def load(path):
    return json.loads(path.read_text())


def test_a_run_says_its_distance_and_so_does_its_evaluation(cli, tmp_path):
    root = twins.ikala(tmp_path / "root")
    status, out, err = cli(*RECIPE, f"data.root={root}", "data.layout.valid=0.25", "model=unet_noskip")
    assert status == 0, err
    run = only_run(tmp_path / "work")
    record, summary = load(run / "scores.json")["reference"], load(run / "scores.json")["summary"]
    for target, figure in {"vocals": 8.549, "accompaniment": 10.906}.items():
        found = summary[target]["NSDR"]["mean"]
        assert f"{PREFIX}{target} NSDR {found:.2f} - {figure:.2f} = {found - figure:+.2f} dB, SIR " in out
        assert record["distances"][target]["NSDR"]["distance"] == found - figure
    assert record["model"] == "unet_noskip"

    status, out, err = cli(f"run={run}", "protocol=ikala_nsdr", QUICK, door="scripts/evaluate.py")
    assert status == 0, err
    assert PREFIX in out and load(run / "scores/ikala_nsdr/scores.json")["reference"] == record
    status, out, err = cli(f"run={run}", door="scripts/evaluate.py")
    assert "): reference is for protocol=ikala_nsdr, found protocol=energy_ratios" in out


def test_training_on_pairs_and_scoring_every_clip_is_compared(cli, tmp_path):
    """The experiment of the paper."""
    status, out, err = cli(*RECIPE, "data=pairs", f"data.root={twins.pairs(tmp_path / 'pairs')}")
    assert status == 0, err
    assert "no distance to reference (Jansson et al., ISMIR 2017, iKala): reference is for data=ikala, found data=pairs" in out
    run, root = only_run(tmp_path / "work"), twins.ikala(tmp_path / "ikala")
    every = ["data=ikala", f"data.root={root}", "data.layout.test=0.999", "data.layout.valid=0", "protocol=ikala_nsdr", QUICK]
    status, out, err = cli(f"run={run}", *every, door="scripts/evaluate.py")
    assert status == 0, err
    assert f"{PREFIX}vocals NSDR " in out
    (scores,) = (run / "scores").glob("ikala_nsdr-*/scores.json")
    assert len(load(scores)["tracks"]) == len([*(root / "Wavfile").iterdir()])


def test_an_oracle_has_no_distance(cli, tmp_path):
    root = twins.ikala(tmp_path / "root")
    words = ["experiment=jansson2017_ikala", f"data.root={root}", QUICK]
    status, out, err = cli(*words, "oracle=irm", door="scripts/evaluate.py")
    assert status == 0 and "reference" not in out, err
