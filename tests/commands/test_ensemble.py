"""scripts/ensemble.py combines runs, and the result works like every other run."""

import json
import shutil
import sys

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

import unbraid
from tests.conftest import SHORT, load_script, make_root, write_song
from tests.interop.msst.pairs import write_pair
from unbraid.commands.inspect import commands
from unbraid.inference.description import describe

SCRIPT = "scripts/ensemble.py"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with songs and three runs of the same network: a trained one, and two with changed weights."""
    folder = tmp_path_factory.mktemp("ensemble")
    make_root(folder / "songs")
    write_song(folder / "songs/valid/song 4", seed=4)
    write_song(folder / "songs/test/song 5", seed=5)
    words = ["data=musdb", f"data.root={folder / 'songs'}", f"hydra.run.dir={folder / 'a'}", *SHORT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *words, "targets=vocals_accompaniment", "evaluation.clips=0"])
        patch.setenv("UNBRAID_CACHE", str(folder / "cache"))
        load_script("train.py")()
    for name in "bc":
        shutil.copytree(folder / "a", folder / name)
        torch.manual_seed(ord(name))
        checkpoint = torch.load(folder / "a/checkpoints/best.ckpt", weights_only=True)
        for key, value in checkpoint["state_dict"].items():
            if key.startswith("separator.") and value.is_floating_point():
                value += 0.1 * value.abs() * torch.randn_like(value)
        torch.save({"state_dict": checkpoint["state_dict"]}, folder / name / "checkpoints/best.ckpt")
    return folder


@pytest.fixture(autouse=True)
def _cache_of_the_training(place, monkeypatch):
    """Use the cache of the training, because the run does not name one."""
    monkeypatch.setenv("UNBRAID_CACHE", str(place / "cache"))


@pytest.fixture(scope="module")
def built(place):
    """Return the folder of an ensemble of three runs, and the text that the command prints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(place / "cache"))
        patch.setattr(sys, "argv", [SCRIPT, runs(place, "abc"), f"output={place / 'all'}", "trainer=cpu"])
        load_script(SCRIPT)()
    return place / "all"


def runs(place, names):
    return f"runs=[{','.join(str(place / name) for name in names)}]"


def load(path):
    return json.loads(path.read_text())


def scores_of(folder):
    return load(folder / "ensemble.json")["validation"]


def test_validation_is_never_below_the_best_member(built):
    validation = scores_of(built)
    assert validation["tracks"] == ["song 2", "song 4"] and len(validation["members"]) == 3
    for target in ("vocals", "accompaniment"):
        best = max(member[target] for member in validation["members"].values())
        assert validation["ensemble"][target] >= best


def test_scores_of_all_models_are_written(built, place):
    record, scores = load(built / "run.json"), load(built / "scores.json")
    assert (record["state"], record["choices"]) == ("done", {"model": "ensemble", "data": "musdb"})
    assert {*scores["tracks"]} == {"song 3", "song 5"} and {*scores["summary"]} == {"vocals", "accompaniment"}
    assert {*scores["oracle"]} == {"irm", "psm"} and "trained_on" not in scores
    for number, name in enumerate("abc"):
        member = load(built / f"members/{number}-{name}/scores.json")
        assert {*member["tracks"]} == {*scores["tracks"]}
    assert load(built / "members/0-a/scores.json")["tracks"] == load(place / "a/scores.json")["tracks"]
    tracks = load(built / "tracks.json")
    assert {*tracks["train"]} == {"song 0", "song 1"} and {*tracks["valid"]} == {"song 2", "song 4"}


def test_weights_of_each_band_sum_to_one(built, place):
    found = load(built / "ensemble.json")
    assert found["mode"] == "weights" and found["edges_hz"] == [250, 500, 1000, 2000]
    for target, weights in found["weights"].items():
        sums = np.sum([*weights.values()], axis=0)
        np.testing.assert_allclose(sums, np.ones(5), atol=1e-6, err_msg=target)
    stored = unbraid.load(built).model.weights
    np.testing.assert_allclose(stored[0, :, 1], found["weights"]["vocals"][str(place / "b")], atol=1e-6)


def test_an_ensemble_is_used_like_a_run(built, place, cli, tmp_path):
    status, out, err = cli(f"run={built}", "trainer=cpu", script="scripts/evaluate.py")
    assert status == 0 and "2 tracks, 2 of them already scored" in out, err
    assert load(built / "scores/energy_ratios/scores.json")["tracks"] == load(built / "scores.json")["tracks"]
    song = place / "songs/test/song 3/mixture.wav"
    status, _, err = cli(f"run={built}", f"input={song}", "output=stems", "bits=32", script="scripts/separate.py")
    assert status == 0, err
    samples, rate = soundfile.read(song, dtype="float32")
    loaded = unbraid.load(built, device="cpu").separate(samples.T, rate)
    written = soundfile.read(tmp_path / "work/stems/mixture/vocals.wav", dtype="float32")[0].T
    np.testing.assert_allclose(written, loaded["vocals"].numpy(), atol=1e-6)
    status, _, err = cli(f"run={built}", "output=public", script="scripts/publish.py")
    assert status == 0, err
    published = unbraid.load(tmp_path / "work/public", device="cpu").separate(samples.T, rate)
    assert torch.equal(published["vocals"], loaded["vocals"])
    found = describe(built)
    assert found.model == "separator ensemble, trained on musdb, state done"
    assert [line.split()[1] for line in commands(found, built, None)] == ["separate", "evaluate"]
    status, _, err = cli(f"run={built}", script="scripts/export.py")
    assert status == 1 and "an ensemble cannot be exported" in err
    status, _, err = cli(f"runs=[{built},{place / 'a'}]", "output=report", script="scripts/report.py")
    assert status == 0, err


def test_the_same_command_gives_the_same_ensemble(built, place, cli, tmp_path):
    words = [runs(place, "abc"), "output=again", "trainer=cpu", "mode=weights"]
    status, out, err = cli(*words, script=SCRIPT)
    assert status == 0, err
    again = tmp_path / "work/again"
    assert load(again / "ensemble.json") == load(built / "ensemble.json")
    assert load(again / "scores.json")["tracks"] == load(built / "scores.json")["tracks"]
    lines = out.splitlines()
    assert any("is" in line and "SI-SDRi" in line and str(place / "a") in line for line in lines)  # the paired test
    assert (
        sum(line.startswith((str(place), "ensemble ")) and len(line.split()) == 3 for line in lines) >= 8
    )  # validation, costs


def test_a_mode_without_weights(place, cli, tmp_path):
    status, out, err = cli(runs(place, "ab"), "mode=max_magnitude", "output=largest", "trainer=cpu", script=SCRIPT)
    assert status == 0, err
    folder = tmp_path / "work/largest"
    assert load(folder / "ensemble.json")["weights"] is None and "ensemble (max_magnitude)" in out
    model = unbraid.load(folder, device="cpu").model
    assert (model.mode, len(model.members), model.edges_hz) == ("max_magnitude", 2, [])
    assert load(folder / "scores.json")["settings"]["estimate"]["mode"] == "max_magnitude"


def test_a_published_member_and_an_ensemble_as_member(built, place, cli, tmp_path):
    assert cli(f"run={place / 'b'}", "output=public", script="scripts/publish.py")[0] == 0
    words = [f"runs=[public,{built}]", "mode=mean", "output=nested", "trainer=cpu", "data=musdb"]
    status, _, err = cli(*words, f"data.root={place / 'songs'}", script=SCRIPT)
    assert status == 0, err
    assert [len(getattr(member, "members", ())) for member in unbraid.load(tmp_path / "work/nested").model.members] == [0, 3]


def test_a_member_that_knows_the_validation_tracks(place, cli, tmp_path):
    shutil.copytree(place / "b", tmp_path / "seen")
    tracks = load(place / "b/tracks.json")
    tracks["train"] |= tracks["valid"]
    (tmp_path / "seen/tracks.json").write_text(json.dumps(tracks | {"valid": {}}))
    words = [f"runs=[{place / 'a'},{tmp_path / 'seen'}]", "mode=mean", "output=warned", "trainer=cpu"]
    status, out, err = cli(*words, script=SCRIPT)
    assert status == 0 and f"{tmp_path / 'seen'} was trained on 2 of 2 validation tracks" in out, err


@pytest.mark.parametrize(
    ("words", "where", "found"),
    [
        (["{ab}"], "output", None),
        (["output=o"], "runs", "none"),
        (["runs=[{a}]", "output=o"], "runs", "{a}"),
        (["runs=[{a},{a}/]", "output=o"], "runs", "{a}, {a}/"),
        (["{ab}", "output=o", "mode=loudest"], "mode", "'loudest'"),
        (["{ab}", "output={a}"], "output={a}", None),
        (["{ab}", "output=o", "model=scnet"], "model", None),
        (["{ab}", "output=o", "checkpoint=first"], "checkpoint=first", None),
    ],
)
def test_invalid_keys_are_refused(place, error_of, words, where, found):
    names = {"{ab}": runs(place, "ab"), "{a}": str(place / "a")}

    def filled(text):
        for key, value in names.items():
            text = text.replace(key, value)
        return text

    error = error_of("ensemble", *map(filled, words))
    assert (error.where, error.found) == (filled(where), None if found is None else filled(found))


def test_runs_with_different_targets_are_refused(place, error_of, tmp_path):
    other = shutil.copytree(place / "b", tmp_path / "other")
    config = OmegaConf.load(other / "config.yaml")
    config.model.separator.targets = {"vocals": ["vocals"], "band": ["-vocals"]}
    OmegaConf.save(config, other / "config.yaml")
    error = error_of("ensemble", f"runs=[{place / 'a'},{other}]", "output=o")
    assert (error.where, error.found) == (f"runs={other}", "vocals, band, 8192 Hz, mono")
    assert not (tmp_path / "work/o").exists()


def test_runs_without_validation_tracks_are_refused(place, error_of, tmp_path):
    root = shutil.copytree(place / "songs", tmp_path / "songs")
    shutil.rmtree(root / "valid")
    error = error_of("ensemble", runs(place, "ab"), "output=o", f"data.root={root}")
    assert error.where == f"data.root={root}" and "0 valid" in error.found
    assert not (tmp_path / "work/o").exists()


def test_checkpoints_of_another_tool(place, cli, error_of, tmp_path):
    for family in ("scnet", "hdemucs"):
        write_pair(tmp_path, family, family)
    words = [f"runs=[{tmp_path / 'scnet.yaml'},{tmp_path / 'hdemucs.yaml'}]", "mode=mean", "output=two"]
    assert error_of("ensemble", *words).where == "data"
    status, _, err = cli(*words, "trainer=cpu", "data=musdb", f"data.root={place / 'songs'}", script=SCRIPT)
    assert status == 0, err
    two = unbraid.load(tmp_path / "work/two", device="cpu")
    assert two.model.inference == [{"overlap": 0.5, "join": "weighted"}, {"overlap": 0.75, "join": "average"}]
    samples = np.random.default_rng(0).standard_normal((2, 100_000)).astype(np.float32)
    single = [unbraid.load(tmp_path / f"{name}.yaml", device="cpu").separate(samples, 44100) for name in ("scnet", "hdemucs")]
    mean = (single[0]["vocals"] + single[1]["vocals"]) / 2
    torch.testing.assert_close(two.separate(samples, 44100)["vocals"], mean, atol=1e-5, rtol=0)
