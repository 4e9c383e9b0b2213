"""Check values of a command's config: required keys, paths of new output files, and ranges of numbers."""

import shlex
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from unbraid.runs.errors import InputError, refuse_unset
from unbraid.runs.files import check_folder, refuse_missing

MODEL = "a run folder or a model file"
READ_DATA = frozenset({"train", "prepare"})  # commands that always read a data set


def require(config: DictConfig, **placeholders: str) -> None:
    """Check that the user has given a value to each required key of a command.

    Args:
        config: config of the command.
        **placeholders: for each required key, the placeholder of its value in the error message, such as `FOLDER`.

    Raises:
        InputError: a required key is None.
    """
    for key, placeholder in placeholders.items():
        if config[key] is None:
            raise InputError(key, "this key is required", hint=f"Type {key}={placeholder}")


def check_paths(config: DictConfig, command: str) -> None:
    """Check that the model, the sweep and the data set of a command exist, before the slow imports.

    The folder of a data set is not checked if the command downloads or renders the data set.
    InputError is raised if the path `run` or `sweep` or the folder `data.root` does not exist, `run` is an audio file, or
    `data.root` has no value.

    Args:
        config: config of the command. The keys `run`, `sweep`, `data.root` and `data.download` can be missing.
        command: name of the command. The commands in `READ_DATA` need `data.root`.
    """
    for key, expected in {"run": MODEL, "sweep": "the folder of a sweep"}.items():
        path = config.get(key)
        if isinstance(path, str) and not Path(path).expanduser().exists():
            refuse_missing(f"{key}={path}", Path(path).expanduser(), expected)
    run = config.get("run")
    if isinstance(run, str) and (path := Path(run).expanduser()).is_file():
        _refuse_audio(path, "input" in config)
    if not config.get("data"):
        return
    if OmegaConf.is_missing(config.data, "root"):
        if command in READ_DATA:
            refuse_unset("data.root")
    elif not config.data.get("download"):
        root = config.data.get("root")
        if isinstance(root, str):
            check_folder(f"data.root={root}", Path(root).expanduser())


def _refuse_audio(path: Path, takes_input: bool) -> None:
    from unbraid.data.layouts.folders import AUDIO_SUFFIXES  # only needed if the model is a file

    if path.suffix.lower() in AUDIO_SUFFIXES:
        hint = "Type run=FOLDER" + (f" {shlex.quote(f'input={path}')}" if takes_input else "")
        raise InputError(f"run={path}", "this is an audio file, not a model", expected=MODEL, hint=hint)


def check_sweep_or_runs(config: DictConfig) -> None:
    """Check that a command gets its runs either from a sweep folder or from a list of run folders.

    Args:
        config: config of the command, with the keys `sweep` (None if not given) and `runs` (empty if not given).

    Raises:
        InputError: both keys or none of them are given.
    """
    if (config.sweep is None) != bool(config.runs):
        problem = "exactly one of these two keys must be given"
        raise InputError("sweep, runs", problem, hint="Type sweep=FOLDER or 'runs=[FOLDER,FOLDER]'")


def check_new(key: str, path: Path) -> None:
    """Check that an output path does not exist yet.

    Args:
        key: key of the command line that names the path, for the error message.
        path: file or folder that the command will create.

    Raises:
        InputError: the path exists.
    """
    if path.exists():
        raise InputError(f"{key}={path}", "the output already exists", hint="Choose another path or remove the old output")


def check_range(config: DictConfig, key: str, low: float, high: float) -> None:
    """Check that the number at a config key is in a closed interval.

    Args:
        config: config of the command.
        key: key of the number.
        low: smallest allowed value.
        high: largest allowed value.

    Raises:
        InputError: the number is outside the interval.
    """
    if not low <= config[key] <= high:
        expected = f"at least {low}" if high == float("inf") else f"a number in [{low}, {high}]"
        raise InputError(key, found=config[key], expected=expected)
