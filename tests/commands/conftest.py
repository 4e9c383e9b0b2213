"""Fixtures of the command tests: calls that must fail, and one trained run that tests only read."""

import re
import sys
from importlib import import_module

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from tests.conftest import SHORT, load_script
from unbraid.commands.cli import CONF
from unbraid.commands.overrides import quote_paths
from unbraid.runs.errors import InputError


def has_names(text, names):
    """Return whether a text contains each of the names, which are separated by spaces."""
    return all(name in text for name in names.split())


@pytest.fixture
def refused(cli):
    """Call a script that must fail with status 1 and one line; return that line. A sweep also prints that it checks runs."""

    def call(*words, script="train.py"):
        status, out, err = cli(*words, script=script)
        assert (
            status == 1
            and (out == "" or re.fullmatch(r"sweep   checking .*\n", out))
            and err.startswith("error: ")
            and len(err.splitlines()) == 1
        ), err
        return err

    return call


@pytest.fixture
def error_of(tmp_path, monkeypatch):
    """Call the function of a command that must raise InputError, in an empty folder; return the error."""
    (tmp_path / "work").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "work")

    def call(verb, *words):
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose(verb, quote_paths(words, sweeps=False), return_hydra_config=True)
        config.hydra.runtime.output_dir = str(tmp_path / "work")
        HydraConfig.instance().set_config(config)
        config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        with pytest.raises(InputError) as error:
            getattr(import_module(f"unbraid.commands.{verb}"), verb)(config)
        return error.value

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory, songs):
    """Return the folder of a U-Net that was trained for two epochs on `songs`; tests must not change it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        words = ["model=unet", "data=musdb", f"data.root={songs}", *SHORT, "trainer.max_epochs=2", f"hydra.run.dir={folder}"]
        patch.setattr(sys, "argv", ["train.py", *words, "targets=vocals_accompaniment"])
        load_script("train.py")()
    return folder
