"""Check an ONNX file before onnxruntime opens it: no control flow, and no data in other files.

Exported separators are graphs without control flow. `Loop`, `Scan` and `If` contain graphs of their own, and a loop with 2**62
iterations cannot be interrupted. So graphs within graphs, functions, sparse tensors and data in other files are refused.
The file is read as protocol buffers. The field numbers are those of `onnx.proto`.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from unbraid.runs.errors import InputError

MOST_FIELDS = 10**6
VARINT, FIXED_64, MESSAGE, FIXED_32 = 0, 1, 2, 5
CONTROL_FLOW = {b"Loop", b"Scan", b"If", b"SequenceMap"}
# Fields by message and field number: those whose messages are checked, too, and those that are refused.
FOLLOWED = {
    ("model", 7): "graph", ("graph", 1): "node", ("graph", 5): "tensor", ("node", 5): "attribute", ("attribute", 5): "tensor",
    ("attribute", 10): "tensor",
}  # fmt: skip
REFUSED = {
    ("model", 25): "a function", ("graph", 15): "a sparse tensor", ("attribute", 6): "a graph within the graph",
    ("attribute", 11): "graphs within the graph", ("attribute", 22): "a sparse tensor", ("attribute", 23): "sparse tensors",
    ("tensor", 13): "data in another file",
}  # fmt: skip


def check_graph(path: Path) -> None:
    """Check that the graph of a file is free of control flow and that the file contains all its tensors.

    Args:
        path: ONNX file.

    Raises:
        InputError: the file is damaged, or its graph contains control flow, functions, sparse tensors or external data.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            refused = next(_refused(data), None)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(path, "the file is damaged or is not an ONNX file") from error
    if refused:
        expected = "a file that scripts/export.py has written"
        raise InputError(path, "the graph has an element that is not allowed", found=refused, expected=expected)


def _refused(data: mmap.mmap) -> Iterator[str]:
    """Yield the name of each refused element of the file."""
    waiting, count = [("model", 0, len(data))], 0
    while waiting:
        kind, position, end = waiting.pop()
        while position < end:
            count += 1
            if count > MOST_FIELDS:
                yield f"more than {MOST_FIELDS} fields"
            number, start, position = _field(data, position)
            if position > end:
                raise ValueError("a protobuf field extends past the end of its message")
            if name := REFUSED.get((kind, number)):
                yield name
            elif kind == "node" and number == 4 and bytes(data[start:position]) in CONTROL_FLOW:
                yield data[start:position].decode()
            elif inner := FOLLOWED.get((kind, number)):
                waiting.append((inner, start, position))


def _field(data: mmap.mmap, position: int) -> tuple[int, int, int]:
    """Return the number of a field, and the start and end of its value. The number of a numeric field is negated."""
    key, position = _varint(data, position)
    if key >= 2**32:  # other parsers use the lowest 32 bits
        raise ValueError("a protobuf field has a number that is too large")
    number, kind = key >> 3, key & 7
    if kind == MESSAGE:
        size, position = _varint(data, position)
        return number, position, position + size
    if kind == VARINT:
        return -number, position, _varint(data, position)[1]
    if kind in (FIXED_32, FIXED_64):
        return -number, position, position + (4 if kind == FIXED_32 else 8)
    raise ValueError(f"a protobuf field has the unknown wire type {kind}")


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    """Return a number of variable length and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("a protobuf integer is longer than 10 bytes")
