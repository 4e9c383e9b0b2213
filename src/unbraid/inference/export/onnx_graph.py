"""Check that an ONNX file cannot do harm, before onnxruntime opens the file.

A file from another person could contain a loop with 2**62 iterations, which cannot be interrupted, or could read other files of
the user. This module therefore refuses files with graphs within graphs (operators `Loop`, `Scan` and `If`), functions, sparse
tensors, or data in other files. Separators that unbraid exports contain none of these elements.

The module reads an ONNX file as a message of Google's protocol buffers. The field numbers in this module are those of the file
`onnx.proto` of the ONNX project.
"""

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

from unbraid.runs.errors import InputError

MOST_FIELDS = 10**6
VARINT, FIXED_64, MESSAGE, FIXED_32 = 0, 1, 2, 5
CONTROL_FLOW = {b"Loop", b"Scan", b"If", b"SequenceMap"}
# Fields of `onnx.proto`, by the kind of message and the number of the field.
# FOLLOWED: the field contains a message of the given kind, which is checked, too. REFUSED: a file with this field is refused.
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
    """Check that the graph of an ONNX file contains only allowed elements, and that all tensors are stored in the file.

    Args:
        path: ONNX file.

    Raises:
        InputError: the file is damaged, or the graph contains control flow, functions, sparse tensors or external data.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            refused = next(_refused(data), None)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(path, "the file is damaged or is not an ONNX file") from error
    if refused:
        expected = "a file that scripts/export.py has written"
        raise InputError(path, "the ONNX graph contains an element that is not allowed", found=refused, expected=expected)


def stored_sizes(path: Path) -> dict[str, int]:
    """Return the number of values of each tensor that an ONNX file stores, by the name of the tensor.

    Args:
        path: ONNX file that `check_graph` has accepted.

    Returns:
        Dictionary from name to number of values.
    """
    sizes = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, *graph in _fields(data, 0, len(data)):
            tensors = [span for tag, *span in _fields(data, *graph) if tag == 5] if number == 7 else []
            for tensor in tensors:
                fields = [*_fields(data, *tensor)]
                name = next((data[start:end].decode() for tag, start, end in fields if tag == 8), "")
                sizes[name] = math.prod(_varint(data, start)[0] for tag, start, _ in fields if tag == -1)
    return sizes


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield id, start and end of the value of each field of a message, see `_field`. The message is `data[position:end]`."""
    while position < end:
        number, start, position = _field(data, position)
        yield number, start, position


def _refused(data: mmap.mmap) -> Iterator[str]:
    """Search an ONNX file for elements that are not allowed, such as loops. Yield a description of each element found."""
    waiting, count = [("model", 0, len(data))], 0
    while waiting:
        kind, position, end = waiting.pop()
        while position < end:
            count += 1
            if count > MOST_FIELDS:
                yield f"more than {MOST_FIELDS} fields"
            number, start, position = _field(data, position)
            if position > end:
                raise ValueError("damaged ONNX file: a protobuf field extends past the end of its message")
            if name := REFUSED.get((kind, number)):
                yield name
            elif kind == "node" and number == 4 and bytes(data[start:position]) in CONTROL_FLOW:
                yield data[start:position].decode()
            elif inner := FOLLOWED.get((kind, number)):
                waiting.append((inner, start, position))


def _field(data: mmap.mmap, position: int) -> tuple[int, int, int]:
    """Read the header of a protobuf field. Return the field id, the start of the value and the end of the value.

    The sign of the id shows the kind of the value: negative for an integer or a float, positive for a sequence of bytes.
    """
    key, position = _varint(data, position)
    if key >= 2**32:  # other parsers use the lowest 32 bits
        raise ValueError("damaged ONNX file: a protobuf field has a key of 2**32 or more")
    number, kind = key >> 3, key & 7
    if kind == MESSAGE:
        size, position = _varint(data, position)
        return number, position, position + size
    if kind == VARINT:
        return -number, position, _varint(data, position)[1]
    if kind in (FIXED_32, FIXED_64):
        return -number, position, position + (4 if kind == FIXED_32 else 8)
    raise ValueError(f"damaged ONNX file: a protobuf field has the unknown wire type {kind}")


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    """Read a protobuf integer of variable length. Return the integer, and the position of the first byte after the integer."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("damaged ONNX file: a protobuf integer is longer than ten bytes")
