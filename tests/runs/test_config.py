"""A run folder's records, and that nothing outside the allowlist is ever built."""

import json
from typing import Any

import pytest
from omegaconf import OmegaConf

from unbraid.runs.config import ALLOWED, check, resolve, write_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write

CHOICES = {"model": "unet", "data": "demo"}


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "builtins.eval", "subprocess.run", "torch.load", "torch.hub.load", "unbraid.runs.config.subprocess.run",
        "unbraid.audio.os.remove", "torch.nn.modules.module.warnings.warn", "unbraid_evil.run", "pytorch_lightning.Trainer",
        "unbraid.runs.errors", "unbraid.data.store.VERSION", "unbraid.runs.config.resolve", "unbraid.runs.config._write",
        "unbraid.audio.write",
        "unbraid.data.layouts.demo._render_to", "unbraid.data.layouts.demo.MUSDB18.fetch", "torch.nn.Module.load_state_dict", 5,
    ],
)  # fmt: skip
def test_what_the_allowlist_does_not_name_is_refused(target):
    with pytest.raises(InputError, match="may not be built"):
        resolve(target, "model", ALLOWED)


@pytest.mark.parametrize("target", ["unbraid.nets.unet.UNet", "torch.nn.L1Loss", "torch.optim.Adam"])
def test_what_it_names_is_found(target):
    assert resolve(target, "model", ALLOWED).__name__ == target.rpartition(".")[2]


def test_a_name_that_is_not_there_is_said():
    with pytest.raises(InputError, match=r"model\._target_: there is no 'unbraid\.nets\.nothing\.Net'"):
        resolve("unbraid.nets.nothing.Net", "model")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_what_is_no_finite_number_stands_nowhere_in_a_config(value):
    """Each of a constructor's own bounds would let one of them through."""

    def schema(sampling: dict[str, Any], gains: list[float]) -> None: ...

    with pytest.raises(InputError, match=f"sampling.skip_below_db: found {value}, expected a finite number"):
        check(OmegaConf.create({"sampling": {"skip_below_db": float(value)}, "gains": [0.5]}), schema)
    with pytest.raises(InputError, match=rf"gains\[1\]: found {value}, expected a finite number"):
        check(OmegaConf.create({"sampling": {"skip_below_db": None}, "gains": [0.5, float(value)]}), schema)


def test_json_is_whole_or_not_there_and_never_holds_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_write_that_fails_keeps_the_file_before(tmp_path):
    path = tmp_path / "a"
    path.write_text("before")
    with pytest.raises(OSError, match="full"), atomic_write(path) as partial:
        partial.write_text("half")
        raise OSError("full")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
