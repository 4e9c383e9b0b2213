"""Read JSON and YAML files from untrusted sources.

The functions open only regular files, and limit the file size, the nesting depth and the length of numbers. Without these
limits, a crafted file could crash the process or keep the process busy for hours. YAML aliases and repeated keys are errors.
NaN and infinity are errors by default. A damaged file raises an `InputError` with the file and the line.
"""

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from yaml.composer import Composer, ComposerError
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import Resolver

from unbraid.runs.errors import InputError
from unbraid.runs.files import NO_WAIT

try:
    from yaml.cyaml import CParser as EventParser  # type: ignore[attr-defined]  # ten times as fast as the parser in Python
except ImportError:  # some builds of PyYAML do not contain libyaml
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class EventParser(Reader, Scanner, Parser):  # type: ignore[no-redef]
        """Parse YAML into events (starts and ends of values) in Python, for machines without the C library libyaml."""

        def __init__(self, stream: bytes) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            Parser.__init__(self)


MAX_JSON_BYTES = 16 << 20
MAX_YAML_BYTES = 512 << 10
MAX_DEPTH = 50  # OmegaConf uses about 10 of Python's 1000 stack frames for each level
MAX_DIGITS = 300  # longer numbers do not fit into a float
KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}  # fmt: skip
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # possessive, so the time is linear also without a closing quote
NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
TAGS = (None, "!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")))
TUPLE = "tag:yaml.org,2002:python/tuple"
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# Exceptions of PyYAML's constructors about invalid values and tags.
YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError)


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to read its bytes.

    The function does not wait for the data of a FIFO or a device. A missing file raises `OSError`.

    Args:
        path: path of the file.

    Yields:
        The open file.

    Raises:
        InputError: the path belongs to a FIFO, a device, a folder or a socket.
    """
    _check_regular(path, path.stat())  # opening a device can have side effects
    descriptor = os.open(path, os.O_RDONLY | NO_WAIT)
    try:
        _check_regular(path, os.fstat(descriptor))  # the path may have been replaced since `stat`
    except InputError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "another kind of file")
        raise InputError(path, found=kind, expected="a regular file")


def read_regular(path: Path, most: int = MAX_JSON_BYTES) -> bytes:
    """Read all bytes of a regular file. A missing file raises `OSError`.

    Args:
        path: path of the file.
        most: largest accepted size, in bytes.

    Returns:
        The content of the file.

    Raises:
        InputError: the file is not regular, or is larger than `most`.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, most) + 1)  # Python allocates this number of bytes before it reads
        if len(data) > size:  # the file grows, or does not state its size, as in /proc
            data += file.read(max(most + 1 - len(data), 0))
    if len(data) > most:
        raise InputError(path, "the file is too large", found=f"more than {most} bytes", expected=f"at most {most} bytes")
    return data


def read_json(path: Path, finite: bool = True) -> Any:
    """Read a JSON file.

    A missing file raises `OSError`. A file that is not regular, is larger than 16 MiB or is not valid (see `parse_json`) raises
    `InputError`.

    Args:
        path: path of the file.
        finite: False to accept NaN and infinity.

    Returns:
        The value in the file.
    """
    return parse_json(read_regular(path), path, finite)


def parse_json(data: bytes, where: object, finite: bool = True) -> Any:
    """Parse JSON in UTF-8.

    Args:
        data: bytes of the document.
        where: file and line of the document, for error messages.
        finite: False to accept NaN and infinity.

    Returns:
        The value of the document.

    Raises:
        InputError: the document is not JSON, is nested more than 50 levels deep, or contains a repeated key, a number of more
            than 300 digits or an incomplete surrogate pair.
    """
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise InputError(where, "the JSON document is nested too deeply", expected=f"at most {MAX_DEPTH} levels")
    to_float = partial(_number, float, finite)
    try:
        tree = json.loads(
            data.decode(), object_pairs_hook=_distinct_keys, parse_float=to_float, parse_int=partial(_number, int, finite),
            parse_constant=to_float,
        )  # fmt: skip
        if SURROGATE.search(data):
            json.dumps(tree, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        place = f"{where}, line {error.lineno}" if b"\n" in data.rstrip() else where
        raise InputError(place, f"the document is not valid JSON: {error.msg} at column {error.colno}") from error
    except ValueError as error:
        raise InputError(where, f"the JSON document cannot be read: {error}") from error
    return tree


def _depth(data: bytes) -> int:
    """Return the nesting depth of a JSON text, counted from the brackets. The text is not parsed."""
    brackets = STRING.sub(b"", data).translate(None, NOT_BRACKETS)
    return max(accumulate(1 if byte in b"[{" else -1 for byte in brackets), default=0)


def _number(kind: Callable[[str], float], finite: bool, text: str) -> float:
    if len(text) > MAX_DIGITS:
        raise ValueError(
            f"a number in the JSON document is too long, found {len(text)} characters, expected at most {MAX_DIGITS}"
        )
    value = kind(text)
    if finite and not math.isfinite(value):
        raise ValueError(f"the JSON document contains {text}, expected only finite numbers")
    return value


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise ValueError(f"the key '{twice[:60]}' occurs more than once in the same JSON object")
    return tree


def read_yaml(path: Path, finite: bool = True, tuples: bool = False) -> Any:
    """Read a YAML file with OmegaConf's rules for numbers: `1e-3` is a number, and a date is a text.

    A missing file raises `OSError`.

    Args:
        path: path of the file.
        finite: False to accept NaN and infinity.
        tuples: True to read a sequence with the tag `!!python/tuple` as a list, as in the config files of other tools.

    Returns:
        The value in the file.

    Raises:
        InputError: the file is not YAML or is larger than 512 KiB. Aliases, tags for types that JSON lacks, more than 50
            nested levels, the same key twice in one mapping and numbers of more than 300 digits are also errors.
    """
    data = read_regular(path, MAX_YAML_BYTES)
    try:
        loader = _Loader(data)
        loader.finite, loader.tags = finite, (*TAGS, TUPLE) if tuples else TAGS
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}, line {mark.line + 1}" if mark else path
        raise InputError(place, f"the YAML file cannot be read: {error.problem or error.context}") from error
    except YAML_ERRORS as error:
        raise InputError(path, f"the YAML file cannot be read: {error}") from error


class _Loader(Composer, EventParser, SafeConstructor, Resolver):
    """Load YAML, but refuse aliases, too deep nesting and too long numbers.

    The error is raised as soon as a limit is exceeded, before the rest of the file is parsed.
    """

    finite = True
    tags: tuple[str | None, ...] = TAGS
    depth = 0

    def __init__(self, data: bytes) -> None:
        EventParser.__init__(self, data)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if self.check_event(yaml.AliasEvent):
            raise ComposerError(problem=f"the alias *{event.anchor[:60]} is not allowed", problem_mark=event.start_mark)
        if event.tag not in self.tags or (event.tag == TUPLE and not self.check_event(yaml.SequenceStartEvent)):
            raise ComposerError(problem=f"the tag {event.tag[:60]} is not allowed", problem_mark=event.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ComposerError(problem=f"the file has more than {MAX_DEPTH} nested levels", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len({*keys}) < len(keys):
            twice = next(key for number, key in enumerate(keys) if key in keys[:number])
            raise ConstructorError(problem=f"the key '{twice[:60]}' occurs more than once", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_int(self, node: Any) -> int:
        self._check_digits(node)
        return int(super().construct_yaml_int(node))

    def construct_float(self, node: Any) -> float:
        self._check_digits(node)
        value = float(super().construct_yaml_float(node))
        if self.finite and not math.isfinite(value):
            raise ConstructorError(problem=f"{node.value} is not a finite number", problem_mark=node.start_mark)
        return value

    def _check_digits(self, node: Any) -> None:
        if len(node.value) > MAX_DIGITS:
            raise ConstructorError(
                problem=f"a number has {len(node.value)} characters, more than {MAX_DIGITS}", problem_mark=node.start_mark
            )


# PyYAML itself reads 1e-3 as text, fails at the date 2001-99-99, and merges the keys of a mapping after `<<`.
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in ("float", "timestamp", "merge")]
    for letter, resolvers in Resolver.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""(?:[-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
        |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?|[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*
        |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)  # type: ignore[type-var]
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_float)  # type: ignore[type-var]
_Loader.add_constructor(TUPLE, _Loader.construct_yaml_seq)  # type: ignore[type-var]
