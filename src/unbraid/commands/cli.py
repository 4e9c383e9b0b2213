"""Run a command of unbraid from the command line: compose the config of the command with Hydra, and end with an exit status.

The exit status is 0 after success, 1 after an error in the input, and 130 after Ctrl-C. After another signal, the exit status
is 128 plus the number of the signal. An error in the input is printed as one line. `HYDRA_FULL_ERROR=1` prints the traceback
instead.

`hydra_command` makes a program from a command. The program composes the config of the command from the command line. `frozen`
runs a function on a run folder that already contains a config. The processes of a sweep call `frozen`.

This module imports only small packages, so that `--help` and `--cfg` are fast.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from functools import partial, wraps
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from unbraid.commands.choices import CONF, LOADS_NO_RUN, choices, command_line
from unbraid.commands.data_sets import with_data_sets
from unbraid.commands.keys import check_paths
from unbraid.commands.overrides import (
    is_sweep,
    list_plugins,
    quote_paths,
    refuse_dashes,
    split_protocols,
    unreadable,
    with_keys,
)
from unbraid.commands.unknown_keys import unknown_choice, unknown_key
from unbraid.runs.errors import InputError, LayoutError, closest
from unbraid.runs.text import echo, one_line

FULL_ERROR = "HYDRA_FULL_ERROR"
HELP_FLAGS = frozenset({"-h", "--help"})
# Torch reads this variable once. Huge pages make the allocation of batches faster if the kernel offers them on request.
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
user_full_error: ContextVar[str | None] = ContextVar("user_full_error", default=None)  # HYDRA_FULL_ERROR as the user set it
new_folders: list[Path] = []  # folders that this process has created for a sweep; they are removed at the end if empty
failed_runs: list[str] = []  # names of the failed runs of this process's sweep, whose errors are already printed


def hydra_command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Return a decorator that makes a command-line program from a command.

    A command is a function whose only argument is a composed config.

    Args:
        config_name: name of the main config of the command: a yaml file directly in `conf`, without the suffix.

    Returns:
        The decorator. The decorated function takes no arguments, reads the command line, and ends the process after an error.
    """

    def decorate(command: Callable[[DictConfig], None]) -> Callable[[], None]:
        @wraps(command)
        def main() -> None:
            failed_runs.clear()
            full_error = os.environ.get(FULL_ERROR)
            user_full_error.set(full_error)
            os.environ.setdefault(HUGE_PAGES, "1")
            sys.excepthook = _print_traceback
            # With the variable set to 1, Hydra raises its errors instead of printing them.
            words = split_protocols(list_plugins(with_keys(sys.argv[1:], config_name)), config_name)
            if "--version" in words:
                echo(f"unbraid {version('unbraid')}")
                return
            on_error = partial(_exit_on_error, config_name, full_error=full_error)
            chosen = command_line(config_name, words)
            with _remove_new_folders(), on_error(), chosen, on_error(), _full_error("1"):  # the hints need the choices
                if not HELP_FLAGS.isdisjoint(words):
                    from unbraid.commands.help import help_text

                    echo(help_text(config_name, CONF, sys.argv[0]), flush=True)
                    return
                refuse_dashes(sys.argv[1:])
                words = with_data_sets(words) if config_name in LOADS_NO_RUN else words
                sys.argv[1:] = quote_paths(words, is_sweep(words, config_name))
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(_job(command, full_error))()
            if failed_runs:
                _end(f"error: these runs failed: {', '.join(failed_runs)}. The same command starts them again", 1)

        return main

    return decorate


def frozen(command: Callable[[Path], None], folder: str) -> None:
    """Call a function with a run folder that already contains a composed config. End the process after an error.

    Args:
        command: function that takes the run folder.
        folder: path of the run folder.
    """
    with _exit_on_error("config", Path(folder), os.environ.get(FULL_ERROR)):
        command(Path(folder))


@contextmanager
def _exit_on_error(config_name: str, folder: Path | None = None, full_error: str | None = None) -> Iterator[None]:
    """If an error of the user or a stop signal ends the `with` block, print one line and end the process."""
    try:
        yield
    except KeyboardInterrupt as error:
        signum = getattr(error, "signum", signal.SIGINT)
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        _end(". ".join([f"stopped by {name}", *getattr(error, "__notes__", [])]), 128 + signum)
    except BrokenPipeError:  # the reader of the output has closed the pipe, as in `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        message = error_message(error, config_name, folder)
        if full_error == "1" or message is None:
            raise
        _end(f"error: {message}", 1)


def _job(command: Callable[[DictConfig], None], full_error: str | None) -> Callable[[DictConfig], None]:
    """Wrap a command. The wrapper removes an empty run folder, and prints errors in the format of unbraid."""

    @wraps(command)
    def run(config: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            with _full_error(full_error):
                check_paths(config, HydraConfig.get().job.config_name or "")
                command(config)
        except BaseException as error:
            message = error_message(error, HydraConfig.get().job.config_name or "config", folder)
            if message is None or full_error == "1":
                raise
            _end(f"error: {message}", 1)
        finally:
            remove_if_empty(folder)

    return run


@contextmanager
def _full_error(value: str | None) -> Iterator[None]:
    """Set the environment variable HYDRA_FULL_ERROR to a value inside the `with` block. None removes the variable."""
    before = os.environ.pop(FULL_ERROR, None)
    os.environ |= {} if value is None else {FULL_ERROR: value}
    try:
        yield
    finally:
        os.environ.pop(FULL_ERROR, None)
        os.environ |= {} if before is None else {FULL_ERROR: before}


def user_tracebacks() -> AbstractContextManager[None]:
    """Return a context manager that sets the environment variable HYDRA_FULL_ERROR to the value that the user has chosen."""
    return _full_error(user_full_error.get())


@contextmanager
def _remove_new_folders() -> Iterator[None]:
    """At the end of the `with` block, remove the sweep folders that this process has created and that are empty."""
    try:
        yield
    finally:
        while new_folders:
            remove_if_empty(new_folders.pop())


def remove_if_empty(folder: Path) -> None:
    """Remove a run folder if it is empty, and then each empty parent folder below the working directory.

    Args:
        folder: run folder.
    """
    if folder == Path.cwd():
        return
    parents = [path for path in folder.parents if path.is_relative_to(Path.cwd()) and path != Path.cwd()]
    with suppress(OSError):  # raised by the first folder that is not empty
        for path in (folder, *parents):
            with suppress(FileNotFoundError):
                path.rmdir()


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback without control characters, because an error message can quote text from an untrusted file."""
    echo(*traceback.format_exception(kind, error, trace), sep="", end="", file=sys.stderr)


def _end(message: str, status: int) -> NoReturn:
    echo(message, file=sys.stderr)
    sys.exit(status)


def error_message(error: BaseException | None, config_name: str, folder: Path | None = None) -> str | None:
    """Return the one-line message of an error in the user's input.

    Args:
        error: exception that ended a command.
        config_name: name of the main config of the command: a yaml file directly in `conf`, without the suffix.
        folder: run folder. The message names this folder if `error` is an error of the operating system without a file name.

    Returns:
        The message; None if a bug of unbraid, and not the input, caused the error.
    """
    if isinstance(error, LayoutError):
        from unbraid.commands.layouts import with_layouts_that_fit  # heavy import, only needed after this error

        return str(with_layouts_that_fit(error, CONF))
    if isinstance(error, InputError):
        return f"{error}{_similar_choice(error)}"
    if isinstance(error, OverrideParseException):
        return str(unreadable(error.override))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return str(unknown_choice(error.missing_cfg_file, error.options))
    if error is not None and error.__cause__ is not None and (cause := error_message(error.__cause__, config_name, folder)):
        return unknown_key(str(error), config_name) or cause
    if isinstance(error, HydraException | OmegaConfBaseException):
        return unknown_key(str(error), config_name) or one_line(str(error))
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # of torch, which is not imported here
        hint = "Lower data.batch_size or data.chunk_seconds"
        return str(InputError("memory", one_line(str(error)), hint=hint))
    if type(error).__name__ in ("BackendCompilerFailed", "InductorError"):  # of torch, which is not imported here
        hint = "Type compile=false, or delete the cache folder of the compiler if a compilation was interrupted"
        return str(InputError("compile=true", f"PyTorch cannot compile the network ({one_line(str(error))})", hint=hint))
    if isinstance(error, OSError) and error.errno and (error.filename or folder):
        return f"{error.filename or folder}: {error.strerror}"
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):  # raised by Hydra for data=null
        group = next((word.removesuffix("=null") for word in sys.argv if word.endswith("=null")), "config group")
        hint = f"To leave out an optional group, type ~{group}"
        return str(InputError(group, "a choice of this config group is required", found="null", hint=hint))
    return None


def _similar_choice(error: InputError) -> str:
    """If an error is about an unknown source, return a hint: the choice of `targets` with the most similar name.

    If the error has another reason, or if no choice has a similar name, an empty text is returned.
    """
    group, _, name = error.where.partition(".")
    known = list(choices("targets")) if group == "targets" else []
    close = closest(name, known)
    return f". Did you mean the choice targets={close}?" if close and close != name else ""
