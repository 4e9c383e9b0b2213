"""Tests of weight files with wrong sizes. They are refused before torch reads them, with little memory and time."""

import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict

import pytest
import torch

from tests.conftest import make_run
from unbraid.interop.published import read_weights
from unbraid.runs.errors import InputError
from unbraid.runs.pickle_check import MOST_OPERATIONS
from unbraid.runs.torch_files import check_torch_file
from unbraid.training.checkpoints import AtomicCheckpointIO, is_whole

BYTEARRAY, MAP, REBUILD = b"cbuiltins\nbytearray\n", b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n"
NEVER = 1 << 20


def number(value):
    data = value.to_bytes(9 if value >> 63 else 8, "little")
    return b"\x8a" + bytes([len(data)]) + data


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(elements, sizes, strides, offset=0):
    """Return the pickle operations that make a tensor of storage 0."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(elements) + b"tQ"
    shape, steps = (b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (sizes, strides))
    return REBUILD + b"(" + storage + number(offset) + shape + steps + b"\x89" + MAP + b")RtR"


def state(value):
    """Write a checkpoint whose only tensor is `value`."""
    return b"}" + text("state_dict") + b"}" + text("x") + value + b"ss"


def shared_tuples(levels):
    """Return a pair of the same pair, and so on, with 2**levels values."""
    return b")" + b"q\x00h\x00\x86" * levels


def entries(pickled, storage=b"\0" * 4):
    return {"a/data.pkl": b"\x80\x02" + pickled + b".", "a/byteorder": b"little", "a/data/0": storage, "a/version": b"3\n"}


def archive(content, path, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return path


PICKLES = {
    "bytearray": BYTEARRAY + b"(" + number(4 << 30) + b"tR",
    "bytearray in a state": state(BYTEARRAY + b"(" + number(1 << 40) + b"tR"),
    "tuples as a key": b"}" + shared_tuples(200) + b"Ns",
    "tuples as a value": state(shared_tuples(200)),
    "deep tuples": state(b")" + b"\x85" * 5000),
    "lists in lists": state(b"](" * 60 + b"]" + b"q\x00h\x00e" * 60),
    "list that is filled later": b"]q\x00]q\x01h\x00ah\x00ah\x00h\x01a",
    "list in itself": b"]q\x00h\x00a",
    "copies of a long tuple": b"(" + b"K\x00" * 100_000 + b"tq\x00" + b"(" + b"ctorch\nSize\nh\x00\x85R" * 5000 + b"t",
    "expanded": state(tensor(1, [NEVER, 256], [0, 0])),
    "many sizes": state(tensor(1, [1] * 65, [0] * 65)),  # the product of many long sizes takes hours
    "long size": state(tensor(1, [0, 1 << 63], [0, 0])),
    "strides beyond the storage": state(tensor(1, [2], [NEVER])),
    "offset beyond the storage": state(tensor(1, [1], [1], NEVER)),
    "negative offset": state(REBUILD + tensor(1, [1], [1])[len(REBUILD) :].replace(number(0), b"\x8a\x01\xff", 1)),
    "more elements than the entry": state(tensor(NEVER, [NEVER], [1])),
    "hooks": state(tensor(1, [1], [1]).replace(MAP + b")R", MAP + b")RNNs")),
    "parameter of no tensor": state(b"ctorch._utils\n_rebuild_parameter\n()" + b"\x89" + MAP + b")RtR"),
    "many operations": b"}" * MOST_OPERATIONS,
    "sparse tensor": b"ctorch._utils\n_rebuild_sparse_tensor\n",
    "meta tensor": b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n",
    "class of torch": b"ctorch\nTensor\n)\x81",
    "code": b"cos\nsystem\n" + text("true") + b"\x85R",
    "counted pairs": b"ccollections\nCounter\n" + shared_tuples(60) + b"\x85R",
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_that_claim_too_much_are_refused(tmp_path, name):
    path = archive(entries(PICKLES[name]), tmp_path / "x.ckpt")
    with pytest.raises(InputError) as error:
        check_torch_file(path)
    assert error.value.where == str(path)
    path.write_bytes(legacy(PICKLES[name]))
    with pytest.raises(InputError):
        check_torch_file(path)


def legacy(pickled, keys=(), tail=b""):
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*head, b"\x80\x02" + pickled + b".", pickle.dumps(list(keys), 2), tail])


def test_storages_larger_than_an_old_file_are_refused(tmp_path):
    storage = tensor(1 << 38, [1], [1]).replace(text("cpu") + number(1 << 38), text("cpu") + number(1 << 38) + b"N")
    (tmp_path / "x.pth").write_bytes(legacy(state(storage), "0"))
    with pytest.raises(InputError):
        read_weights(tmp_path / "x.pth")


def zips(folder):
    """Return zip archives with misleading sizes or entries."""
    good = entries(state(tensor(1, [1], [1])))
    yield archive(good | {"a/data/1": b"\0" * (64 << 20)}, folder / "deflated.ckpt", zipfile.ZIP_DEFLATED)
    yield archive(good | {"a/data.pkl": b"\0" * (20 << 20)}, folder / "large pickle.ckpt")
    yield archive(good | {"b/data.pkl": good["a/data.pkl"]}, folder / "two folders.ckpt")
    yield archive(good | {"a/DATA.PKL": good["a/data.pkl"]}, folder / "two pickles.ckpt")
    yield archive(good | {f"a/data/{n}": b"" for n in range(40_000)}, folder / "entries.ckpt")
    whole = archive(good, folder / "whole.ckpt").read_bytes()
    commented = folder / "comment.ckpt"
    commented.write_bytes(whole[:-2] + struct.pack("<H", len(whole)) + whole)
    yield commented
    shifted = folder / "shifted.ckpt"
    shifted.write_bytes(whole[:4] + b"\0" * 1000 + whole)
    yield shifted
    overlapping = bytearray(whole)
    first = whole.index(b"PK\1\2")
    second = whole.index(b"PK\1\2", first + 4)
    overlapping[second + 42 : second + 46] = whole[first + 42 : first + 46]
    (folder / "overlap.ckpt").write_bytes(overlapping)
    yield folder / "overlap.ckpt"


def test_misleading_zip_archives_are_refused(tmp_path):
    for path in zips(tmp_path):
        with pytest.raises(InputError):
            check_torch_file(path)
        assert not is_whole(path)
    check_torch_file(tmp_path / "whole.ckpt")


def test_files_of_torch_pass(tmp_path):
    net = torch.nn.LSTM(3, 4, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3))[0].sum().backward()
    optimizer.step()
    tied = torch.ones(5)
    content = {
        "state_dict": net.state_dict(), "optimizer_states": [optimizer.state_dict()],
        "tied": [tied, tied[1:3], tied.view(5, 1)],
        "parameter": torch.nn.Parameter(torch.ones(2)), "empty": torch.ones(0, 3), "turned": torch.ones(2, 3).T, "none": None,
        "plain": [1, -(10**30), 0.5, "text", True, (1, 2, 3, 4)], "set": {1, 2}, "size": torch.Size([1, 2]),
        "dtype": torch.bfloat16, "device": torch.device("cpu"), "half": torch.ones(3).half(), "map": OrderedDict(a=1),
    }  # fmt: skip
    for number, new in enumerate((True, False)):
        path = tmp_path / f"{number}.ckpt"
        torch.save(content, path, _use_new_zipfile_serialization=new)
        check_torch_file(path)
        assert torch.equal(AtomicCheckpointIO().load_checkpoint(path, None)["tied"][1], tied[1:3])


LOAD = """
import sys, unbraid
from unbraid.runs.errors import InputError
for run in sys.argv[1:]:
    try:
        unbraid.load(run)
        print("loaded")
    except InputError as error:
        print("refused")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("checkpoints") / "run", "model=unet_small")


@pytest.mark.slow
def test_loading_takes_little_memory_and_time(limited, tmp_path, run):
    attacks = ["bytearray", "tuples as a key", "expanded", "deep tuples", "copies of a long tuple", "many operations"]
    folders = []
    for number, name in enumerate(attacks):
        folders.append(folder := tmp_path / str(number))
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
        archive(entries(PICKLES[name]), folder / "checkpoints/best.ckpt")
    result = limited("-c", LOAD, *folders, run)
    assert result.stdout.split() == ["refused"] * len(folders) + ["loaded"], result.stderr


def safetensors_file(header, data=b"", length=None):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head) if length is None else length) + head + data


@pytest.mark.parametrize(
    "content",
    [
        safetensors_file({}, length=1 << 62),
        safetensors_file({"x": {"dtype": "F32", "shape": [1 << 28], "data_offsets": [0, 4]}}, b"\0" * 4),
        safetensors_file({"x": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 4]}}, b"\0" * 4),
        safetensors_file({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "xy"}, b"\0" * 4),
        safetensors_file({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
        safetensors_file(b"[" * 100_000),
    ],
    ids=["long header", "expanded", "overflow", "overlap", "cut off", "deep"],
)
def test_safetensors_that_claim_too_much_are_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(InputError):
        read_weights(tmp_path / "x.safetensors")


def test_weights_that_are_not_regular_files_are_refused(tmp_path):
    for name in ("x.pth", "x.safetensors"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError):
            read_weights(tmp_path / name)


def test_a_checkpoint_is_checked_before_a_run_resumes(tmp_path):
    path = archive(entries(PICKLES["expanded"]), tmp_path / "last.ckpt")
    with pytest.raises(InputError):
        AtomicCheckpointIO().load_checkpoint(path, None, weights_only=True)
    assert not is_whole(path)


def test_a_pickle_is_not_read_from_a_tar(tmp_path):
    with tarfile.open(tmp_path / "x.pth", "w", format=tarfile.USTAR_FORMAT) as file:
        info = tarfile.TarInfo("storages")
        info.size = 4
        file.addfile(info, io.BytesIO(b"\x80\x02N."))
    with pytest.raises(InputError):
        read_weights(tmp_path / "x.pth")


@pytest.mark.parametrize("compress", [bytes, lzma.compress])
def test_sizes_in_a_tar_are_not_trusted(tmp_path, compress):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 60
    (tmp_path / "x.pth").write_bytes(compress(info.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(InputError):
        read_weights(tmp_path / "x.pth")
