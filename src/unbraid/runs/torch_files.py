"""Read files of `torch.save` from untrusted sources, after a check that a small file cannot use much memory or time.

`torch.load(weights_only=True)` does not run code from a file, but trusts the sizes that the file states. Torch can therefore
use all memory or run for hours, even if the file is small. Four kinds of content can have this effect:

- compressed entries of the zip archive,
- lengths that are larger than the data in the file,
- strides of tensors, because a tensor with strides can be larger than its storage,
- nested tuples, because the same tuple can be used many times.

`check_torch_file` reads the index of the zip archive, and follows the operations of the pickle with placeholders instead of
tensors. The function accepts only the operations and classes that `torch.save` writes for state dicts and checkpoints. Files in
the older format without a zip archive are checked in the same way.
"""

import io
import struct
import tarfile
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import torch

from unbraid.runs.errors import InputError, UnsafeFileError
from unbraid.runs.files import refuse_missing
from unbraid.runs.pickle_check import PickleMachine, UnsafePickleError

LARGEST_PICKLE = 2**24  # bytes; a pickle of 4000 tensors has 0.5 MB
LARGEST_DIRECTORY = 2**21  # bytes of the index of a zip archive; 4000 tensors need 0.3 MB
ZIP, END, END_64, LOCATOR_64 = b"PK\x03\x04", struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
LOCAL = struct.Struct("<4s22x2H")  # lengths of the name and of the extra field in front of the data of an entry
LEGACY_MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
# Exceptions that a malformed pickle causes: a value is missing, has another type, or is truncated.
BROKEN = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, BadZipFile, struct.error)


def read_torch_file(path: Path, kind: str, map_location: Any = "cpu") -> Any:
    """Check a file of `torch.save`, and load it with `torch.load`.

    Args:
        path: file of `torch.save`.
        kind: description of the file in error messages, such as `the checkpoint of a run`.
        map_location: device of the tensors, see `torch.load`.

    Returns:
        The content of the file.

    Raises:
        InputError: the file is invalid, see `check_torch_file`, or torch cannot read the file.
    """
    check_torch_file(path, kind)
    try:
        return torch.load(path, weights_only=True, map_location=map_location)
    except Exception as error:  # damaged data cause IndexError, AssertionError, struct.error and others
        raise InputError(path, f"the file is damaged or is not {kind}") from error


def check_torch_file(path: Path, kind: str = "a file of torch.save") -> None:
    """Check that a file contains only tensors and plain values, and that the tensors are not larger than the file.

    Args:
        path: file of `torch.save`.
        kind: description of the file in error messages, such as `the checkpoint of a run`.

    Raises:
        UnsafeFileError: the file contains objects that could execute code.
        InputError: the file is missing or damaged, or states sizes that are larger than the data in the file.
    """
    try:
        if not path.exists():
            refuse_missing(path, path, expected=kind)
        if not path.is_file():
            raise InputError(path, "the path is not a regular file", expected=kind)
        with path.open("rb") as file:
            magic = file.read(len(ZIP))
            file.seek(0)
            if magic == ZIP:  # torch tests for the format in the same way
                _check_zip(file, path.stat().st_size)
            else:
                _check_legacy(file, path)
    except OSError as error:
        raise InputError(path, f"the file cannot be read ({error.strerror})") from error
    except BROKEN as error:
        if isinstance(error, UnsafePickleError):
            raise UnsafeFileError(path, f"the file cannot be loaded as {kind}: {error}") from error
        if type(error) is ValueError:
            raise InputError(path, f"the file cannot be loaded as {kind}: {error}") from error
        raise InputError(path, f"the file is damaged or is not {kind}") from error


def _check_zip(file: BinaryIO, size: int) -> None:
    _check_directory(file, size)
    with ZipFile(file) as archive:
        entries = archive.infolist()
        _check_entries(file, entries, archive.start_dir)
        folder = entries[0].filename.partition("/")[0]
        sizes = {entry.filename.removeprefix(f"{folder}/"): entry.file_size for entry in entries}
        if sizes["data.pkl"] > LARGEST_PICKLE:
            found = f"found {sizes['data.pkl']} bytes"
            raise ValueError(f"the entry data.pkl of the file is too large, {found}, expected at most {LARGEST_PICKLE} bytes")
        pickled = io.BytesIO(archive.read(f"{folder}/data.pkl"))
    machine = PickleMachine({name.removeprefix("data/"): count for name, count in sizes.items() if name.startswith("data/")})
    machine.run(pickled)
    machine.check_shared()


def _check_directory(file: BinaryIO, size: int) -> None:
    """Check that the index of a zip archive is small, and that only the end record of the archive follows the index."""
    file.seek(-END.size, io.SEEK_END)
    magic, _, _, _, count, length, start, comment = END.unpack(file.read(END.size))
    end = size - END.size
    if magic != b"PK\5\6" or comment:
        raise ValueError("the file is incomplete: the end of its zip archive is missing. Copy or download the file again")
    if end >= LOCATOR_64.size + END_64.size:
        file.seek(end - LOCATOR_64.size - END_64.size)
        record, locator = END_64.unpack(file.read(END_64.size)), LOCATOR_64.unpack(file.read(LOCATOR_64.size))
        if locator[0] == b"PK\6\7":
            end -= LOCATOR_64.size + END_64.size
            if record[0] != b"PK\6\6" or locator[2] != end:
                raise ValueError("the file is damaged: its zip archive has two end records that contradict each other")
            count, length, start = record[7:10]
    if length > LARGEST_DIRECTORY or start + length != end or not count:
        raise ValueError(
            "the file is damaged: the list of entries at the end of its zip archive has an invalid size or position"
        )


def _check_entries(file: BinaryIO, entries: list[ZipInfo], directory: int) -> None:
    """Check the entries of a zip archive: not compressed, not overlapping, in one folder, and with different names."""
    names = {entry.orig_filename.lower() for entry in entries}
    if len(names) != len(entries):
        raise ValueError("the file is damaged: several entries of its zip archive have the same name")
    if len({name.partition("/")[0] for name in names}) != 1:
        raise ValueError("the file was not written by torch.save: the entries of its zip archive are in several folders")
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.compress_type != ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
            raise ValueError("the zip archive of the file is compressed or encrypted. Save the weights again with torch.save")
        if entry.filename != entry.orig_filename or entry.header_offset < end:
            raise ValueError("the file is damaged: entries of its zip archive overlap")
        file.seek(entry.header_offset)
        magic, name, extra = LOCAL.unpack(file.read(LOCAL.size))
        end = entry.header_offset + LOCAL.size + name + extra + entry.file_size
        if magic != ZIP or end > directory:
            raise ValueError("the file is damaged: an entry of its zip archive has an invalid size or position")


def _check_legacy(file: BinaryIO, path: Path) -> None:
    """Check a file in the old format of torch (before version 1.6): five pickles, then the data of the tensors."""
    data, machine = file.read(LARGEST_PICKLE), PickleMachine()
    if _is_tar(data):  # torch would extract it
        raise ValueError(
            "the file is a tar archive, which unbraid does not read. Load it with torch.load, and save it again with torch.save"
        )
    pickles = io.BytesIO(data)
    if [machine.run(pickles), machine.run(pickles)] != [LEGACY_MAGIC, LEGACY_VERSION]:
        raise ValueError("the file was not written by torch.save: the header of torch.save is missing")
    for _ in ("system", "content", "keys of the storages"):
        machine.run(pickles)
    if sum(machine.storages.values()) > path.stat().st_size:
        raise ValueError("the file is damaged: its tensors are larger than the file")
    machine.check_shared()


def _is_tar(data: bytes) -> bool:
    """Return whether the data begin with the header of a tar archive.

    `tarfile.is_tarfile` is not used, because this function would decompress the data.
    """
    try:
        tarfile.TarInfo.frombuf(data[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
