"""Published scores are compared with the scores of a run."""

import json

import pytest

from tests.conftest import SHORT, only_run
from tests.data import twins

QUICK = ["protocol.taps=8", "model.separator.chunk_seconds=5.90625"]  # 64 frames
SCRIPT = "scripts/evaluate.py"
PREFIX = "distance to reference (Jansson et al., ISMIR 2017, iKala): "


def load(path):
    return json.loads(path.read_text())


@pytest.mark.slow
def test_training_and_evaluation_print_the_distance(cli, tmp_path):
    root = twins.ikala(tmp_path / "root")
    recipe = ["experiment=jansson2017_ikala", "model=unet_noskip", f"data.root={root}", "data.layout.valid=0.25"]
    status, out, err = cli(*recipe, *SHORT, *QUICK)
    assert status == 0, err
    run = only_run(tmp_path / "work")
    record, summary = load(run / "scores.json")["reference"], load(run / "scores.json")["summary"]
    for target, figure in {"vocals": 8.549, "accompaniment": 10.906}.items():
        mean = summary[target]["NSDR"]["mean"]
        assert f"{PREFIX}{target} NSDR {mean:.2f} - {figure:.2f} = {mean - figure:+.2f} dB, SIR " in out
        assert record["distances"][target]["NSDR"]["distance"] == mean - figure
    assert record["model"] == "unet_noskip"

    words = [f"run={run}", "protocol=ikala_nsdr", QUICK[0]]
    status, out, err = cli(*words, script=SCRIPT)
    assert status == 0, err
    assert PREFIX in out and load(run / "scores/ikala_nsdr/scores.json")["reference"] == record

    run_record = load(run / "run.json")
    (run / "run.json").write_text(json.dumps(run_record | {"choices": {"model": "unet", "data": "pairs"}}))
    _, out, _ = cli(*words, script=SCRIPT)
    assert "): reference is for data=ikala, found data=pairs" in out
    every = ["data=ikala", f"data.root={root}", "data.layout.test=0.999", "data.layout.valid=0"]
    status, out, err = cli(*words, *every, script=SCRIPT)
    assert status == 0, err
    scores = load(run / "scores/ikala_nsdr-ikala/scores.json")
    assert f"{PREFIX}vocals NSDR " not in out and "distances" not in scores["reference"] and len(scores["trained_on"]) > 2
    (run / "tracks.json").write_text("{}")  # as in the paper: training on pairs, scores of all clips
    status, out, err = cli(*words, *every, script=SCRIPT)
    assert status == 0, err
    assert f"{PREFIX}vocals NSDR " in out
    scores = load(run / "scores/ikala_nsdr-ikala/scores.json")
    assert len(scores["tracks"]) == 8 and scores["reference"]["model"] == "unet"


def test_an_oracle_has_no_distance(cli, tmp_path):
    root = twins.ikala(tmp_path / "root")
    status, out, err = cli("experiment=jansson2017_ikala", f"data.root={root}", QUICK[0], "oracle=irm", script=SCRIPT)
    assert status == 0 and "reference" not in out, err
