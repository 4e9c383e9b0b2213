"""Tests that untrusted runs choose neither the folders that are written nor the folders that are read."""

import pytest
import pytorch_lightning as pl
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint

from tests.conftest import files_below, make_run
from tests.test_configs import compose
from unbraid.commands.experiment import check_experiment, take_data
from unbraid.data.roots import remember, unknown_places
from unbraid.runs.errors import InputError
from unbraid.training.callbacks.last_checkpoint import KEY, LastCheckpoint

MINE = {"root": None, "cache_dir": "/mine", "download": False}


def data(**changes):
    theirs = {"root": "/theirs/data", "cache_dir": "/theirs/cache", "download": True}
    return OmegaConf.create(theirs | {"layout": {"_target_": "x", "train": ["a"]}} | changes)


@pytest.fixture(autouse=True)
def _nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_output_folders_come_from_the_user():
    remember(["/theirs/data"])
    taken = take_data(OmegaConf.create(MINE), data(), [])
    assert (taken.root, taken.cache_dir, taken.download) == ("/theirs/data", "/mine", False)
    taken = take_data(OmegaConf.create(MINE | {"download": True, "root": "/r"}), data(), ["data.download", "data.root"])
    assert (taken.root, taken.cache_dir, taken.download) == ("/r", "/mine", True)


@pytest.mark.parametrize("root", ["/theirs/data", "relative", "../up", "~/Music", "/", 3])
def test_a_root_that_only_the_run_names_is_typed_once(root):
    with pytest.raises(InputError) as raised:
        take_data(OmegaConf.create(MINE), data(root=root), [])
    assert raised.value.where == "data.root" and f"data.root={root}" in raised.value.hint.replace("'", "")
    assert take_data(OmegaConf.create(MINE | {"root": str(root)}), data(root=root), ["data.root"]).root == str(root)
    remember([str(root)])
    assert take_data(OmegaConf.create(MINE), data(root=root), []).root == root


@pytest.mark.parametrize("value", ["/home/music", ["ok", "../x"], {"a": ["~/b"]}])
def test_layout_options_stay_in_the_root(value):
    remember(["/theirs/data"])
    with pytest.raises(InputError) as raised:
        take_data(OmegaConf.create(MINE), data(layout={"_target_": "x", "train": value}), [])
    assert raised.value.where == "data.layout.train"
    assert take_data(OmegaConf.create(MINE), data(layout={"_target_": "x", "train": ["*lead*", "a/b"]}), [])


@pytest.mark.parametrize("own", [3, None, ["a"]])
def test_invalid_data_is_one_error(own):
    with pytest.raises(InputError) as raised:
        take_data(OmegaConf.create(MINE), OmegaConf.create({"data": own}).data, [])
    assert raised.value.where == "data"


@pytest.mark.parametrize("text", ["", "3\n", "[" * 100_000, "\xff\n"])
def test_damaged_lines_of_known_roots_are_skipped(tmp_path, text):
    path = tmp_path / "state/unbraid/roots.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(f'{text}\n"/known"\n', encoding="latin-1")
    assert unknown_places(["/known", "/other"]) == ["/other"]


@pytest.mark.parametrize("changes", [["data=demo"], ["data=demo_leads", "targets=reed"], ["data=musdb"]])
def test_evaluation_ignores_folders_of_the_run(cli, tmp_path, changes):
    victim = tmp_path / "victim"
    victim.mkdir()
    words = [f"data.root={victim / 'songs'}", f"data.cache_dir={victim / 'cache'}", "data.download=true"]
    run = make_run(tmp_path / "run", *changes, *words)
    before = files_below(run)
    status, _, error = cli(f"run={run}", script="scripts/evaluate.py")
    assert status == 1 and f"type data.root={victim / 'songs'}" in error
    status, _, error = cli(f"run={run}", f"data.root={victim / 'songs'}", script="scripts/evaluate.py")
    assert status == 1 and "error: " in error
    assert not [*victim.iterdir()] and files_below(run) == before


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "a\nb"])
def test_targets_of_a_config_are_names_of_files(name):
    config = compose()
    config.targets = {name: ["vocals"]}
    with pytest.raises(InputError) as raised:
        check_experiment(config)
    assert raised.value.where == "targets"


def resumed(folder, path):
    """Return the state of a `ModelCheckpoint` after a run is resumed from a checkpoint with an untrusted path."""
    callback = ModelCheckpoint(folder)
    names = ("best_model_path", "kth_best_model_path", "last_model_path")
    state = dict.fromkeys(names, path) | {"dirpath": "/theirs", "best_k_models": {path: 1.0}, "current_score": 1.0}
    trainer = pl.Trainer(accelerator="cpu", logger=False, callbacks=[callback], enable_progress_bar=False)
    resumption = {"processes": 1, "should_stop": False, "metrics": {}}
    LastCheckpoint(1).on_load_checkpoint(trainer, None, {KEY: resumption, "callbacks": {callback.state_key: state}})
    return [*(state[name] for name in names), *state["best_k_models"]]


@pytest.mark.parametrize(
    "path", ["/theirs/../../victim", "/theirs/x/../../../victim", "/victim", "../victim", "victim", "file:/victim"]
)
def test_checkpoints_of_a_run_name_no_files_elsewhere(tmp_path, path):
    assert {*resumed(tmp_path, path)} == {str(tmp_path / "victim")}  # Lightning deletes these files


@pytest.mark.parametrize("path", ["/theirs/..", "..", "/theirs/.hidden"])
def test_checkpoints_without_a_name_are_refused(tmp_path, path):
    with pytest.raises(InputError):
        resumed(tmp_path, path)
