"""Check and run the commands that README and docs print, in their smallest form.

Commands are in ```sh blocks. A comment that begins with `needs` states why a command is not run here.
"""

import contextlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import numpy as np
import pytest
import soundfile
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf

from tests.conftest import PROJECT, STEMS, load_script, make_root, write_song
from tests.data import twins
from tests.reports.sweeps import leave_run
from unbraid.commands.cli import CONF
from unbraid.commands.data_sets import with_data_sets
from unbraid.commands.experiment import Experiment
from unbraid.commands.overrides import is_sweep, quote_paths
from unbraid.commands.verbs import verbs
from unbraid.runs.config import check

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(r"(cat song\.wav \| )?python (train\.py|scripts/\w+\.py)(?: (.*))?")
RUN_OF_SWEEP = re.compile(r"/\d-model=(\w+?)-seed=0")
PROGRAMS = {
    ".",
    "cd",
    "python3.13",
    "newest/bin/pip",
    "newest/bin/python",
    ".venv/bin/pip",
    ".venv/bin/python",
    "mkdir",
    "hf",
    "tensorboard",
    "wandb",
}  # other programs that the pages use
UNWRITTEN = {"model=mine", "model=frame_mask", "curve=unet_small_demo"}  # choices that a page tells the reader to add
PLUGIN = "plugins=mypkg"  # a package that a page tells the reader to write
# One step on a batch of two narrow chunks, without audio and pictures. A key is set if the config of the command has it.
SMALLEST = {
    "trainer.accelerator": "cpu",
    "trainer.precision": "32-true",
    "trainer.devices": "1",
    "trainer.strategy": "auto",
    "trainer.num_nodes": "1",
    "trainer.max_epochs": "1",
    "trainer.max_steps": "1",
    "callbacks.pretraining.epochs": "1",
    "optim.scheduler.warmup_steps": "0",
    "data.batch_size": "2",
    "data.chunks_per_track": "1",
    "data.num_workers": "0",
    "evaluation.clips": "0",
    "pitch.model": "tiny",
}
SMALL_SONGS = {f"data.layout.{key}": value for key, value in {"train": "2", "valid": "1", "test": "1", "seconds": "6"}.items()}
RUN_WORDS = {  # more words for the trainings of the runs that pages name, by model and data
    "unet-pairs": ["targets=vocals_accompaniment"],
    "ae-demo": ["targets=vocals_accompaniment"],
    "reed": ["experiment=ddsp_demo"],
    "normal": ["model=deep_ae", "targets=mixture"],
}


class Command(NamedTuple):
    """Hold one command of a page: its text, and the reason why it is not run, which is empty if it is run."""

    page: str
    line: int
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def script(self) -> str:
        return SCRIPT.fullmatch(self.text)[2]

    @property
    def words(self) -> list[str]:
        """Words after the script, as a shell passes them."""
        return shlex.split(SCRIPT.fullmatch(self.text)[3] or "")


def commands() -> list[Command]:
    """Return all commands of all pages."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in BLOCK.finditer(text):
            number, typed = text[: block.start()].count("\n") + 2, ""
            for line in block[1].splitlines():
                if line.endswith("\\"):
                    typed += f"{line[:-1].strip()} "
                else:
                    command, _, comment = re.sub(r"(^|\s)#", r"\1\0", typed + line).partition("\0")
                    reason = comment.strip() if comment.strip().startswith("needs ") else ""
                    if command.strip():
                        found.append(Command(str(page.relative_to(PROJECT)), number, command.strip(), reason))
                    typed = ""
                number += 1
    return found


COMMANDS = commands()
SCRIPTS = [command for command in COMMANDS if SCRIPT.fullmatch(command.text)]


def composed(script: str, words: list[str]) -> DictConfig:
    """Return the config of a command with Hydra's own node, after the checks of a training."""
    words = [word for word in words if re.match(r"[^-=]*=|~", word) and word not in UNWRITTEN]
    if PLUGIN in words:
        words = [word for word in words if not word.startswith("model.")]  # keys of a class that the page describes
    words = quote_paths(with_data_sets(words), False)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose(Path(script).stem, words, return_hydra_config=True)
    if script == "train.py":
        own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        OmegaConf.update(own, "name", "test")
        if OmegaConf.is_missing(own.data, "root"):
            own.data.root = "/data"
        check(own, Experiment)
    return config


def runs_of(script: str, words: list[str]) -> list[list[str]]:
    """Return the words of single runs in which each value of each swept word occurs at least once."""
    if not is_sweep(words, Path(script).stem):
        return [words]
    values = []
    for word in words:
        if word.startswith("-"):
            continue
        (override,) = OverridesParser.create().parse_overrides(quote_paths([word], True))
        swept = override.is_sweep_override() and not override.is_interval_sweep()
        if override.is_interval_sweep():
            word = f"{override.key_or_group}={override.value().start}"
        values.append([f"{override.get_key_element()}={v}" for v in override.sweep_string_iterator()] if swept else [word])
    return [[each[i % len(each)] for each in values] for i in range(max(map(len, values)))]


def test_pages_have_commands():
    assert len(SCRIPTS) > 100 and {"README.md"} <= {command.page for command in SCRIPTS}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in SCRIPTS], ids=str)
def test_other_commands_exist(command):
    """Targets of make exist; extras that pip installs are in pyproject.toml; other programs are known."""
    words = shlex.split(command.text)
    if words[0] == "make":
        assert all(f"\n{word}:" in (PROJECT / "Makefile").read_text() for word in words[1:])
    elif extra := re.fullmatch(r"pip install 'unbraid\[(\w+)\]'", command.text):
        assert f"\n{extra[1]} = [" in (PROJECT / "pyproject.toml").read_text()
    elif words[0] == "unbraid":
        assert words[1] in verbs()
    elif words[:3] == ["python", "-m", "pytest"]:
        assert (PROJECT / words[3]).is_file()
    else:
        assert words[0] in PROGRAMS


@pytest.mark.parametrize("command", SCRIPTS, ids=str)
def test_keys_and_choices_exist(command):
    conditions = any(word.startswith("hydra.sweeper.conditions=") for word in command.words)  # only the first run is possible
    for words in runs_of(command.script, command.words)[: 1 if conditions else None]:
        composed(command.script, words)


@pytest.mark.parametrize("words", [["model=une"], ["optim.lr=1"], ["+model.separator.up=1"], ["hydra.run.folder=a"]], ids=str)
def test_wrong_keys_are_found(words):
    with pytest.raises((HydraException, ValueError)):
        composed("train.py", words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_paths_of_the_project_exist(page):
    for path in re.findall(r"`((?:conf|docs|scripts|src|tests)/[\w/.-]+)`", page.read_text()):
        if Path(path).stem not in ("mine", "frame_mask", "NAME"):  # files that the reader adds
            assert (PROJECT / path).exists(), path


def test_the_program_for_own_plots_draws_a_sweep(tmp_path, monkeypatch):
    page = (PROJECT / "docs/how-to/own_plots.md").read_text()
    program = re.search(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1]
    sweep = tmp_path / re.search(r'Path\("(outputs/[^"]+)"\)', program)[1]
    for number, scores in enumerate([[1.0, 2.0], [3.0, 5.0]]):
        leave_run(sweep, number, "unet", number, scores)
    monkeypatch.chdir(tmp_path)
    drawn: dict[str, Any] = {}
    exec(program.replace("SI-SDRi", "NSDR"), drawn)
    assert drawn["scores"] == [[1.0, 2.0], [3.0, 5.0]] and drawn["names"] == ["0-unet-demo-0", "1-unet-demo-1"]
    assert [len(line.get_xdata()) for line in drawn["curves"].get_lines()] == [3, 3]
    assert (tmp_path / "scores.png").stat().st_size > 10_000


class Place:
    """Make the files that commands read: data sets, runs, a sweep and songs. Each is made at the first use.

    Args:
        folder: empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[str, Path] = {}

    def data(self, layout: str, words: list[str]) -> Path:
        """Return the folder of a small data set in a layout that fits the words of a command."""
        edition = "musdb_stems" if "experiment=umx_musdb18" in words else layout
        sources = "data.layout.sources=sources.yaml" in words
        named = "full" in " ".join(words)
        name = "free_names" if sources else "named_pairs" if layout == "pairs" and named else edition
        if name not in self.made:
            make = globals().get(name) or getattr(twins, name, None) or make_root
            with longer_sounds():
                make(self.folder / name)
            self.made[name] = self.folder / name
        return self.made[name]

    def run(self, path: str) -> Path:
        """Return the folder of a trained run of the same model and data, or a file that is exported from it."""
        name = re.sub(r"^outputs/|\d\d\d\d-\d\d-\d\d/|\d\d-\d\d-\d\d-|-0$", "", path.removesuffix("/model.onnx"))
        folder = self.folder / "runs" / name
        if name not in self.made:
            model, _, data = name.partition("-")
            words = [f"model={model}", f"data={data}", f"data.root={self.data(data, [])}"] if data else []
            words = [word for word in words if word != "data=demo" and "demo" not in word] if data == "demo" else words
            self.call("train.py", *smallest("train.py", [*words, *RUN_WORDS.get(name, [])]), f"hydra.run.dir={folder}")
            self.made[name] = folder
        if path.endswith("/model.onnx") and not (folder / "model.onnx").exists():
            self.call("scripts/export.py", f"run={folder}", "format=onnx")
        return folder / "model.onnx" if path.endswith("/model.onnx") else folder

    def sweep(self) -> Path:
        """Return the folder of a sweep of two runs."""
        folder = self.folder / "sweep"
        if not folder.exists():
            words = smallest("train.py", ["model=unet_small", "logger=[csv,wandb]"])
            words[0] = "model=unet_small,unet_noskip_small"
            self.call("train.py", "-m", *words, f"hydra.sweep.dir={folder}")
        return folder

    def song(self, name: str) -> Path:
        """Return a song, a pattern of songs, or a recording of one voice."""
        if not (self.folder / "voice.wav").exists():
            write_song(self.folder / "songs", seed=5)
            shutil.copy(self.folder / "songs/mixture.wav", self.folder / "song.wav")
            soundfile.write(self.folder / "voice.wav", tone(220, 4.0), 16000)
        if "*" in name:
            return self.folder / name
        return self.folder / ("voice.wav" if "vo" in name else "song.wav")

    def estimates(self) -> Path:
        """Return a folder of estimates of all test songs of `musdb`."""
        folder = self.folder / "estimates"
        if not folder.exists():
            shutil.copytree(self.data("musdb", []) / "test", folder)
        return folder

    def call(self, script: str, *words: str) -> None:
        """Run a script in this process, which must succeed."""
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(self.folder):
            patch.setattr(sys, "argv", [script, *words])
            load_script(script)()

    def typed(self, words: list[str]) -> list[str]:
        """Return the words of a command with the paths of this folder."""
        layout = next((word.removeprefix("data=") for word in words if word.startswith("data=")), None)
        recipes = {"ikala": "ikala", "medleydb": "medleydb", "musdb18": "musdb", "musdb18hq": "musdb", "engel2020": "singles"}
        experiment = next((word.rpartition("_")[2] for word in words if word.startswith("experiment=")), "")
        layout = layout or recipes.get(experiment.removeprefix("experiment="), "musdb")
        paths: dict[str, Any] = {
            "data.root": lambda _: self.data(layout, words),
            "run": self.run,
            "init": self.run,
            "runs": lambda value: f"[{','.join(str(self.run(f'{model}-demo')) for model in RUN_OF_SWEEP.findall(value))}]",
            "sweep": lambda _: self.sweep(),
            "input": lambda value: "-" if value == "-" else self.song(value),
            "estimates": lambda _: self.estimates(),
        }
        split = [word.partition("=") for word in words]
        return [f"{key}={paths[key](value)}" if key in paths else key + sign + value for key, sign, value in split]


def tone(hertz: float, seconds: float, rate: int = 16000) -> np.ndarray:
    """Return a tone with eight harmonics. Shape: [samples]."""
    time = np.arange(int(seconds * rate)) / rate
    return sum(0.2 / i * np.sin(2 * np.pi * i * hertz * time) for i in range(1, 9)).astype(np.float32)


@contextlib.contextmanager
def longer_sounds() -> Iterator[None]:
    """Make the sounds of `twins` two seconds long, as protocols need filters of 512 taps and windows of one second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twins, "SAMPLES", 2 * twins.RATE)
        patch.setattr(twins.sound, "__defaults__", (2 * twins.RATE,))
        yield


def musdb_stems(root: Path) -> Path:
    """Write MUSDB18 with the song of the stempeg package in each split."""
    from tests.conftest import stem_file

    for split in ("train", "valid", "test"):
        (root / split).mkdir(parents=True)
        shutil.copy(stem_file.__wrapped__(), root / split / f"{split}.stem.mp4")
    return root


def stems(root: Path) -> Path:
    """Write four songs with the stems that the pages name, and a manifest of them."""
    rows = []
    for number, split in enumerate(("train", "train", "valid", "test")):
        folder = root / f"song {number}"
        for stem in ("vocals", "piano", "Lead Guitar"):
            twins.write(folder / f"{stem}.wav", twins.sound(f"{number} {stem}"))
        twins.write(folder / "violin.wav", tone(220 + 50 * number, 2, twins.RATE))
        rows.append({"track": folder.name, "split": split} | {s: f"{folder.name}/{s}.wav" for s in ("vocals", "piano")})
    twins.manifest(root / "tracks.csv", rows)
    return root


def free_names(root: Path) -> Path:
    """Write four songs with free file names, and the yaml of the page that assigns them to sources."""
    for number in range(4):
        for name in ("Lead vox", "Kick in", "bass DI", "gtr left"):
            twins.write(root / f"song {number}" / f"{name}.wav", twins.sound(f"{number} {name}"))
    page = (PROJECT / "docs/reference/data_sets.md").read_text()
    (root / "sources.yaml").write_text(re.search(r"^```yaml\n(vocals: .*?)^```", page, re.MULTILINE | re.DOTALL)[1])
    return root


def mir1k(root: Path) -> Path:
    """Write clips of five singers."""
    singers = ("amy", "bug", "jmzen", "annar", "davidson")
    return twins.karaoke(root, [f"{singer}_{song}_01" for singer in singers for song in (1, 2)])


def singles(root: Path) -> Path:
    """Write five recordings of one voice."""
    for number in range(5):
        twins.write(root / "voice" / f"take {number}.wav", tone(200 + 30 * number, 4), 16000)
    return root


def pairs(root: Path) -> Path:
    """Write pairs in two folders, and a table of them."""
    twins.pairs(root)
    rows = [{"track": n, "mixture": f"mixture/{n}.wav", "instrumental": f"instrumental/{n}.flac"} for n in "bcd"]
    twins.manifest(root / "pairs.csv", rows)
    return root


def named_pairs(root: Path) -> Path:
    """Write pairs whose file names have endings."""
    for name in "abc":
        twins.write(root / f"{name}_full.wav", twins.sound(f"{name} voice") + twins.sound(f"{name} band"))
        twins.write(root / f"{name}_karaoke.wav", twins.sound(f"{name} band"))
    return root


def msst(root: Path) -> Path:
    """Write three folders of training songs and one of validation songs."""
    for name in ("train", "musdb", "mine"):
        twins.msst_songs(root / name, STEMS)
    twins.msst_songs(root / "valid", STEMS, mixture=True)
    return root


def smallest(script: str, words: list[str]) -> list[str]:
    """Return the words of a training, or of another command, for one step of a narrow network on short generated songs."""
    config = composed(script, runs_of(script, words)[0])
    choices = config.hydra.runtime.choices
    extra = SMALLEST if script == "train.py" else {}
    if choices.get("data") in ("demo", "demo_leads") and not any(word.startswith("run=") for word in words):
        extra = extra | SMALL_SONGS
    extra = {key: value for key, value in extra.items() if OmegaConf.select(config, key) is not None}
    if choices.get("data") == "digits":
        extra["data.batch_size"] = "512"  # pre-training takes whole epochs
    net = OmegaConf.select(config, "model.separator.net") or {}
    if script == "train.py" and isinstance(net.get("channels"), list | ListConfig) and len(net.channels) == 6:
        extra["model.separator.net.channels"] = "[2,2,4,4,4,4]"
    if script == "train.py" and isinstance(net.get("hidden"), int):
        extra["model.separator.net.hidden"] = "16"
    if "sweeper=optuna" in words:
        extra |= {"hydra.sweeper.n_trials": "1", "trainer.max_steps": "-1"}  # the objective needs a validation
    if is_sweep(words, Path(script).stem):  # the values that an experiment sweeps over
        swept = {key: str(value).split(",")[0] for key, value in (config.hydra.sweeper.get("params") or {}).items()}
        extra |= {key: value for key, value in swept.items() if not any(word.startswith(f"{key}=") for word in words)}
    kept = [word for word in words if word.partition("=")[0] not in extra]
    return [*kept, *(f"{key}={value}" for key, value in extra.items())]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("place"))


@pytest.mark.docs
@pytest.mark.parametrize("command", [command for command in SCRIPTS if not command.reason], ids=str)
def test_commands_run(command, cli, place, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("UNBRAID_CORES", "1")  # tiny songs are rendered faster in this process than in new ones
    script, words = command.script, command.words
    if "--help" not in words and "--cfg" not in words:
        flags = [word for word in words if word.startswith("-")]
        words = words if "sweeper=optuna" in words or script != "train.py" else runs_of(script, words)[0]
        words = place.typed([word for word in words if not word.startswith("-")])
        words = words if script == "scripts/wandb_sweep.py" else smallest(script, [*flags, *words])
    if "input=-" in words:
        with place.song("song.wav").open() as song:
            monkeypatch.setattr(sys, "stdin", song)
            status, _, error = cli(*words, script=script)
    else:
        status, _, error = cli(*words, script=script)
    assert status == 0, error
