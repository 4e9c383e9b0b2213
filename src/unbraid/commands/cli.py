"""The way in from the command line: Hydra composes the config, and what goes wrong ends in one sentence and an exit status.

0 is success, 1 is bad input, 130 is Ctrl-C, and 128 plus its number any other signal that asks a run to end.
`HYDRA_FULL_ERROR=1` shows the traceback instead. Nothing heavy is imported here.
A process that goes on with a run folder, as those of a sweep do, comes in by `frozen`, and ends in the same ways.
"""

import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from unbraid.commands.overrides import is_sweep, quote_paths, unreadable
from unbraid.runs.errors import InputError, LayoutError, unknown
from unbraid.runs.text import echo, one_line

FULL_ERROR = "HYDRA_FULL_ERROR"
PACKAGE = Path(__file__).parents[1]
# The wheel carries the configs inside the package; a checkout has them beside src/.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
# Torch reads it once: batches in huge pages cost the kernel a fraction of the time (where the kernel offers them on request).
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
asked_for: ContextVar[str | None] = ContextVar("asked_for", default=None)  # the user's own HYDRA_FULL_ERROR
failed_runs: list[str] = []  # of the sweep of this process: those the user has read about


def hydra_command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make a command-line program of a function of a composed config.

    Args:
        config_name: the yaml directly below `conf/` that the command line starts from.
    """

    def decorate(command: Callable[[DictConfig], None]) -> Callable[[], None]:
        @wraps(command)
        def main() -> None:
            failed_runs.clear()
            asked = os.environ.get(FULL_ERROR)
            asked_for.set(asked)
            os.environ.setdefault(HUGE_PAGES, "1")
            sys.excepthook = _print_traceback
            # Hydra shall raise what it would otherwise print in its own way.
            with _one_sentence(config_name, asked=asked), _full_error("1"):
                sys.argv[1:] = quote_paths(sys.argv[1:], is_sweep(sys.argv[1:], CONF, config_name))
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(_job(command, asked))()
            if failed_runs:
                _end(f"error: did not succeed: {', '.join(failed_runs)}; the same command tries again", 1)

        return main

    return decorate


def frozen(command: Callable[[Path], None], folder: str) -> None:
    """Go on with a run folder, whose config is composed already."""
    with _one_sentence("config", Path(folder), os.environ.get(FULL_ERROR)):
        command(Path(folder))


@contextmanager
def _one_sentence(config_name: str, folder: Path | None = None, asked: str | None = None) -> Iterator[None]:
    """Whatever ends the block early ends the program, with the exit status that it stands for."""
    try:
        yield
    except KeyboardInterrupt as error:
        signum = getattr(error, "signum", signal.SIGINT)
        _end(f"stopped by {'Ctrl-C' if signum == signal.SIGINT else signal.Signals(signum).name}", 128 + signum)
    except BrokenPipeError:  # the reader of our output has gone, as in `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        said = sentence(error, config_name, folder)
        if asked == "1" or said is None:
            raise
        _end(f"error: {said}", 1)


def _job(command: Callable[[DictConfig], None], asked: str | None) -> Callable[[DictConfig], None]:
    """One run: leaves no empty folder behind, and alone it ends the program before Hydra can add words of its own."""

    @wraps(command)
    def run(config: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            with _full_error(asked):
                command(config)
        except BaseException as error:
            said = sentence(error, HydraConfig.get().job.config_name or "config", folder)
            if said is None or asked == "1":
                raise
            _end(f"error: {said}", 1)
        finally:
            remove_if_empty(folder)

    return run


@contextmanager
def _full_error(value: str | None) -> Iterator[None]:
    before = os.environ.pop(FULL_ERROR, None)
    os.environ |= {} if value is None else {FULL_ERROR: value}
    try:
        yield
    finally:
        os.environ.pop(FULL_ERROR, None)
        os.environ |= {} if before is None else {FULL_ERROR: before}


def as_asked() -> AbstractContextManager[None]:
    """Processes that are started in this block show tracebacks if the user asked for them, and not because Hydra must here."""
    return _full_error(asked_for.get())


def remove_if_empty(folder: Path) -> None:
    """The run folder that Hydra has made, and the ones above it up to the working directory."""
    if folder == Path.cwd():
        return
    above = [path for path in folder.parents if path.is_relative_to(Path.cwd()) and path != Path.cwd()]
    with suppress(OSError):  # the first that is not empty ends it
        for path in (folder, *above):
            path.rmdir()


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print as Python does, without control characters: the message can quote a file of somebody else."""
    echo(*traceback.format_exception(kind, error, trace), sep="", end="", file=sys.stderr)


def _end(message: str, status: int) -> NoReturn:
    echo(message, file=sys.stderr)
    sys.exit(status)


def sentence(error: BaseException | None, config_name: str, folder: Path | None = None) -> str | None:
    """What to tell a user, or None where the error is not of their making."""
    if isinstance(error, LayoutError):
        from unbraid.commands.layouts import with_layouts_that_fit  # of what only a failing command has to wait for

        return str(with_layouts_that_fit(error, CONF))
    if isinstance(error, InputError):
        return f"{error}{_like_a_choice(error)}"
    if isinstance(error, OverrideParseException):
        return str(unreadable(error.override))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        known = error.options or [path.stem for path in (CONF / group).glob("*.yaml")]  # Hydra has none where a list was typed
        return f"{group or 'config'}={name}: there is no such choice; {unknown(name, known)}"
    if error is not None and error.__cause__ is not None and (said := sentence(error.__cause__, config_name, folder)):
        return _unknown_key(str(error), config_name) or said
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _unknown_key(str(error), config_name) or one_line(str(error))
    if isinstance(error, OSError) and error.errno and (error.filename or folder):
        return f"{error.filename or folder}: {error.strerror}"
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):  # Hydra's bare word on data=null
        return str(error)
    return None


def _like_a_choice(error: InputError) -> str:
    """The end of a sentence about a target that is no source, if its name is like that of a yaml in `conf/targets`."""
    group, _, name = error.where.partition(".")
    known = [path.stem for path in CONF.glob("targets/*.yaml")] if group == "targets" else []
    close = get_close_matches(name, known, n=1, cutoff=0.75)
    return f"; or the choice targets={close[0]}?" if close and close[0] != name else ""


def _unknown_key(message: str, config_name: str) -> str | None:
    """From Hydra's words on an override that matches nothing, the key and its nearest known neighbour."""
    match = re.match(r"Could not override '([^']+)'", message)
    if match is None:
        return None
    known: Any = _compose_without(match[1], config_name)
    parts = match[1].split(".")
    for depth, part in enumerate(parts):
        if not isinstance(known, DictConfig):
            return f"{match[1]}: {'.'.join(parts[:depth])} is a single value, it has no keys"
        place = ".".join(parts[: depth + 1])
        if part not in known:
            if parts[0] != "hydra" and part in _parameters(known):
                return f"{place}: is not in the config, but may be; add it with +{place}=…"
            return f"{place}: there is no such key; {unknown(part, map(str, known))}"
        known = known._get_node(part)
        if known._is_interpolation() and depth + 1 < len(parts):
            return f"{place}: is a link, {known._value()}; set what it points to"
    return None


def _parameters(node: DictConfig) -> set[str]:
    """What the target of a node takes; this imports it, which only a failing command line has to wait for."""
    from unbraid.runs.config import resolve

    return set(signature(resolve(node._target_, "config")).parameters) if "_target_" in node else set()


def _compose_without(key: str, config_name: str) -> DictConfig:
    """The config with the first choices of the command line, without its values and without the override in question."""
    words = [word.split(",")[0] for word in sys.argv[1:] if re.fullmatch(r"[\w/]+=[\w/,]+", word)]
    choices = [word for word in words if not word.startswith(f"{key}=")]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(config_name, choices, return_hydra_config=key.startswith("hydra."))
