"""Tests of config checks, of the allowlist and of atomic JSON files."""

import json
from typing import Any

import pytest
from omegaconf import OmegaConf

from unbraid.runs.allowlist import ALLOWED, resolve
from unbraid.runs.config import build, check, own_config
from unbraid.runs.errors import InputError
from unbraid.runs.files import write_json

LAUNCHER = {"_target_": "unbraid.sweeps.launchers.Local", "gpus": [], "gpus_per_run": 1, "runs_per_gpu": 1, "fail_fast": None}


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "builtins.eval", "subprocess.run", "torch.load", "torch.hub.load", "unbraid.runs.config.subprocess.run",
        "unbraid.audio.os.remove", "torch.nn.modules.module.warnings.warn", "unbraid_evil.run", "pytorch_lightning.Trainer",
        "unbraid.runs.errors", "unbraid.data.store.VERSION", "unbraid.runs.config.resolve", "unbraid.runs.config._write",
        "unbraid.audio.write", "torch.nn.modules.transformer.TransformerEncoder",
        "unbraid.data.layouts.demo._render_to", "unbraid.data.layouts.demo.MUSDB18.fetch", "torch.nn.Module.load_state_dict", 5,
    ],
)  # fmt: skip
def test_classes_outside_the_allowlist_are_refused(target):
    with pytest.raises(InputError) as raised:
        resolve(target, "model", ALLOWED)
    assert raised.value.where == "model._target_" and raised.value.found == target
    assert raised.value.where == "model._target_" and "class" in raised.value.problem


@pytest.mark.parametrize("target", ["unbraid.nets.unet.UNet", "torch.nn.L1Loss", "torch.optim.Adam"])
def test_classes_of_the_allowlist_are_imported(target):
    assert resolve(target, "model", ALLOWED).__name__ == target.rpartition(".")[2]


def test_a_class_that_does_not_exist_is_refused():
    with pytest.raises(InputError) as raised:
        resolve("unbraid.nets.nothing.Net", "model")
    assert (raised.value.where, raised.value.found) == ("model._target_", "unbraid.nets.nothing.Net")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_configs_contain_only_finite_numbers(value):
    """The bounds of a constructor would accept at least one of these values."""

    def schema(sampling: dict[str, Any], gains: list[float]) -> None: ...

    for where, skip_below_db, gain in (("sampling.skip_below_db", float(value), 0.5), ("gains[1]", None, float(value))):
        with pytest.raises(InputError) as raised:
            check(OmegaConf.create({"sampling": {"skip_below_db": skip_below_db}, "gains": [0.5, gain]}), schema)
        assert raised.value.where == where and str(raised.value.found) == value


@pytest.mark.parametrize(("key", "is_kept"), [("n_fft", False), ("quantle", True)])
def test_a_key_of_a_replaced_class_can_be_removed(key, is_kept):
    def schema(loss: dict[str, Any]) -> None: ...

    loss = {"_target_": "unbraid.models.waveform_losses.TrimmedMSE", "quantile": 0.9, "whole_chunks": False, key: 1}
    with pytest.raises(InputError) as raised:
        check(OmegaConf.create({"loss": loss}), schema)
    assert raised.value.where == f"loss.{key}" and (f"~loss.{key}" in raised.value.hint) != is_kept


def test_booleans_are_not_numbers():
    def schema(sizes: list[int], switches: list[bool], gains: dict[str, float], more: list[list[int] | None]) -> None: ...

    content = {"sizes": [1, 2], "switches": [True], "gains": {"a": 0.5}, "more": [[1], None]}
    check(OmegaConf.create(content), schema)
    for key, value in (("sizes", [1, True]), ("gains", {"a": True}), ("more", [[True]])):
        with pytest.raises(InputError) as raised:
            check(OmegaConf.create(content | {key: value}), schema)
        assert (raised.value.where, raised.value.found) == (key, repr(value))


@pytest.mark.parametrize(
    ("net", "where"),
    [
        ({"_target_": "torch.nn.Dropout", "p": 2.0}, "net: dropout"),
        (LAUNCHER | {"cpu_slots": 0}, "net.cpu_slots"),
    ],
)
def test_errors_of_constructors_name_the_key(net, where):
    with pytest.raises(InputError) as raised:
        build(OmegaConf.create({"net": net}).net)
    assert raised.value.where.startswith(where)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.touch(), lambda path: path.mkdir()])
def test_a_path_without_a_run_is_refused(make, tmp_path):
    make(tmp_path / "run")
    with pytest.raises(InputError) as raised:
        own_config(tmp_path / "run")
    assert raised.value.where == f"run={tmp_path / 'run'}"


def test_json_files_are_atomic_and_never_contain_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
