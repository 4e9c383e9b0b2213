"""Tests that run folders of unknown origin never execute the code of a plugin that the user has not named.

Each hostile run names a package that creates a file when it is imported or when its class is built.
"""

import json
import os
from importlib import metadata

import pytest
from omegaconf import OmegaConf

import unbraid
from tests.conftest import files_below, make_run
from tests.plugins.conftest import forget
from unbraid.commands.train import train_frozen
from unbraid.runs.errors import InputError
from unbraid.runs.plugins import VARIABLE

NET = "model.separator.net._target_"
# Names of `_target_` in the config of a run, by the trick.
TARGETS = {
    "plugin": "evil.parts.Net",
    "entry point": "evil_installed.parts.Net",
    "module next to the run": "beside.Net",
    "module in the run": "inside.Net",
    "path": "../evil/parts.Net",
    "absolute path": "/tmp/evil/parts.py:Net",
    "start-up module": "sitecustomize.Net",
    "standard library": "subprocess.Popen",
    "private class": "evil.parts._Net",
    "colon": "evil.parts:Net",
    "function": "evil.parts.function",
    "class of a library through ours": "unbraid.data.fill.subprocess.Popen",
}
SOURCE = """
from pathlib import Path
Path({mark!r}).touch()
from torch import nn
class Net(nn.Module):
    def __init__(self, *_, **__):
        super().__init__()
_Net = Net
def function():
    pass
"""


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """Write packages that create a file, put them on the path, and return the path of that file."""
    mark, packages = tmp_path / "executed", tmp_path / "packages"
    source = SOURCE.format(mark=str(mark))
    for name in ("evil", "evil_installed"):
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text(source)
        (packages / name / "parts.py").write_text(source)
    (tmp_path / "place").mkdir()
    (tmp_path / "place/beside.py").write_text(source)
    point = packages / "evil_installed-1.0.dist-info"
    point.mkdir()
    (point / "METADATA").write_text("Metadata-Version: 2.1\nName: evil_installed\nVersion: 1.0\n")
    (point / "entry_points.txt").write_text("[unbraid.plugins]\nevil = evil_installed\n")
    monkeypatch.syspath_prepend(str(packages))
    monkeypatch.delenv(VARIABLE, raising=False)
    yield mark
    forget("evil", "evil_installed", "beside", "inside")


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """Return the folder of an untrained run."""
    return make_run(tmp_path_factory.mktemp("honest") / "run", "model=unet_small", "data=demo")


def hostile(honest, place, target, key=NET):
    """Copy a run and replace one of its classes. The run also claims that plugins are named."""
    folder = place / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/best.ckpt").write_bytes((honest / "checkpoints/best.ckpt").read_bytes())
    config = OmegaConf.load(honest / "config.yaml")
    OmegaConf.update(config, key, target)
    config.plugins, config.plugins_first = ["evil", "evil_installed", "beside", "inside"], True
    OmegaConf.save(config, folder / "config.yaml")
    record = {"identity": "i", "overrides": ["plugins=[evil]"], "choices": {"model": "unet", "data": "demo"}, "state": "failed"}
    record["plugins"] = {"evil": {"version": "1", "source": "0"}}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "inside.py").write_text((place / "beside.py").read_text())
    return folder


WORDS = {"separate": ["input=song.wav"], "transfer": ["input=song.wav", "output=out.wav"], "encode": ["split=test"]}


def refuse(cli, run, script):
    """Run a script with a hostile run, which must end in one line."""
    status, _, err = cli(f"run={run}", *WORDS.get(script, ()), script=f"scripts/{script}.py")
    assert status == 1 and err.startswith("error: ") and len(err.splitlines()) == 1, (script, err)


@pytest.mark.parametrize("trick", TARGETS)
def test_no_way_of_use_executes_code_of_a_run(honest, mark, tmp_path, cli, trick, monkeypatch):
    run = hostile(honest, tmp_path / "place", TARGETS[trick])
    before = files_below(run)
    for use in (unbraid.load, train_frozen):
        with pytest.raises(InputError) as raised:
            use(run)
        assert raised.value.where == NET
    for script in ("separate", "evaluate", "encode"):
        refuse(cli, run, script)
    assert not mark.exists() and [name for name in files_below(run) if name != ".lock"] == before


@pytest.mark.parametrize("script", ["export", "publish", "app", "transfer", "anomaly"])
def test_no_script_executes_code_of_a_run(honest, mark, tmp_path, cli, script):
    refuse(cli, hostile(honest, tmp_path / "place", TARGETS["entry point"]), script)
    assert not mark.exists()


@pytest.mark.slow
def test_resuming_the_folder_of_another_executes_no_code(honest, mark, tmp_path, cli):
    run = hostile(honest, tmp_path / "place", TARGETS["entry point"])
    before = files_below(run)
    status, _, err = cli("model=unet_small", "data=demo", "trainer.accelerator=cpu", f"hydra.run.dir={run}", "plan=false")
    assert status == 1 and str(run) in err and not mark.exists() and files_below(run) == before


def test_the_mark_shows_that_code_was_executed(honest, mark, tmp_path):
    run = hostile(honest, tmp_path / "place", TARGETS["plugin"])
    with pytest.raises(InputError):  # the weights are those of another network
        unbraid.load(run, plugins=["evil"])
    assert mark.exists()


def test_the_entry_point_of_these_tests_is_installed(mark):
    assert "evil_installed" in [point.module for point in metadata.entry_points(group="unbraid.plugins")]


@pytest.mark.parametrize("key", ["data.layout._target_", "trainer._target_", "optim.optimizer._target_", "protocol._target_"])
def test_other_nodes_execute_no_code(honest, mark, tmp_path, cli, key):
    run = hostile(honest, tmp_path / "place", "evil.parts.Net", key)
    with pytest.raises(InputError):
        train_frozen(run)
    cli(f"run={run}", script="scripts/evaluate.py")
    assert not mark.exists()


def test_naming_another_plugin_is_no_permission(honest, mark, tmp_path, monkeypatch):
    (tmp_path / "packages/good.py").write_text("")
    run = hostile(honest, tmp_path / "place", "evil.parts.Net")
    with pytest.raises(InputError):
        unbraid.load(run, plugins=["good"])
    monkeypatch.setenv(VARIABLE, "good")
    with pytest.raises(InputError):
        unbraid.load(run)
    assert not mark.exists()


@pytest.mark.parametrize("target", ["evil.parts.function", "evil.parts._Net", "evil.os.PathLike", "evil.Path"])
def test_a_named_plugin_gives_only_its_own_public_classes(honest, mark, tmp_path, target):
    run = hostile(honest, tmp_path / "place", target)
    with pytest.raises(InputError) as raised:
        unbraid.load(run, plugins=["evil"])
    assert raised.value.where == NET


@pytest.mark.parametrize(
    "name", ["os", "subprocess", "torch", "unbraid", "_evil", "evil;os", "../evil", "/tmp", "", "evil..parts", 3]
)
def test_names_that_no_plugin_can_have(mark, name):
    with pytest.raises(InputError) as raised:
        unbraid.load("run", plugins=[name])
    assert raised.value.where == "plugins" and not mark.exists()


def test_the_working_directory_is_not_searched(mark, tmp_path, limited):
    """A program does not import a module of the working directory, also if the user has named it."""
    place = tmp_path / "place"
    code = "import sys; sys.path[:] = [p for p in sys.path if p]; import unbraid; unbraid.load('run', plugins=['beside'])"
    result = limited("-P", "-c", code, cwd=place, PYTHONPATH=os.environ.get("PYTHONPATH", ""), megabytes=16000)
    assert result.returncode == 1 and "not installed" in result.stderr and not mark.exists()
