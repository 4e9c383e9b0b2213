"""The program `unbraid VERB` runs the same commands as the scripts, and help texts list keys and choices."""

import re
import shlex
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tests.conftest import PROJECT, files_below
from unbraid.commands.choices import choices
from unbraid.commands.cli import CONF
from unbraid.commands.help import MAIN_SETTINGS, examples, groups, help_text, summary, usage
from unbraid.commands.overrides import quote_paths
from unbraid.commands.verbs import main, verbs
from unbraid.scoring.oracles import ORACLES

PARSER = OverridesParser.create()
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


def test_every_script_is_a_verb_and_a_function():
    assert {*verbs()} == SCRIPTS | {"train", "inspect"}  # a script inspect.py would hide the module of Python
    for verb in verbs():
        assert callable(getattr(import_module(f"unbraid.commands.{verb}"), verb))


def test_a_verb_is_its_script(unbraid, cli, tmp_path):
    assert unbraid("separate", "run=nowhere", "input=x.wav") == cli("run=nowhere", "input=x.wav", script="scripts/separate.py")
    status, out, _ = unbraid("train", "--cfg", "job", "model=ae", "data=digits")
    assert status == 0 and out == cli("--cfg", "job", "model=ae", "data=digits")[1]
    assert files_below(tmp_path) == ["work"]


def test_the_version_is_printed(unbraid, cli):
    expected = (0, f"unbraid {version('unbraid')}\n", "")
    assert unbraid("--version") == cli("--version") == unbraid("separate", "--version") == expected


def test_the_verbs_are_listed_with_their_sentences(unbraid):
    for words, expected in (((), 1), (("--help",), 0)):
        status, out, _ = unbraid(*words)
        lines = [line.split(maxsplit=1) for line in out.splitlines() if line.startswith("  ")]
        assert status == expected and lines == [[verb, summary(CONF / f"{verb}.yaml")] for verb in verbs()]


def test_an_unknown_verb_is_named_with_the_nearest(unbraid):
    status, out, err = unbraid("seperate")
    assert (status, out) == (1, "") and "seperate" in err and "'separate'" in err and len(err.splitlines()) == 1


def keys_of(text):
    return [line.split()[0] for line in text.splitlines() if line.startswith("  ") and not line.startswith("   ")]


@pytest.mark.parametrize("verb", sorted(SCRIPTS | {"inspect"}))
def test_help_lists_every_key_of_a_script(unbraid, verb):
    status, out, err = unbraid(verb, "--help")
    assert (status, err) == (0, "")
    config = OmegaConf.to_container(OmegaConf.load(CONF / f"{verb}.yaml"), resolve=False)
    keys = [key for key in config if key not in ("defaults", "hydra", "words", "conditions", "data", "evaluation")]
    assert {*keys} <= {*keys_of(out)} and out.startswith(summary(CONF / f"{verb}.yaml"))
    number = len(examples(CONF / f"{verb}.yaml"))
    assert number in (2, 3) and out.partition("Examples")[2].count(f"unbraid {verb} ") == number and "python scripts" not in out


def test_usage_names_verb_and_words_without_keys(unbraid):
    for verb, words in {"separate": "[RUN] [INPUT …] ", "inspect": "[FILE] ", "prepare": "", "train": ""}.items():
        _, out, _ = unbraid(verb, "--help")
        (line,) = [line for line in out.splitlines() if line.startswith("Usage: ")]
        assert line.startswith(f"Usage: unbraid {verb} {words}KEY=VALUE …")
    assert usage("separate") == "python scripts/separate.py [RUN] [INPUT …] KEY=VALUE …"


def test_help_lists_all_loggers_and_oracles(unbraid):
    loggers, oracles = ({*re.findall(r"\w+", text)} for text in (MAIN_SETTINGS["logger"], unbraid("evaluate", "--help")[1]))
    assert {*choices("logger")} <= loggers and {*ORACLES} <= oracles


def test_help_of_training_lists_settings_and_groups(cli):
    status, out, _ = cli("--help")
    keys = keys_of(out)
    assert status == 0 and keys[:3] == ["model", "data", "data.root"]
    assert keys.index("data.root") < keys.index("augmentation") < keys.index("python") and keys.count("python") == 5
    assert not {"base", "media", "autoencoder"} & {*out.replace(",", " ").split()}
    assert groups()["targets"] == "accompaniment, all, mixture, vocals, vocals_accompaniment"
    assert help_text("train", CONF, "train.py") + "\n" == out


@pytest.mark.parametrize(
    "example", [word for verb in sorted({*verbs()} - {"inspect", "new"}) for word in examples(CONF / f"{verb}.yaml")]
)
def test_the_examples_of_help_compose(example):
    script, *words = shlex.split(example)[1:]
    words = quote_paths([word for word in words if word != "-m"], sweeps=True)
    fixed = [word for word in words if not PARSER.parse_override(word).is_sweep_override()]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        hydra.compose(Path(script).stem, fixed)
