"""Digits of scikit-learn and of MNIST files: splits, order and damaged files."""

import gzip
import struct
import zlib

import numpy as np
import pytest
import torch

from unbraid.data.digits import IMAGES, LABELS, Digits, ShuffledBatches, read_idx
from unbraid.runs.errors import InputError


def digits(root=None, **changed):
    data = Digits(**({"root": root, "size": 28, "valid": 0.1, "batch_size": 64, "seed": 0} | changed))
    data.setup("fit")
    return data


def idx(path, values, magic=None):
    values = np.asarray(values, np.uint8)
    data = struct.pack(f">{1 + values.ndim}I", magic or 2048 + values.ndim, *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def mnist(tmp_path):
    random = np.random.default_rng(0)
    for part, n, zipped in (("train", 20, ".gz"), ("t10k", 5, "")):
        idx(tmp_path / f"{part}-images-idx3-ubyte{zipped}", random.integers(0, 256, (n, 28, 28)))
        idx(tmp_path / f"{part}-labels-idx1-ubyte{zipped}", np.arange(n) % 10)
    return tmp_path


def test_splits_do_not_depend_on_the_seed():
    first, second = digits(), digits(seed=1)
    assert {split: len(images.labels) for split, images in first.splits.items()} == {"train": 1294, "valid": 144, "test": 359}
    for split in ("train", "valid", "test"):
        assert torch.equal(first.splits[split].pixels, second.splits[split].pixels)
    pixels = torch.cat([images.pixels for images in first.splits.values()])
    assert pixels.shape == (1797, 1, 28, 28)
    assert (float(pixels.min()), float(pixels.max())) == (0, 1)
    assert len(torch.unique(pixels.flatten(1), dim=0)) == 1797  # no image in two splits


def test_order_depends_on_seed_and_epoch_only():
    images = digits(size=8).splits["train"]
    whole = ShuffledBatches(images, 64, 0, 0, 1)
    assert torch.equal(whole[5].labels, ShuffledBatches(images, 64, 0, 0, 1)[5].labels)
    assert not torch.equal(whole[5].labels, whole[5 + len(whole)].labels)
    assert not torch.equal(whole[5].labels, ShuffledBatches(images, 64, 1, 0, 1)[5].labels)
    ranks = [ShuffledBatches(images, 32, 0, rank, 2)[5].pixels for rank in range(2)]
    assert torch.equal(torch.cat(ranks), whole[5].pixels)
    seen = torch.cat([whole[step].pixels for step in range(len(whole))])
    assert len(torch.unique(seen.flatten(1), dim=0)) == len(whole) * 64


def test_mnist_files_are_read_plain_and_compressed(mnist):
    data = digits(mnist, valid=0.2)
    assert data.summary() == "MNIST: 16 train, 4 valid, 5 test images of 28 x 28; 1 steps an epoch"
    raw = read_idx(mnist / "t10k-images-idx3-ubyte", IMAGES)
    torch.testing.assert_close(data.splits["test"].pixels[:, 0], torch.from_numpy(raw / 255).float())
    assert data.splits["test"].labels.tolist() == [0, 1, 2, 3, 4]
    (batch,) = data.in_order("test")
    assert torch.equal(batch.labels, data.splits["test"].labels)
    assert digits(mnist, valid=0.2, size=14).splits["test"].pixels.shape == (5, 1, 14, 14)


def refused(root):
    with pytest.raises(InputError) as error:
        digits(root)
    return error.value


def test_broken_files_are_refused(mnist):
    labels = mnist / "t10k-labels-idx1-ubyte"
    content = labels.read_bytes()
    cases = {
        content[:-1]: "4 bytes of data",
        content + b"x": "6 bytes of data",
        content[:3]: "3 bytes",
        struct.pack(">I", IMAGES) + content[4:]: IMAGES,
        content[:-1] + b"\x0b": 11,
        struct.pack(">2I", LABELS, 4) + content[8:12]: 4,
    }
    for data, found in cases.items():
        labels.write_bytes(data)
        assert (refused(mnist).where, refused(mnist).found) == (str(labels), found)
    labels.unlink()
    assert labels.name in refused(mnist).expected
    images = mnist / "train-images-idx3-ubyte.gz"
    content = images.read_bytes()
    for damaged in (
        b"not gzip",
        content[:-100],
        content[:200] + bytes(50) + content[250:],
        content[:10] + b"\xff" + content[11:],
    ):
        images.write_bytes(damaged)
        assert refused(mnist).where == str(images) and isinstance(refused(mnist).__cause__, (OSError, EOFError, zlib.error))
    idx(images, np.zeros((20, 0, 28)))
    assert refused(mnist).where == str(images) and "20 x 0 x 28" in refused(mnist).found
    assert refused(mnist / "nowhere").where == f"data.root={mnist / 'nowhere'}"


@pytest.mark.parametrize(
    ("option", "value", "where"),
    [("size", 3, "size"), ("valid", 0.0, "valid"), ("valid", 0.0001, "data.valid=0.0001"), ("batch_size", 0, "batch_size")],
)
def test_arguments_out_of_range_are_refused(option, value, where):
    with pytest.raises(InputError) as error:
        digits(**{option: value})
    assert error.value.where.startswith(where)
