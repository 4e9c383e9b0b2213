"""`unbraid <verb>`: the same as the scripts."""

import sys
from importlib import import_module

import pytest

from tests.conftest import PROJECT, files_below
from unbraid.commands.verbs import main, verbs

SCRIPTS = {path.stem for path in (PROJECT / "scripts").glob("*.py")}


@pytest.fixture
def unbraid(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["unbraid", *words])
        try:
            main()
            status = 0
        except SystemExit as error:
            status = error.code
        return status, *capfd.readouterr()

    return call


def test_every_script_is_a_verb_and_every_verb_a_function():
    assert {*verbs()} == SCRIPTS | {"train"}
    for verb in verbs():
        assert callable(getattr(import_module(f"unbraid.commands.{verb}"), verb))


def test_a_verb_is_its_script(unbraid, cli, tmp_path):
    assert unbraid("separate", "run=nowhere", "input=x.wav")[::2] == (1, "error: run=nowhere: no such folder\n")
    status, out, _ = unbraid("train", "--cfg", "job", "model=ae", "data=digits")
    assert status == 0 and out == cli("--cfg", "job", "model=ae", "data=digits")[1]
    assert files_below(tmp_path) == ["work"]


def test_help_and_what_is_no_verb(unbraid):
    status, out, _ = unbraid("--help")
    assert status == 0 and "train, anomaly" in out
    assert unbraid()[0] == 1
    assert unbraid("seperate")[::2][1].startswith("error: seperate: there is no such verb; did you mean 'separate'?")
    assert "unbraid: stems of audio files" in unbraid("separate", "--help")[1]
