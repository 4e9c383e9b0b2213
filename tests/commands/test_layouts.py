"""Training and scoring with every layout, on small data sets with the folders of the real ones."""

import json

import pytest
import torch

from tests.commands.conftest import has_names
from tests.conftest import SHORT, files_below, make_root, only_run
from tests.data import twins
from unbraid.commands.cli import CONF
from unbraid.commands.layouts import layouts_that_fit

LAYOUTS = {
    "ikala": (twins.ikala, ["data=ikala", "targets=vocals_accompaniment", "data.layout.valid=0.25"]),
    "mir1k": (twins.mir1k, ["data=mir1k", "data.layout.test=[amy]"]),
    "medleydb": (twins.medleydb, ["data=medleydb", "targets=accompaniment"]),
    "pairs": (twins.pairs, ["data=pairs"]),
    "stems": (twins.stems, ["data=stems", "targets=voice"]),
    "singles": (twins.singles, ["data=singles", "targets=voice"]),
}


@pytest.mark.slow
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


@pytest.mark.slow
def test_augmentation_remix_and_pitched_tracks_train(cli, songs, tmp_path):
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
    ("words", "names"),
    [
        (["augmentation.gain.low=2"], "augmentation.gain.low 1.25 2"),
        (["offline_augmentation.up.semitones=40"], "offline_augmentation.up.semitones 40"),
        (["data.sampling.over=songs"], "data.sampling.over 'songs'"),
        (["data.sampling.remix=2"], "data.sampling.remix 2"),
        (["data.residency=device"], "data.residency device cpu"),
        (["data.residency=gpu"], "data.residency 'gpu'"),
        (["data.num_decode_workers=0"], "data.num_decode_workers 0"),
    ],
)
def test_invalid_options_of_the_data_are_named(error_of, songs, words, names):
    choices = ["data=musdb", f"data.root={songs}", "augmentation=gain_swap", "offline_augmentation=pitch"]
    assert has_names(str(error_of("train", *choices, *SHORT, *words)), names)


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
def test_a_folder_of_another_layout_is_not_changed(cli, tmp_path, words):
    root, cache = twins.pairs(tmp_path / "root"), tmp_path / "cache"
    before = files_below(root)
    status, _, err = cli(*words, f"data.root={root}", f"data.cache_dir={cache}", *SHORT)
    assert status == 1 and err.startswith(f"error: {root}: ") and "data=pairs" in err
    assert files_below(root) == before and not cache.exists() and files_below(tmp_path / "work") == []


def test_a_folder_that_no_layout_fits_is_named(refused, tmp_path):
    (tmp_path / "notes.txt").touch()
    assert has_names(refused("data=stems", f"data.root={tmp_path}", *SHORT), f"{tmp_path} layout")
