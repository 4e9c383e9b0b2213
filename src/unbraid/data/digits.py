"""Handwritten digits: the classic first data of autoencoders.

scikit-learn's bundled ones (8 x 8, 1,797 of them), or MNIST's IDX files (LeCun, Cortes & Burges) where the user has them.
"""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from unbraid.data.loaders import StepLoader, as_it_is
from unbraid.data.roots import remember
from unbraid.data.sampler import EpochSteps, epoch_position
from unbraid.data.tracks import SPLITS, Split
from unbraid.runs.errors import InputError

IMAGES, LABELS = 2051, 2049  # magic numbers of IDX files: bytes, in three dimensions and in one
PARTS = {"train": "train", "test": "t10k"}
TEST_SHARE = 0.2  # of the bundled digits
SPLIT_SEED = 0  # the same test images for every run


class Images(NamedTuple):
    """A batch. Shape: pixels [B, 1, size, size] in [0, 1], labels [B]."""

    pixels: Tensor
    labels: Tensor


class Digits(pl.LightningDataModule):
    """Images in memory, drawn without repetition in an order that is a function of seed, epoch and rank.

    Args:
        root: folder of MNIST's IDX files; None: scikit-learn's digits.
        size: of the images, in pixels each way; others are interpolated.
        valid: share of the training images that validates.
        batch_size: images per step and process.
        seed: of the order.
    """

    kind = "images"

    def __init__(self, root: str | None, size: int, valid: float, batch_size: int, seed: int) -> None:
        super().__init__()
        if not 4 <= size <= 256:
            raise InputError(f"size must lie in [4, 256] pixels, found {size}")
        if not 0 < valid < 1:
            raise InputError(f"valid must lie between 0 and 1, found {valid}")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, found {batch_size}")
        self.root = None if root is None else Path(root).expanduser()
        self.size, self.valid, self.batch_size, self.seed = size, valid, batch_size, seed
        self.splits: dict[Split, Images] = {}

    def setup(self, stage: str) -> None:
        """InputError where the files are missing, damaged, or too few."""
        if self.splits:
            return
        random = np.random.Generator(np.random.Philox(key=[SPLIT_SEED, 0]))
        train, test = _bundled(random) if self.root is None else (_of_mnist(self.root, part) for part in PARTS.values())
        order = random.permutation(len(train[1]))
        held = round(self.valid * len(order))
        if not 0 < held < len(order) or not len(test[1]):
            raise InputError(f"data.valid={self.valid}: leaves a split of the {len(order)} training images empty")
        parts = {"train": _take(train, np.sort(order[held:])), "valid": _take(train, np.sort(order[:held])), "test": test}
        remember([] if self.root is None else [str(self.root)])
        self.splits = {split: self._as_images(*parts[split]) for split in SPLITS}

    def _as_images(self, pixels: np.ndarray, labels: np.ndarray) -> Images:
        images = torch.from_numpy(pixels)[:, None]
        if images.shape[-2:] != (self.size, self.size):
            images = functional.interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False)
        return Images(images, torch.from_numpy(labels.astype(np.int64)))

    def fingerprint(self) -> str:
        """Of all images, their labels, and how they are split."""
        found = hashlib.sha256()
        for split in SPLITS:
            for part in self.splits[split]:
                found.update(part.numpy().tobytes())
        return found.hexdigest()[:16]

    def labels(self) -> list[str]:
        """Names of the labels."""
        return [str(digit) for digit in range(10)]

    def summary(self) -> str:
        """In words."""
        counts = ", ".join(f"{len(self.splits[split].labels)} {split}" for split in SPLITS)
        which = "scikit-learn's bundled digits" if self.root is None else "MNIST"
        return f"{which}: {counts} images of {self.size} x {self.size}; {len(self._epoch())} steps an epoch"

    def _epoch(self) -> "ShuffledBatches":
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return ShuffledBatches(self.splits["train"], self.batch_size, self.seed, rank, world_size)

    def train_dataloader(self) -> DataLoader[Images]:
        batches = self._epoch()
        steps = EpochSteps(len(batches), lambda: epoch_position(self.trainer))
        return StepLoader(batches, batch_size=None, sampler=steps, collate_fn=as_it_is)

    def val_dataloader(self) -> DataLoader[Images]:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        whole = self.splits["valid"]
        mine = Images(*(part[rank::world_size] for part in whole))
        return DataLoader(BatchesInOrder(mine), batch_size=None, collate_fn=as_it_is)

    def in_order(self, split: Split) -> DataLoader[Images]:
        """All images of a split."""
        return DataLoader(BatchesInOrder(self.splits[split]), batch_size=None, collate_fn=as_it_is)


class ShuffledBatches(Dataset[Images]):
    """Training batches by the number of their step, counted over the whole run; what fills no batch is left out of an epoch."""

    def __init__(self, images: Images, batch_size: int, seed: int, rank: int, world_size: int) -> None:
        self.images, self.seed, self.rank = images, seed, rank
        self.batch_size = min(batch_size, max(1, len(images.labels) // world_size))
        self.per_step = self.batch_size * world_size
        self.order = (-1, np.arange(0))  # of an epoch, kept while it lasts

    def __len__(self) -> int:
        return max(1, len(self.images.labels) // self.per_step)

    def __getitem__(self, step: int) -> Images:
        epoch, part = divmod(step, len(self))
        if self.order[0] != epoch:
            random = np.random.Generator(np.random.Philox(key=[self.seed, 0], counter=[0, 0, epoch, 0]))
            self.order = (epoch, random.permutation(len(self.images.labels)))
        start = part * self.per_step + self.rank * self.batch_size
        chosen = torch.from_numpy(self.order[1][start : start + self.batch_size])
        return Images(self.images.pixels[chosen], self.images.labels[chosen])


class BatchesInOrder(Dataset[Images]):
    """A whole split, in batches of at most 512."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return -(-len(self.images.labels) // 512)

    def __getitem__(self, index: int) -> Images:
        if index >= len(self):
            raise IndexError(index)
        return Images(*(part[512 * index : 512 * (index + 1)] for part in self.images))


Part = tuple[np.ndarray, np.ndarray]  # pixels [n, height, width] in [0, 1], labels [n]


def _bundled(random: np.random.Generator) -> Iterator[Part]:
    """scikit-learn's, as training and test images."""
    from sklearn.datasets import load_digits  # a second that runs on sound need not wait

    digits = load_digits()
    pixels, labels = (digits.images / 16).astype(np.float32), digits.target
    order = random.permutation(len(labels))
    held = round(TEST_SHARE * len(labels))
    yield _take((pixels, labels), np.sort(order[held:]))
    yield _take((pixels, labels), np.sort(order[:held]))


def _take(part: Part, chosen: np.ndarray) -> Part:
    return part[0][chosen], part[1][chosen]


def _of_mnist(root: Path, part: str) -> Part:
    if not root.is_dir():
        raise InputError(f"data.root={root}: {'is a file' if root.exists() else 'no such folder'}")
    images, labels = _find(root, f"{part}-images", 3), _find(root, f"{part}-labels", 1)
    pixels, numbers = read_idx(images, IMAGES), read_idx(labels, LABELS)
    if len(pixels) != len(numbers):
        raise InputError(f"{labels}: has {len(numbers)} labels, and {images.name} has {len(pixels)} images")
    if len(numbers) and numbers.max() > 9:
        raise InputError(f"{labels}: has the label {numbers.max()}, expected digits from 0 to 9")
    return pixels.astype(np.float32) / 255, numbers


def _find(root: Path, stem: str, dimensions: int) -> Path:
    names = [f"{stem}{dot}idx{dimensions}-ubyte{zipped}" for dot in "-." for zipped in ("", ".gz")]
    for name in names:
        if (root / name).is_file():
            return root / name
    raise InputError(f"data.root={root}: has no {names[0]}, plain or as .gz; expected the four IDX files of MNIST")


def read_idx(path: Path, magic: int) -> np.ndarray:
    """The bytes of an IDX file, plain or gzip: images [n, height, width] or labels [n].

    Raises:
        InputError: another magic number, or not as many bytes as the header says, or none.
    """
    open_: Callable[..., gzip.GzipFile] = gzip.open if path.suffix == ".gz" else open  # type: ignore[assignment]
    try:
        with open_(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    dimensions = magic % 256
    header = 4 * (1 + dimensions)
    if len(data) < header:
        raise InputError(f"{path}: has {len(data)} bytes, expected an IDX header of {header}")
    found, *shape = struct.unpack(f">{1 + dimensions}I", data[:header])
    if found != magic:
        raise InputError(
            f"{path}: has the magic number {found}, expected {magic}, that of IDX {'images' if dimensions == 3 else 'labels'}"
        )
    said = " x ".join(map(str, shape))
    if len(data) - header != math.prod(shape):
        raise InputError(f"{path}: has {len(data) - header} bytes of data, expected {said} as its header says")
    if not math.prod(shape):
        raise InputError(f"{path}: holds {said} bytes as its header says, expected at least one in each direction")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
