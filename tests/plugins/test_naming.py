"""Tests of the ways to name a plugin, of its choices on the command line, and of plugins that cannot be used."""

import json
import os

import pytest

from tests.conftest import files_below, make_run, only_run
from tests.plugins.conftest import SMALL
from tests.plugins.package import write
from unbraid.commands.choices import choices, command_line
from unbraid.runs import plugins
from unbraid.runs.errors import InputError

SHOW = ["--cfg", "job"]
POINT = "[unbraid.plugins]\nmine = {name}\n"


def install(folder, name, version="1.5"):
    """Write the metadata of a distribution with an entry point."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(POINT.format(name=name))


@pytest.mark.parametrize("word", ["plugins=[mypkg]", "plugins=mypkg", "+plugins=[mypkg]"])
def test_the_command_line_names_a_plugin(mypkg, word):
    with command_line("train", [word]):
        assert plugins.names() == ("mypkg",) and os.environ[plugins.VARIABLE] == "mypkg"
        assert choices("model")["mine"] == "mypkg" and choices("model")["unet"] == "unbraid"
    assert plugins.names() == () and plugins.VARIABLE not in os.environ and "mine" not in choices("model")


def test_the_environment_names_plugins(mypkg, cli, monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, " mypkg, ")
    status, out, err = cli("model=mine", *SHOW)
    assert status == 0 and "mypkg.parts.Net" in out, err


def test_entry_points_are_trusted_for_training_only(on_path, tmp_path):
    folder = tmp_path / "packages"
    write(folder)
    install(folder, "mypkg")
    on_path(folder)
    with command_line("train", []):
        assert plugins.names() == ("mypkg",) and choices("model")["mine"] == "mypkg"
        assert plugins.used({"_target_": "mypkg.parts.Net"})["mypkg"]["version"] == "1.5"
    for verb, words in {"evaluate": ["run=folder"], "separate": ["run=folder"], "report": []}.items():
        with command_line(verb, words):
            assert plugins.names() == ()


def test_evaluate_trusts_entry_points_without_a_run(on_path, cli, tmp_path, songs):
    folder = tmp_path / "packages"
    write(folder)
    install(folder, "mypkg")
    on_path(folder)
    words = ["oracle=mixture", "protocol=mine", "data=musdb", f"data.root={songs}", "trainer=cpu"]
    status, _, err = cli(*words, script="scripts/evaluate.py")
    assert status == 0, err
    assert (
        "closeness"
        in json.loads((tmp_path / "work/outputs/scores/mine-musdb-mixture/scores.json").read_text())["summary"]["vocals"]
    )
    run = make_run(tmp_path / "run", "model=unet_small", "data=demo")
    status, _, err = cli(f"run={run}", "protocol=mine", *words[2:4], script="scripts/evaluate.py")
    assert status == 1 and "plugins=mypkg" in err


def test_an_experiment_of_the_user_names_a_plugin(mypkg, cli, tmp_path):
    folder = tmp_path / "conf/experiment"
    folder.mkdir(parents=True)
    text = "# @package _global_\ndefaults:\n  - override /model: mine\nplugins: [mypkg]\n"
    (folder / "own.yaml").write_text(text)
    status, out, err = cli("--config-dir", str(tmp_path / "conf"), "experiment=own", *SHOW)
    assert status == 0 and "mypkg.parts.Net" in out, err


def test_a_folder_of_configs_adds_choices(cli, tmp_path):
    folder = tmp_path / "conf/model"
    folder.mkdir(parents=True)
    (folder / "narrow.yaml").write_text("defaults: [unet, _self_]\n")
    option = f"--config-dir={folder.parent}"
    assert cli(option, "model=narrow", *SHOW)[0] == 0
    assert "Did you mean 'narrow'" in cli(option, "model=narow")[2]
    assert "Did you mean 'data.batch_size'" in cli(option, "model=narrow", "data.batch_siz=2")[2]
    assert "narrow (--config-dir)" in cli(option, "--help")[1].replace("\n" + " " * 25, " ")


def test_help_lists_choices_with_their_origin(mypkg, cli):
    status, out, _ = cli("plugins=[mypkg]", "--help")
    text = " ".join(out.split())
    assert status == 0 and "mine (mypkg)" in text and "unet_small" in text and "unet (" not in text


@pytest.mark.parametrize(
    ("words", "where", "hint"),
    [
        (["model=min"], "model", "'mine'"),
        (["model=mine", "model.separator.net.hiden=3"], "model.separator.net.hiden", "'model.separator.net.hidden'"),
        (["model=mine", "+model.separator.net.hiden=3"], "model.separator.net.hiden", "'hidden'"),
        (["model=mine", "model.separator.net.hidden=many"], "model.separator.net.hidden", "int"),
        (["model=mine", "model.separator.net._target_=mypkg.parts.Nett"], "model.separator.net._target_", "exist"),
        (["model=mine", "model.separator.net._target_=mypkg.parts._Private"], "model.separator.net._target_", "class"),
        (["model=mine", "model.separator.net._target_=mypkg.parts.function"], "model.separator.net._target_", "class"),
        (["model=mine", "model.separator.net._target_=mypkg.parts.Path"], "model.separator.net._target_", "class"),
        (["model=mine", "model.separator.net.wrong=frames"], "model.separator.net", "[1, 1, 1, 129, 23]"),
        (["model=mine", "model.separator.net.wrong=bins"], "model.separator.net", "[1, 1, 1, 128, 23]"),
        (["model=mine", "model.separator.net.wrong=tuple"], "model.separator.net", "tuple"),
        (["model=mine", "model.loss.wrong=field"], "model.loss", "spectra"),
        (["model=mine", "model.loss.wrong=number"], "model.loss", "float"),
        (["model=mine", "model.loss.wrong=bins"], "model.loss", "[1, 1, 1, 129, 23]"),
        (["model=other_task"], "model", "SeparationTask"),
        (["logger=mine", "logger.mine._target_=mypkg.parts.Louder", "+logger.mine.factor=1.0"], "logger.mine", "Louder"),
        (["+callbacks.x._target_=mypkg.parts.Louder", "+callbacks.x.factor=1.0"], "callbacks", "Louder"),
        (["protocol.measure={_target_: mypkg.parts.MyLoss}"], "protocol.measure", "MyLoss"),
    ],
)
def test_bad_input_is_one_line(mypkg, cli, tmp_path, words, where, hint):
    status, _, err = cli("plugins=[mypkg]", *words, "data=demo", *SMALL)
    assert status == 1 and len(err.splitlines()) == 1 and err.startswith(f"error: {where}") and hint in err, err
    assert files_below(tmp_path / "work") == []


def test_a_plugin_that_cannot_be_imported(on_path, cli, tmp_path):
    for name, text in {"__init__": "", "parts": "raise KeyError('no such part')"}.items():
        path = tmp_path / f"packages/broken/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    on_path(tmp_path / "packages")
    words = ["plugins=[broken]", "model.separator.net._target_=broken.parts.Net"]
    status, _, err = cli(*words)
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 1 and "model.separator.net._target_" in line and "KeyError" in line
    assert files_below(tmp_path / "work") == []


def test_a_plugin_without_configs_is_used_with_a_message(on_path, cli, tmp_path):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/bare.py").write_text("from torch.nn import Linear\nclass Net(Linear):\n    pass\n")
    on_path(tmp_path / "packages")
    status, _, err = cli("plugins=[bare]", *SHOW)
    assert status == 0 and err.startswith("plugin  bare")
    assert cli("plugins=[missing]", *SHOW)[0] == 1


def test_existing_choices_are_ours(mypkg, cli, on_path, tmp_path):
    package = write(tmp_path / "more", "other")
    (package / "conf/model/unet_small.yaml").write_text("defaults: [unet, _self_]\nseparator: {net: {dropout_layers: 1}}\n")
    on_path(tmp_path / "more")
    words = [*SHOW, "plugins=[other]", "model=unet_small"]
    status, out, err = cli(*words)
    assert status == 0 and "dropout_layers: 3" in out and "model=unet_small" in err and "plugins_first=true" in err
    status, out, err = cli(*words, "plugins_first=true")
    assert status == 0 and "dropout_layers: 1" in out and "unbraid" in err
    (package / "conf/train.yaml").write_text("seed: 3\n")
    status, out, err = cli(*words, "plugins_first=true")
    assert status == 1 and "train.yaml" in err


def test_a_changed_plugin_is_a_message(on_path, cli, tmp_path, songs):
    package = write(tmp_path / "packages")
    on_path(tmp_path / "packages")
    folder = tmp_path / "run"
    words = ["plugins=[mypkg]", "model=mine", "data=musdb", f"data.root={songs}", *SMALL, f"hydra.run.dir={folder}"]
    status, _, err = cli(*words)
    assert status == 0, err
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"state": "interrupted"}))
    with (package / "parts.py").open("a") as file:
        file.write("# changed\n")
    status, out, err = cli(*words)
    after = json.loads((folder / "run.json").read_text())
    assert status == 0 and "plugin  mypkg" in out and after["plugins"] != record["plugins"], err
    assert after["earlier"][0]["plugins"] == record["plugins"] and after["identity"] == record["identity"]


def test_a_changed_plugin_is_named_by_a_finished_sweep_and_a_load(on_path, cli, tmp_path, songs):
    package = write(tmp_path / "packages")
    on_path(tmp_path / "packages")
    words = ["-m", "plugins=mypkg", "model=mine", "data=musdb", f"data.root={songs}", *SMALL, "hydra.sweep.dir=sweep", "seed=0"]
    status, _, err = cli(*words)
    assert status == 0, err
    with (package / "parts.py").open("a") as file:
        file.write("# changed\n")
    status, out, err = cli(*words)
    assert status == 0 and "1 already finished" in out and "plugin  mypkg" in out, err
    (run,) = (tmp_path / "work/sweep").glob("0-*")
    status, _, err = cli(f"run={run}", "plugins=[mypkg]", f"data.root={songs}", script="scripts/evaluate.py")
    assert status == 0 and "plugin  mypkg" in err, err


def test_a_launcher_of_a_plugin_runs_a_sweep(mypkg, cli, tmp_path, songs):
    words = ["plugins=[mypkg]", "model=mine", "launcher=mine", "data=musdb", f"data.root={songs}", *SMALL, "seed=0,1"]
    status, out, err = cli(*words)
    assert status == 0 and "one by one" in out, err
    folders = sorted(path.parent for path in (tmp_path / "work").glob("outputs/*/*/*/run.json"))
    assert [json.loads((folder / "run.json").read_text())["state"] for folder in folders] == ["done", "done"]
    status, out, err = cli(*words)
    assert status == 0 and "2 already finished" in out, err
    status, _, err = cli(*words[:-1], "seed=0,1,2")
    assert status == 1 and "is the third run" in err


def test_a_run_resumes_without_naming_a_folder(mypkg, cli, tmp_path, songs):
    words = ["plugins=[mypkg]", "model=mine", "data=musdb", f"data.root={songs}", *SMALL]
    assert cli(*words)[0] == 0
    run = only_run(tmp_path / "work")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"state": "interrupted"}))
    status, out, err = cli(*words)
    assert status == 0 and "resumes" in out, err
    assert only_run(tmp_path / "work") == run


def test_a_frozen_run_trusts_only_the_environment(run, mypkg, monkeypatch):
    from unbraid.commands.experiment import check_experiment
    from unbraid.runs.records import Run

    config = Run.frozen(run).config
    with pytest.raises(InputError) as raised:
        check_experiment(config)
    assert "plugins=mypkg" in raised.value.hint
    monkeypatch.setenv(plugins.VARIABLE, "mypkg")
    check_experiment(config)


def test_ray_passes_the_plugins_on(monkeypatch):
    from unbraid.sweeps.launchers.ray import inherited

    assert inherited() == {}
    monkeypatch.setenv(plugins.VARIABLE, "mypkg")
    monkeypatch.setenv("PYTHONPATH", "/a")
    assert inherited() == {plugins.VARIABLE: "mypkg", "PYTHONPATH": "/a"}
