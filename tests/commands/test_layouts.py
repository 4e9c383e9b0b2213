"""Every layout is trained on and scored, as a user types it, on a small data set that lies as the real one does."""

import json

import pytest
import torch

from tests.conftest import SHORT, files_below, make_root, only_run
from tests.data import twins
from unbraid.commands.cli import CONF
from unbraid.commands.layouts import layouts_that_fit

OWN = ["targets=voice"]
LAYOUTS = {
    "ikala": (twins.ikala, ["data=ikala", "targets=vocals_accompaniment", "data.layout.valid=0.25"]),
    "mir1k": (twins.mir1k, ["data=mir1k", "data.layout.test=[amy]"]),
    "medleydb": (twins.medleydb, ["data=medleydb", "targets=accompaniment"]),
    "pairs": (twins.pairs, ["data=pairs"]),
    "stems": (twins.stems, ["data=stems", *OWN]),
    "singles": (twins.singles, ["data=singles", *OWN]),
}


@pytest.mark.parametrize(("twin", "words"), LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_trains(cli, tmp_path, twin, words):
    root = twin(tmp_path / "root")
    before = sorted(root.rglob("*"))
    status, _, err = cli(*words, f"data.root={root}", *SHORT)
    assert status == 0, err
    run = only_run(tmp_path / "work")
    assert json.loads((run / "run.json").read_text())["state"] == "done"
    assert json.loads((run / "scores.json").read_text())["tracks"]
    assert sorted(root.rglob("*")) == before


def test_augmentation_remix_and_copies_train(cli, songs, tmp_path):
    words = [
        "augmentation=all",
        "offline_augmentation=tempo",
        "data.sampling.remix=0.5",
        "data.sampling.skip_below_db=-50",
        "targets=all",
    ]
    status, out, err = cli("data=musdb", f"data.root={songs}", *SHORT, *words)
    assert status == 0, err
    assert "6 train, 1 valid, 1 test tracks; 6 steps an epoch" in out
    weights = torch.load(only_run(tmp_path / "work") / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["augmentation.gain.low=2"], "augmentation.gain.low: out of range, found 2"),
        (["offline_augmentation.up.semitones=40"], "offline_augmentation.up.semitones: out of range, found 40"),
        (["data.sampling.over=songs"], "data.sampling.over: found 'songs', expected Literal['tracks', 'time']"),
        (["data.sampling.remix=2"], "data.sampling.remix: out of range, found 2"),
        (["data.residency=device"], "data.residency=device: "),
        (["data.residency=gpu"], "data.residency: found 'gpu'"),
        (["data.num_decode_workers=0"], "data.num_decode_workers: found 0"),
    ],
)
def test_what_the_data_engine_cannot_use_is_said(cli, songs, words, sentence):
    choices = ["data=musdb", f"data.root={songs}", "augmentation=gain_swap", "offline_augmentation=pitch"]
    status, _, err = cli(*choices, *SHORT, *words)
    assert status == 1 and sentence in err


@pytest.mark.parametrize(
    ("twin", "names"),
    [
        (twins.ikala, ["ikala", "mir1k", "singles"]),
        (twins.medleydb, ["medleydb", "singles"]),
        (twins.pairs, ["pairs"]),
        (twins.stems, ["stems"]),
        (twins.singles, ["singles"]),
        (make_root, ["musdb", "stems"]),
        (twins.msst, ["msst"]),
        (lambda root: root.mkdir(), []),
        (lambda root: None, []),
    ],
)
def test_the_layouts_that_fit_a_folder(tmp_path, twin, names):
    twin(tmp_path / "root")
    before = files_below(tmp_path)
    assert layouts_that_fit(tmp_path / "root", CONF) == names
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("words", [["data=demo"], ["data=demo_leads"], ["data=musdb", "data.download=true"], ["data=ikala"]])
def test_a_folder_of_another_layout_is_named_and_stays_as_it_is(cli, tmp_path, words):
    root, cache = twins.pairs(tmp_path / "root"), tmp_path / "cache"
    before = files_below(root)
    status, _, err = cli(*words, f"data.root={root}", f"data.cache_dir={cache}", *SHORT)
    assert status == 1 and err.startswith(f"error: {root}: ") and "Layouts that fit this folder: data=pairs" in err
    assert files_below(root) == before and not cache.exists() and files_below(tmp_path / "work") == []


def test_a_folder_that_no_layout_fits_is_said(cli, tmp_path):
    (tmp_path / "notes.txt").touch()
    status, _, err = cli("data=stems", f"data.root={tmp_path}", *SHORT)
    assert status == 1 and "No layout fits this folder" in err
