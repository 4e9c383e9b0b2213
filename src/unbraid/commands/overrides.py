"""Quote the paths on a command line, because Hydra's grammar gives some characters a meaning.

The grammar rejects accents, quotes, `=`, `#` and `~` in a plain value. It interprets commas, brackets, numbers, and spaces at
the ends. Therefore the value of every key that takes a path is quoted before Hydra reads it. Docs: separate.md.
"""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf

from unbraid.runs.errors import InputError

TARGETS = "targets"  # takes names of sources, which are file names
NOTES = "notes"  # takes a text with any characters
TAGS = "tags"  # takes a list of such texts
# Keys with paths, parts or patterns of paths, or free text. tests/commands/test_overrides.py keeps the list complete.
PATHS = frozenset({
    "checkpoint", "ckpt_path", "compare_with", "estimates", "init", "input", "labels", "name", "notes", "output", "power_from",
    "run", "runs", "sweep", "tags",
    "data.root", "data.cache_dir", "data.layout.instrumental", "data.layout.manifest", "data.layout.mixture",
    "data.layout.pairs", "data.layout.sources", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir",
    "hydra.sweeper.storage",
})  # fmt: skip
# Keys whose values are only a part of a path or free text, in which ~ is an ordinary character.
PARTS = frozenset({name for name in PATHS if name.startswith("data.layout.")} | {"name", NOTES, TAGS, "hydra.sweep.subdir"})
LISTS = frozenset({"compare_with", "data.layout.sources", "input", "runs", "tags", "targets"})  # keys that also take a list
MAPPINGS = frozenset({"data.layout.sources"})  # keys that also take a mapping
SWEEP_FLAGS = frozenset({"-m", "--multirun", "hydra.mode=MULTIRUN"})
SWEEP_GROUPS = frozenset({"experiment", "launcher", "sweeper"})  # a choice of these groups can start a sweep
ELEMENT = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?:\$\{[^}]*\}|[^,])*?)\s*(?:,|\Z)""")
PARSER = OverridesParser.create()


def quote_paths(words: Sequence[str], sweeps: bool) -> list[str]:
    """Quote the values of keys that take paths, unless Hydra reads them unchanged.

    A path that exists is always quoted. Otherwise these keep their meaning in Hydra: a quoted value, `null`, `${…}`, a list for
    a key that takes one and, in a sweep, commas between values.

    Args:
        words: words of the command line.
        sweeps: true if the command starts a sweep.

    Returns:
        The words for Hydra, in the same order. An existing path whose name contains `${` raises InputError.
    """
    return [_quote_word(word, sweeps) for word in words]


def is_sweep(words: Sequence[str], conf: Path, config_name: str) -> bool:
    """Return whether the command line starts a sweep, by an option or by a yaml that sets `hydra.mode`.

    Args:
        words: words of the command line.
        conf: folder of the configs.
        config_name: name of the yaml directly below `conf` that the command composes.

    Returns:
        True for a sweep.
    """
    pairs = [word.split("=", 1) for word in words if word.count("=") == 1]
    chosen = [conf / pair[0] / f"{pair[1]}.yaml" for pair in pairs if pair[0] in SWEEP_GROUPS]
    files = [path for path in [conf / f"{config_name}.yaml", *chosen] if path.is_file()]
    modes = [OmegaConf.select(OmegaConf.load(path), "hydra.mode") for path in files]
    return not SWEEP_FLAGS.isdisjoint(words) or "MULTIRUN" in modes


def as_typed(word: str) -> str:
    """Undo `quote_paths` for one word, for records and messages.

    Args:
        word: word of the command line, `key=value`.

    Returns:
        The word as the user typed it.
    """
    key, _, value = word.partition("=")
    if key.lstrip("+") not in PATHS or value[:1] not in ("'", '"'):
        return word
    parsed = _read(value)
    text = parsed.text if isinstance(parsed, QuotedString) else value
    return f"{key}={text}" if _quote_path(text) == value else word


def quoted(text: str) -> str:
    """Return the text as a quoted string of Hydra's grammar."""
    return QuotedString(text, Quote.double if "'" in text and '"' not in text else Quote.single).with_quotes()


def unreadable(word: str) -> InputError:
    """Return the error for an override that Hydra's grammar cannot read. Its hint quotes the value.

    Args:
        word: word of the command line.

    Returns:
        The error, which is not raised here.
    """
    key, equals, value = word.partition("=")
    if not equals:
        return InputError(word, "is not an option and not KEY=VALUE")
    is_list = value.startswith("[") and value.endswith("]")
    typed = f"[{','.join(map(_quote_path, _elements(value[1:-1])))}]" if is_list else quoted(value)
    hint = f"To pass it as text, type {shlex.quote(f'{key}={typed}')}"
    return InputError(key, "Hydra's grammar cannot read this value", found=value, hint=hint)


def _quote_word(word: str, sweeps: bool) -> str:
    key, equals, value = word.partition("=")
    name = key.lstrip("+")
    if not equals or name not in PATHS | {TARGETS} or (name in MAPPINGS and value.startswith("{")):
        return word
    if name == TAGS and not value.startswith("["):  # scripts/separate.py has a switch with this name
        return word
    path = value if name in PARTS | {TARGETS} else _without_tilde(value)
    if os.path.lexists(path) and name != TARGETS:
        if "${" in value:
            raise InputError(
                word, "contains '${', which Hydra replaces by a value", hint="Rename the file, or use a symbolic link"
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
    """Return an absolute path for one that begins with `~`: an existing file of that name, or a path in the home folder."""
    if not text.startswith("~"):
        return text
    home = os.path.expanduser(text)  # noqa: PTH111  pathlib raises RuntimeError if there is no such user
    return str(Path(text).absolute()) if os.path.lexists(text) or home == text else home


def _elements(text: str) -> Iterator[str]:
    """Split a text at commas outside of quotes and interpolations."""
    end = 0
    while match := ELEMENT.match(text, end):
        yield match[1]
        end = match.end()
        if not match[0].endswith(","):
            return


def _quote_path(text: str, place: bool = False) -> str:
    """Return a path in Hydra's grammar, unchanged if it is `null` or quoted. If `place`, a leading `~` is replaced."""
    unchanged = _is_readable(text) and isinstance(_read(text), QuotedString | None)
    return text if unchanged else _quote_text(_without_tilde(text) if place else text)


def _quote_text(text: str) -> str:
    """Return a text in Hydra's grammar, unchanged if Hydra reads the same text."""
    return text if _is_readable(text) and _read(text) == text else quoted(text)


def _is_readable(value: str) -> bool:
    try:
        _read(value)
    except HydraException:
        return False
    return True


def _read(value: str) -> object:
    """Return the value that Hydra reads, a `QuotedString` if it has quotes."""
    override: Override = PARSER.parse_override(f"key={value}")
    parsed: object = override._value
    return parsed
