"""`unbraid new` creates a small project whose own tests pass. Invalid names and folders leave nothing behind."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

import unbraid
from tests.conftest import PROJECT, files_below
from tests.plugins.conftest import forget
from unbraid.commands.choices import command_line
from unbraid.commands.new import ENDING, TEMPLATES, new, package_name, write_project
from unbraid.commands.verbs import main
from unbraid.runs import plugins
from unbraid.runs.errors import InputError

FILES = {
    ".gitignore", "Makefile", "README.md", "pyproject.toml", "train.py", "conf/data/mine.yaml", "conf/experiment/mine.yaml",
    "conf/model/mine.yaml", "src/second_try/__init__.py", "src/second_try/nets.py", "tests/test_project.py",
}  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return the folder of a new project, whose package can be imported."""
    folder = tmp_path / "second-try"
    write_project(folder, "second_try")
    monkeypatch.syspath_prepend(str(folder / "src"))
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    yield folder
    forget("second_try")


def create(output):
    new(OmegaConf.create({"output": output}))


def test_the_verb_creates_a_complete_project(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["unbraid", "new", "second-try"])
    main()
    assert "second-try" in capsys.readouterr().out and [path.name for path in tmp_path.iterdir()] == ["second-try"]
    folder = tmp_path / "second-try"
    assert {name for name in files_below(folder) if (folder / name).is_file()} == FILES
    for name in FILES:
        text = (folder / name).read_text()
        assert "my-experiments" not in text and "my_experiments" not in text, name
    settings = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert settings["name"] == "second-try" and settings["entry-points"]["unbraid.plugins"] == {"second_try": "second_try"}
    code = [line for line in (folder / "src/second_try/nets.py").read_text().splitlines() if line.strip()]
    assert len(code) <= 15
    assert (folder / "README.md").read_text().split("```")[1].count("\n") == 6  # five commands


def test_the_script_has_the_key_of_the_verb(cli, tmp_path):
    status, _, err = cli(f"output={tmp_path / 'café' / 'x'}", script="scripts/new.py")
    assert status == 1 and "café" in err and len(err.splitlines()) == 1
    assert cli("output=second-try", script="scripts/new.py")[0] == 0 and (tmp_path / "work/second-try/train.py").is_file()


@pytest.mark.parametrize(
    "name",
    [
        "my experiments", "class", "unbraid", "Unbraid", "torch", "numpy", "scikit-learn", "pytorch-lightning", "json", "conf",
        "tests", "train", "2nd", "-x", "a--b", "a_", "é", "a.b", ".a", "my-Class/..", "sitecustomize",
    ],
)  # fmt: skip
def test_invalid_names_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as raised:
        create(str(tmp_path / name))
    assert raised.value.where.partition("=")[0] == "output" and files_below(tmp_path) == []


def test_an_invalid_name_is_one_line(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    for words in (["my experiments"], ["class"], [], ["output=a", "b"], ["nam=a"]):
        monkeypatch.setattr(sys, "argv", ["unbraid", "new", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1 and len(capfd.readouterr().err.splitlines()) == 1
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(("parent", "problem"), [("missing", "parent"), ("file", "parent"), ("/proc", "written")])
def test_folders_that_cannot_be_written_are_refused(parent, problem, tmp_path):
    (tmp_path / "file").write_text("")
    output = str(tmp_path / parent / "second-try")
    with pytest.raises(InputError) as raised:
        create(output)
    assert raised.value.where == f"output={output}" and problem in raised.value.problem and files_below(tmp_path) == ["file"]


def test_an_existing_folder_is_kept(tmp_path):
    (tmp_path / "second-try").mkdir()
    with pytest.raises(InputError) as raised:
        create(str(tmp_path / "second-try"))
    assert "second-try" in raised.value.where and files_below(tmp_path) == ["second-try"]


def test_nothing_is_left_behind_when_a_file_cannot_be_written(tmp_path, monkeypatch):
    def full(self, *arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError) as raised:
        create(str(tmp_path / "second-try"))
    assert "No space" in raised.value.problem and files_below(tmp_path) == []


def test_names_become_packages():
    assert package_name("my-experiments") == "my_experiments" and package_name("Unmix2") == "Unmix2"


def test_configs_of_a_project_are_choices(project):
    assert plugins.conf_folder("second_try") == project / "conf"
    config = unbraid.compose("plugins=second_try", "experiment=mine", "model.separator.net.hidden=8")
    assert config.model.separator.net._target_ == "second_try.nets.FrameMask" and config.trainer.max_epochs == 5
    assert config.data.layout.train == 4
    with pytest.raises(InputError) as raised:
        unbraid.compose("plugins=[second_try]", "model=mine", "+model.separator.net.hiden=8")
    assert raised.value.where == "model.separator.net.hiden" and plugins.names() == ()


def test_a_conf_folder_next_to_src_needs_a_project(project):
    (project / "pyproject.toml").unlink()
    assert plugins.conf_folder("second_try") is None
    (project / "src/second_try/conf").mkdir()
    assert plugins.conf_folder("second_try") == project / "src/second_try/conf"


def test_compose_needs_no_data_and_changes_nothing(monkeypatch):
    config = unbraid.compose("data=musdb", "model=unet", "name=mine")
    assert config.data.root == "." and config.name == "mine"
    with command_line("train", []):
        assert plugins.names() == ()
    with pytest.raises(InputError) as raised:
        unbraid.compose("model=unet", "+model.separator.net.chanels=3")
    assert raised.value.where == "model.separator.net.chanels"
    with hydra.initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        unbraid.compose()  # inside another composition


def test_templates_are_not_modules_or_choices():
    assert all(path.name.endswith(ENDING) for path in TEMPLATES.rglob("*") if path.is_file())


def test_files_of_a_project_are_formatted(project):
    ruff = shutil.which("ruff") or shutil.which("ruff", path=Path(sys.executable).parent)
    if ruff is None:
        pytest.skip("ruff is not installed")
    for words in (["check", "--select", "E,F,W,I,B,UP"], ["format", "--check"]):
        words = [ruff, *words, "--isolated", "--line-length", "128", "."]
        done = subprocess.run(words, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_make_test_passes_in_a_new_project(tmp_path):
    create(str(tmp_path / "second-try"))
    paths = [str(PROJECT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    words = ["make", "test", f"PYTHON={sys.executable}"]
    done = subprocess.run(words, cwd=tmp_path / "second-try", env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr
