"""Check and run the commands that README and docs print, in their smallest form.

Commands are in ```sh blocks. A comment that begins with `needs` states why a command is not run here.
"""

import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import hydra
import pytest

from tests.conftest import PROJECT, make_root, write_song
from tests.data import twins
from unbraid.commands.cli import CONF
from unbraid.commands.overrides import quote_paths

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(r"python (train\.py|scripts/\w+\.py) ?(.*)")
# Added to each training: one step on two narrow chunks, without audio and pictures.
SMALLEST = [
    "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=1", "trainer.strategy=auto", "trainer.num_nodes=1",
    "trainer.max_epochs=1", "trainer.max_steps=1", "data.batch_size=1", "data.num_workers=0",
]  # fmt: skip


class Command(NamedTuple):
    """Hold one command of a page: its text, and the reason why it is not run, which is empty if it is run."""

    page: str
    line: int
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def commands() -> list[Command]:
    """Return all commands of all pages."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in BLOCK.finditer(text):
            first = text[: block.start()].count("\n") + 2
            number = first
            for line in re.sub(r"\\\n\s*", "", block[1]).splitlines():
                words, _, comment = line.partition("#") if " #" in line or line.startswith("#") else (line, "", "")
                if words.strip():
                    reason = comment.strip() if comment.strip().startswith("needs ") else ""
                    found.append(Command(str(page.relative_to(PROJECT)), number, words.strip(), reason))
                number += 1
    return found


COMMANDS = commands()
SCRIPTS = [command for command in COMMANDS if SCRIPT.match(command.text)]


def split(command: Command) -> tuple[str, list[str]]:
    """Return the script and the words of a command."""
    script, words = SCRIPT.match(command.text).groups()
    return script, shlex.split(words)


def test_pages_have_commands():
    assert len(SCRIPTS) > 40 and {"README.md"} <= {command.page for command in SCRIPTS}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in SCRIPTS], ids=str)
def test_other_commands_exist(command):
    """Targets of make exist; extras that pip installs are in pyproject.toml; other programs are known."""
    words = shlex.split(command.text)
    if words[0] == "make":
        assert f"\n{words[1]}:" in (PROJECT / "Makefile").read_text()
    elif extra := re.search(r"unbraid\[(\w+)\]", command.text):
        assert f"\n{extra[1]} = [" in (PROJECT / "pyproject.toml").read_text()
    else:
        assert words[0] in {".", "cat", "eval", "unbraid", "wandb", "python", ".venv/bin/pip"} or command.reason


@pytest.mark.parametrize("command", SCRIPTS, ids=str)
def test_keys_and_choices_exist(command):
    script, words = split(command)
    name = Path(script).stem
    words = [word for word in words if not word.startswith("-")]
    if name == "wandb_sweep" or "…" in words or "sweeper=optuna" in words:
        return
    if {"-m", "launcher=slurm", "launcher=ray"} & {*split(command)[1]}:
        words = [re.sub(r"=([^\[{'\"]*?),.*", r"=\1", word) for word in words]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        hydra.compose(name, quote_paths([word for word in words if not word.startswith("hydra.")], False))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a working directory with a trained run, a sweep, a song, and small data sets."""
    folder = tmp_path_factory.mktemp("place")
    make_root(folder / "musdb")
    write_song(folder / "songs", seed=5)
    shutil.copy(folder / "songs/mixture.wav", folder / "song.wav")
    for name in ("ikala", "mir1k", "medleydb", "moisesdb", "slakh", "dnr", "urmp", "msst", "stems", "singles", "pairs"):
        getattr(twins, name)(folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in SCRIPTS if not c.reason and split(c)[0] == "train.py"], ids=str)
def test_trainings_run(command, cli, place):
    _, words = split(command)
    if {"--help", "--cfg"} & {*words}:
        assert cli(*words)[0] == 0
        return
    data = next((word.removeprefix("data=") for word in words if word.startswith("data=")), "demo")
    if "-m" in words:
        words = [re.sub(r"=([^\[{'\"]*?),.*", r"=\1", word) for word in words]
    words = [f"data.root={place / data}" if word.startswith("data.root=") else word for word in words]
    status, _, error = cli(*words, *SMALLEST)
    assert status == 0, error
