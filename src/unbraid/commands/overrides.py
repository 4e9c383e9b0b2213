"""Quote the paths on a command line, because Hydra's grammar of overrides (`key=value`) interprets some characters.

If a value is not quoted, the grammar rejects accents, `'`, `"`, `=`, `#` and `~` in the value. The grammar also interprets
commas, brackets and numbers, and removes spaces at both ends. Therefore this module quotes the value of every key that takes a
path, before Hydra reads the value. See also `docs/how-to/separate.md`.
"""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf

from unbraid.commands.choices import PARSER, file_of
from unbraid.runs.errors import InputError

TARGETS = "targets"  # takes names of sources, which are file names
NOTES = "notes"  # takes a text with any characters
TAGS = "tags"  # takes a list of such texts
# Keys with paths, parts or patterns of paths, or free text. tests/commands/test_overrides.py keeps the list complete.
PATHS = frozenset({
    "checkpoint", "ckpt_path", "compare_with", "config", "estimates", "file", "init.config", "init.path", "input", "labels",
    "name", "notes", "output", "power_from", "results", "run", "runs", "start", "sweep", "tags",
    "data.root", "data.exclude", "data.cache_dir", "data.layout.instrumental", "data.layout.manifest", "data.layout.mixture",
    "data.layout.pairs", "data.layout.sources", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir",
    "hydra.sweeper.storage", "logger.mlflow.save_dir", "baseline",
})  # fmt: skip
# Keys whose values are only a part of a path or free text, in which ~ is an ordinary character.
PARTS = frozenset(
    {name for name in PATHS if name.startswith("data.layout.")}
    | {"baseline", "data.exclude", "name", NOTES, TAGS, "hydra.sweep.subdir"}
)
LISTS = frozenset(
    {"compare_with", "data.exclude", "data.layout.sources", "input", "labels", "results", "runs", "tags", "targets"}
)  # keys that also take a list
MAPPINGS = frozenset({"data.layout.sources"})  # keys that also take a mapping
SWEEP_FLAGS = frozenset({"-m", "--multirun", "hydra.mode=MULTIRUN"})
SWEEP_GROUPS = frozenset({"experiment", "launcher", "sweeper"})  # a choice of these groups can start a sweep
# Keys of the words without `KEY=`, in order, by command. The last key takes all remaining words if it accepts a list.
POSITIONAL = {
    "anomaly": ("run", "input"),
    "app": ("run",),
    "dashboard": ("sweep",),
    "encode": ("run", "input"),
    "evaluate": ("run",),
    "export": ("run",),
    "inspect": ("file",),
    "listening": ("sweep",),
    "new": ("output",),
    "publish": ("run",),
    "report": ("sweep",),
    "separate": ("run", "input"),
    "transfer": ("run", "input"),
}
# Options of Hydra that are followed by a value
WITH_VALUE = frozenset({"--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p"})
# Options of Hydra in the long form
OPTIONS = frozenset({
    "--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun", "--shell-completion",
    "--config-path", "--config-name", "--config-dir", "--experimental-rerun", "--info",
})  # fmt: skip
PLUGINS = re.compile(r"\A(\+{0,2}plugins=)([\w.]+(?:,[\w.]+)*)\Z")
PROTOCOLS = re.compile(r"\Aprotocol=\[([^\[\]]*)\]\Z")
ELEMENT = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?:\$\{[^}]*\}|[^,])*?)\s*(?:,|\Z)""")


def quote_paths(words: Sequence[str], sweeps: bool) -> list[str]:
    """Quote the paths on a command line, so that Hydra passes the paths to the command unchanged.

    If a value is the path of an existing file or folder, the whole value is quoted. The rules for other values are:

    - `null`, `${…}` and a value in quotation marks are not changed.
    - If a key takes a list, each item of a list is quoted separately.
    - In a sweep, each of several values separated by commas is quoted separately.

    Args:
        words: arguments of the command line, such as `run=FOLDER`.
        sweeps: True if the command starts a sweep (a series of runs).

    Returns:
        The arguments for Hydra, in the same order. An existing path that contains `${` raises InputError.
    """
    return [_quote_word(word, sweeps) for word in words]


def with_keys(words: Sequence[str], config_name: str) -> list[str]:
    """Add the missing keys to words without a key, such as `RUN` and `song.mp3` in `separate RUN song.mp3`.

    Args:
        words: arguments of the command line.
        config_name: name of the main config of the command: a yaml file directly in `conf`, without the suffix.

    Returns:
        The arguments with `KEY=WORD` in place of each word without a key. A word is unchanged if the command has no key for
        this word.
    """
    typed = {word.partition("=")[0] for word in words}
    keys = [key for key in POSITIONAL.get(config_name, ()) if key not in typed]
    result, values = [], []
    for before, word in pairwise(["", *words]):
        if not keys or word.startswith(("-", "~", "+")) or before in WITH_VALUE or not _is_positional(word):
            result.append(word)
        elif len(keys) > 1 or keys[-1] not in LISTS:
            result.append(f"{keys.pop(0)}={word}")
        else:
            values.append(word)
    if values:
        result.append(f"{keys[0]}={values[0]}" if len(values) == 1 else f"{keys[0]}=[{','.join(map(quoted, values))}]")
    return result


def refuse_dashes(words: Sequence[str]) -> None:
    """Check that no key is typed with dashes, such as `--input song.mp3`.

    Args:
        words: arguments of the command line as the user typed them.

    Raises:
        InputError: a word begins with `--` and is not an option of Hydra. The hint shows the words to type.
    """
    wrong = next((word for word in words if word.startswith("--") and not _is_option(word.partition("=")[0])), None)
    if wrong is None:
        return
    typed: list[str] = []
    key = ""
    for word in words:
        if word.startswith("--") and (word == "--run" or not _is_option(word.partition("=")[0])):
            name, equals, value = word.lstrip("-").partition("=")
            typed += [f"{name}={value}"] if equals else []
            key = "" if equals else name
        else:
            typed.append(f"{key}={word}" if key else word)
            key = ""
    hint = f"Type {' '.join(map(shlex.quote, [*typed, *([f'{key}=VALUE'] if key else [])]))}"
    raise InputError(wrong, "keys are typed without dashes, in the form KEY=VALUE", hint=hint)


def _is_option(word: str) -> bool:
    """Return whether a word is an option of Hydra, or the unique beginning of one."""
    return word in OPTIONS or sum(option.startswith(word) for option in OPTIONS) == 1


def list_plugins(words: Sequence[str]) -> list[str]:
    """Write the value of the key `plugins` as a list: `plugins=mypkg` becomes `plugins=[mypkg]`. Plugins cannot be swept."""
    return [PLUGINS.sub(r"\1[\2]", word) for word in words]


def split_protocols(words: Sequence[str], config_name: str) -> list[str]:
    """Replace `protocol=[A,B]` by `protocol=A more_protocols=[B]` on the command line of `evaluate`.

    Args:
        words: arguments of the command line.
        config_name: name of the main config of the command: a yaml file directly in `conf`, without the suffix.

    Returns:
        The arguments. Repeated protocols are left out.
    """
    result: list[str] = []
    for word in words:
        names = list(dict.fromkeys(re.findall(r"[^,\s]+", match[1]))) if (match := PROTOCOLS.match(word)) else []
        if config_name == "evaluate" and names:
            result += [f"protocol={names[0]}", f"more_protocols=[{','.join(names[1:])}]"]
        else:
            result.append(word)
    return result


def _is_positional(word: str) -> bool:
    """Return whether a word is a value without a key. The path of an existing file is a value, even if it contains `=`."""
    key, equals, _ = word.partition("=")
    return not equals or (os.path.lexists(word) and "/" in key)


def is_sweep(words: Sequence[str], config_name: str) -> bool:
    """Return whether the command line starts a sweep: with the option `-m`, or with a chosen yaml that sets `hydra.mode`.

    Args:
        words: words of the command line.
        config_name: name of the main config of the command: a yaml file directly in `conf`, without the suffix.

    Returns:
        True for a sweep.
    """
    pairs = [word.split("=", 1) for word in words if word.count("=") == 1]
    files = [file_of("", config_name), *(file_of(*pair) for pair in pairs if pair[0] in SWEEP_GROUPS)]
    modes = [OmegaConf.select(OmegaConf.load(path), "hydra.mode") for path in files if path]
    return not SWEEP_FLAGS.isdisjoint(words) or "MULTIRUN" in modes


def as_typed(word: str) -> str:
    """Remove the quotation marks that `quote_paths` has added to an override.

    Args:
        word: override `key=value`.

    Returns:
        The override as the user typed it.
    """
    key, _, value = word.partition("=")
    if key.lstrip("+") not in PATHS or value[:1] not in ("'", '"'):
        return word
    parsed = _read(value)
    text = parsed.text if isinstance(parsed, QuotedString) else value
    return f"{key}={text}" if _quote_path(text) == value else word


def quoted(text: str) -> str:
    """Put a text in quotation marks, in the form that Hydra's grammar of overrides requires."""
    return QuotedString(text, Quote.double if "'" in text and '"' not in text else Quote.single).with_quotes()


def unreadable(word: str) -> InputError:
    """Return the error for an override that Hydra's grammar cannot read. The hint shows the override with a quoted value.

    Args:
        word: override as the user typed it.

    Returns:
        The error, which is not raised here.
    """
    key, equals, value = word.partition("=")
    if not equals:
        expected = f"KEY=VALUE, or an option such as {' or '.join(sorted(SWEEP_FLAGS)[:2])}"
        return InputError(word, "this word has no key", expected=expected)
    is_list = value.startswith("[") and value.endswith("]")
    typed = f"[{','.join(map(_quote_path, _elements(value[1:-1])))}]" if is_list else quoted(value)
    hint = f"To pass it as text, type {_in_shell_quotes(f'{key}={typed}')}"
    return InputError(key, "Hydra's grammar cannot read this value", found=value, hint=hint)


def _in_shell_quotes(word: str) -> str:
    """Quote a word for a shell: with double quotation marks if it contains `'` and no character that a shell interprets."""
    return f'"{word}"' if "'" in word and not {*'"$`\\!'} & {*word} else shlex.quote(word)


def _quote_word(word: str, sweeps: bool) -> str:
    key, equals, value = word.partition("=")
    if key.lstrip("+") == "init" and not value.startswith("{"):
        key = f"{key}.path"  # the short form
        word = f"{key}={value}"
    name = key.lstrip("+")
    if not equals or name not in PATHS | {TARGETS} or (name in MAPPINGS and value.startswith("{")):
        return word
    if name == TAGS and not value.startswith("["):  # scripts/separate.py has a switch with this name
        return word
    path = value if name in PARTS | {TARGETS} else _without_tilde(value)
    if os.path.lexists(path) and name != TARGETS:
        if "${" in value:
            raise InputError(
                word, "the path contains '${', which Hydra replaces by a value", hint="Rename the file, or use a symbolic link"
            )
        return f"{key}={_quote_text(path)}"
    quote = partial(_quote_path, place=name not in PARTS | {TARGETS})
    if name in LISTS and value.startswith("[") and value.endswith("]"):
        return word if sweeps and _is_readable(value) else f"{key}=[{','.join(map(quote, _elements(value[1:-1])))}]"
    # Hydra's folders and the notes are the same for all runs of a sweep.
    if (not sweeps and name != TARGETS) or name.startswith("hydra.") or name == NOTES:
        return f"{key}={quote(value)}"
    if re.match(r"(choice|glob|shuffle|sort|tag)\(", value) and _is_readable(value):
        return word
    return f"{key}={','.join(map(quote, _elements(value)))}"


def _without_tilde(text: str) -> str:
    """Replace a leading `~` of a path by the home folder.

    Exception: if a file with this path exists in the working directory, the absolute path of the file is returned.
    """
    if not text.startswith("~"):
        return text
    home = os.path.expanduser(text)  # noqa: PTH111  pathlib raises RuntimeError if the user does not exist
    return str(Path(text).absolute()) if os.path.lexists(text) or home == text else home


def _elements(text: str) -> Iterator[str]:
    """Split the text of a list at its commas, but not at commas inside quotes or `${…}`."""
    end = 0
    while match := ELEMENT.match(text, end):
        yield match[1]
        end = match.end()
        if not match[0].endswith(","):
            return


def _quote_path(text: str, place: bool = False) -> str:
    """Put a path in quotation marks if necessary. If `place` is True, first replace a leading `~` by the home folder."""
    unchanged = _is_readable(text) and isinstance(_read(text), QuotedString | None)
    return text if unchanged else _quote_text(_without_tilde(text) if place else text)


def _quote_text(text: str) -> str:
    """Put a text in quotation marks, unless Hydra's grammar reads the text unchanged without quotation marks."""
    return text if _is_readable(text) and _read(text) == text else quoted(text)


def _is_readable(value: str) -> bool:
    try:
        _read(value)
    except HydraException:
        return False
    return True


def _read(value: str) -> object:
    """Return the value that Hydra's grammar reads from a text. A text in quotation marks becomes a `QuotedString`."""
    override: Override = PARSER.parse_override(f"key={value}")
    parsed: object = override._value
    return parsed


def named(hydra: Any, key: str) -> str | None:
    """Return the override of a key of Hydra, such as `hydra.run.dir=FOLDER`, from the command line.

    Args:
        hydra: the `hydra` node of a composed config.
        key: key of Hydra, such as `hydra.run.dir`.

    Returns:
        The override `key=value`, in which interpolations such as `${now:…}` are not resolved; None if the command line does not
        override the key.
    """
    words: Any = OmegaConf.to_container(hydra.overrides.hydra, resolve=False)
    return next((word for word in words if word.lstrip("+").startswith(f"{key}=")), None)
