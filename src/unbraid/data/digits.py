"""Data module of handwritten digits, for autoencoders of images.

If the user sets no folder, the images are the 1,797 digits of 8 x 8 pixels that are part of scikit-learn. If the user sets a
folder, the images are read from the IDX files of MNIST (LeCun, Cortes & Burges) in this folder.
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
from unbraid.runs.errors import InputError, check_counts
from unbraid.runs.files import check_folder

IMAGES, LABELS = 2051, 2049  # magic numbers of IDX files of bytes, with three dimensions (images) and one (labels)
PARTS = ("train", "t10k")  # file name prefixes of the training and the test images of MNIST
TEST_SHARE = 0.2  # share of the bundled digits that is used for testing
SPLIT_SEED = 0  # fixed, so every run has the same test images
BATCH_IN_ORDER = 512  # images per batch when a whole split is read


class Images(NamedTuple):
    """A batch of images.

    Args:
        pixels: grey values in [0, 1].
        labels: digits from 0 to 9.

    Shape:
        pixels: float32 [B, 1, size, size]; labels: int64 [B].
    """

    pixels: Tensor
    labels: Tensor


class Digits(pl.LightningDataModule):
    """Provide batches of handwritten digits from memory.

    An epoch contains each training image at most once. The order of the images depends only on the seed and the epoch number.

    Args:
        root: folder with the four IDX files of MNIST. None: the digits that are part of scikit-learn are used.
        size: width and height of the images in pixels, in [4, 256]; images of another size are interpolated.
        valid: share of the training images that is used for validation, between 0 and 1 (both excluded).
        batch_size: number of images per step and process, at least 1.
        seed: random seed of the order of the training images.

    Raises:
        InputError: an argument is out of range.
    """

    kind = "images"

    def __init__(self, root: str | None, size: int, valid: float, batch_size: int, seed: int) -> None:
        super().__init__()
        if not 4 <= size <= 256:
            raise InputError("size", "out of range", found=size, expected="a number of pixels in [4, 256]")
        if not 0 < valid < 1:
            raise InputError("valid", "out of range", found=valid, expected="a share of the training images between 0 and 1")
        check_counts(batch_size=batch_size)
        self.root = None if root is None else Path(root).expanduser()
        self.size, self.valid, self.batch_size, self.seed = size, valid, batch_size, seed
        self.splits: dict[Split, Images] = {}

    def setup(self, stage: str) -> None:
        """Read the images, and divide them into splits. If this is already done, do nothing.

        Args:
            stage: ignored; all splits are read at every stage.

        Raises:
            InputError: a file of MNIST is missing or damaged, or a split is empty.
        """
        if self.splits:
            return
        random = np.random.Generator(np.random.Philox(key=[SPLIT_SEED, 0]))
        train, test = _bundled(random) if self.root is None else (_of_mnist(self.root, part) for part in PARTS)
        order = random.permutation(len(train[1]))
        n_valid = round(self.valid * len(order))
        counts = {"train": len(order) - n_valid, "valid": n_valid, "test": len(test[1])}
        if not all(counts.values()):
            found = ", ".join(f"{count} {split} images" for split, count in counts.items())
            raise InputError(
                f"data.valid={self.valid}",
                "a split contains no images",
                found=found,
                expected="at least one image in each split",
                hint="Choose another share",
            )
        parts = {"train": _take(train, np.sort(order[n_valid:])), "valid": _take(train, np.sort(order[:n_valid])), "test": test}
        remember([] if self.root is None else [str(self.root)])
        self.splits = {split: self._as_images(*parts[split]) for split in SPLITS}

    def _as_images(self, pixels: np.ndarray, labels: np.ndarray) -> Images:
        images = torch.from_numpy(pixels)[:, None]
        if images.shape[-2:] != (self.size, self.size):
            images = functional.interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False)
        return Images(images, torch.from_numpy(labels.astype(np.int64)))

    def fingerprint(self) -> str:
        """Return a hash of all images and labels in the order of the splits: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for split in SPLITS:
            for part in self.splits[split]:
                digest.update(part.numpy().tobytes())
        return digest.hexdigest()[:16]

    def labels(self) -> list[str]:
        """Return the names of the labels, "0" to "9"."""
        return [str(digit) for digit in range(10)]

    def summary(self) -> str:
        """Return one line with the data set, the number of images per split and the number of steps per epoch."""
        counts = ", ".join(f"{len(self.splits[split].labels)} {split}" for split in SPLITS)
        data_set = "scikit-learn's bundled digits" if self.root is None else "MNIST"
        return f"{data_set}: {counts} images of {self.size} x {self.size}; {len(self._training_batches())} steps an epoch"

    def _ranks(self) -> tuple[int, int]:
        """Return the rank of this process, and the number of processes of the run."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _training_batches(self) -> "ShuffledBatches":
        return ShuffledBatches(self.splits["train"], self.batch_size, self.seed, *self._ranks())

    @property
    def steps_per_epoch(self) -> int:
        """Number of training batches of an epoch."""
        return len(self._training_batches())

    def train_dataloader(self) -> DataLoader[Images]:
        """Return the loader of the training batches of this process."""
        batches = self._training_batches()
        steps = EpochSteps(len(batches), lambda: epoch_position(self.trainer))
        return StepLoader(batches, batch_size=None, sampler=steps, collate_fn=as_it_is)

    def val_dataloader(self) -> DataLoader[Images]:
        """Return the loader of the validation images of this process. Each process validates on its own part of the images."""
        rank, world_size = self._ranks()
        images = Images(*(part[rank::world_size] for part in self.splits["valid"]))
        return DataLoader(BatchesInOrder(images), batch_size=None, collate_fn=as_it_is)

    def in_order(self, split: Split) -> DataLoader[Images]:
        """Return a loader of all images of a split, in a fixed order."""
        return DataLoader(BatchesInOrder(self.splits[split]), batch_size=None, collate_fn=as_it_is)


class ShuffledBatches(Dataset[Images]):
    """Data set of training batches. The item at index `step` is the batch of this process at this training step.

    Steps are counted over the whole run. The order of the images is drawn anew in each epoch. The last images of an epoch are
    not used if they do not fill one batch for every process.

    Args:
        images: images of the training split.
        batch_size: number of images per step and process.
        seed: random seed of the order.
        rank: rank of this process.
        world_size: number of processes.
    """

    def __init__(self, images: Images, batch_size: int, seed: int, rank: int, world_size: int) -> None:
        self.images, self.seed, self.rank = images, seed, rank
        self.batch_size = min(batch_size, max(1, len(images.labels) // world_size))
        self.per_step = self.batch_size * world_size
        self.order = (-1, np.arange(0))  # number of the current epoch and the order of its images

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
    """Data set with all images of a split in a fixed order, in batches of at most `BATCH_IN_ORDER` (512) images."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return -(-len(self.images.labels) // BATCH_IN_ORDER)

    def __getitem__(self, index: int) -> Images:
        if index >= len(self):
            raise IndexError(f"the batch index is out of range, found {index}, expected at most {len(self) - 1}")
        return Images(*(part[BATCH_IN_ORDER * index : BATCH_IN_ORDER * (index + 1)] for part in self.images))


Part = tuple[np.ndarray, np.ndarray]  # pixels [n, height, width] in [0, 1], labels [n]


def _bundled(random: np.random.Generator) -> Iterator[Part]:
    """Yield the training images and the test images of scikit-learn's digits."""
    from sklearn.datasets import load_digits  # the import takes a second, which runs on audio do not need

    digits = load_digits()
    pixels, labels = (digits.images / 16).astype(np.float32), digits.target
    order = random.permutation(len(labels))
    n_test = round(TEST_SHARE * len(labels))
    yield _take((pixels, labels), np.sort(order[n_test:]))
    yield _take((pixels, labels), np.sort(order[:n_test]))


def _take(part: Part, chosen: np.ndarray) -> Part:
    return part[0][chosen], part[1][chosen]


def _of_mnist(root: Path, part: str) -> Part:
    """Read one part of MNIST (`train` or `t10k`), and check that there is one label for each image."""
    check_folder(f"data.root={root}", root)
    images, labels = _find(root, f"{part}-images", 3), _find(root, f"{part}-labels", 1)
    pixels, digits = read_idx(images, IMAGES), read_idx(labels, LABELS)
    if len(pixels) != len(digits):
        expected = f"one label for each of the {len(pixels)} images of {images.name}"
        raise InputError(labels, "the file has the wrong number of labels", found=len(digits), expected=expected)
    if len(digits) and digits.max() > 9:
        raise InputError(labels, "the file contains an invalid label", found=digits.max(), expected="digits from 0 to 9")
    return pixels.astype(np.float32) / 255, digits


def _find(root: Path, stem: str, dimensions: int) -> Path:
    names = [f"{stem}{dot}idx{dimensions}-ubyte{suffix}" for dot in "-." for suffix in ("", ".gz")]
    for name in names:
        if (root / name).is_file():
            return root / name
    hint = "The folder must contain the four IDX files of MNIST."
    raise InputError(f"data.root={root}", "a file of MNIST is missing", expected=f"{names[0]} or {names[1]}", hint=hint)


def read_idx(path: Path, magic: int) -> np.ndarray:
    """Read an IDX file of bytes, plain or compressed with gzip.

    Args:
        path: path of the file, with the suffix `.gz` if it is compressed.
        magic: number with which the file must begin: `IMAGES` (2051) for images or `LABELS` (2049) for labels.

    Returns:
        The content of the file as uint8: images [n, height, width] or labels [n].

    Raises:
        InputError: the file cannot be read, begins with another number, is empty, or has another length than its header states.
    """
    open_: Callable[..., gzip.GzipFile] = gzip.open if path.suffix == ".gz" else open  # type: ignore[assignment]
    try:
        with open_(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(path, f"the file cannot be read: {error}") from error
    dimensions = magic % 256
    header = 4 * (1 + dimensions)
    if len(data) < header:
        raise InputError(
            path,
            "the file is damaged: its IDX header is incomplete",
            found=f"{len(data)} bytes",
            expected=f"at least {header} bytes",
        )
    magic_found, *shape = struct.unpack(f">{1 + dimensions}I", data[:header])
    if magic_found != magic:
        kind = "images" if dimensions == 3 else "labels"
        expected = f"{magic} (IDX {kind})"
        problem = f"the file begins with a wrong magic number: the file is damaged or does not contain {kind}"
        raise InputError(path, problem, found=magic_found, expected=expected)
    expected = f"{' x '.join(map(str, shape))} bytes"
    if len(data) - header != math.prod(shape):
        raise InputError(
            path,
            "the file is damaged: the size of its data differs from the size in its header",
            found=f"{len(data) - header} bytes of data",
            expected=expected,
        )
    if not math.prod(shape):
        raise InputError(
            path, "the file contains no data", found=f"a header for {expected}", expected="at least one image or label"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
