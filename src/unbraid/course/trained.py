"""Data, results and models for the cells of the lessons: handwritten digits, and runs that a lesson has trained."""

from pathlib import Path

import torch
from torch import Tensor

from unbraid import audio
from unbraid.data.digits import Digits, Images
from unbraid.data.tracks import Split
from unbraid.runs.config import build, own_config
from unbraid.runs.metrics_reader import epoch_numbers
from unbraid.runs.scores import read_scores
from unbraid.runs.weights import checkpoint_path, rebuilt
from unbraid.tasks.reconstruction import ReconstructionTask


def digits(split: Split, size: int = 28) -> Images:
    """Return the handwritten digits of `data=digits`, with the same splits as in training.

    Args:
        split: `train`, `valid` or `test`.
        size: width and height of the images in pixels.

    Returns:
        Grey values `pixels` in [0, 1], and the digits `labels`.

    Shape:
        pixels [N, 1, size, size], labels [N].
    """
    data = Digits(root=None, size=size, valid=0.1, batch_size=64, seed=0)
    data.setup("fit")
    return data.splits[split]


def autoencoder(run: str | Path) -> ReconstructionTask:
    """Load the autoencoder of a run with its best weights.

    Args:
        run: run folder.

    Returns:
        The task, in evaluation mode. `task.net.encode` and `task.net.decode` are the two parts of the autoencoder.
    """
    folder = Path(run)
    config = own_config(folder)
    task: ReconstructionTask = rebuilt(lambda: build(config.model), checkpoint_path(folder, "best"))
    return task.eval().requires_grad_(False)


def errors(run: str | Path, label: str = "images") -> dict[str, float]:
    """Return the mean squared error of a run on its test data.

    Args:
        run: run folder of an autoencoder.
        label: `images`, or the name of a source such as `mixture`.

    Returns:
        `autoencoder`: error of the run. `PCA`: error of PCA with the same number of values in the code, if the run is not PCA.
        `input`: error of the corrupted input, if the run has a corruption.
    """
    scores = read_scores(Path(run) / "scores.json")
    found = {"autoencoder": scores["summary"], "PCA": scores.get("pca"), "input": scores.get("corrupted")}
    return {name: float(table[label]["error"]["mean"]) for name, table in found.items() if table}


def losses(run: str | Path, column: str = "valid/loss") -> tuple[list[float], list[float]]:
    """Return a column of `metrics.csv` over the epochs.

    Args:
        run: run folder.
        column: name of the column.

    Returns:
        Numbers of the epochs, from 1, and the values. Epochs without a value are left out.
    """
    rows = [row for row in epoch_numbers(Path(run)) if column in row]
    return [row["epoch"] + 1 for row in rows], [row[column] for row in rows]


def sound(path: str | Path) -> tuple[Tensor, int]:
    """Read an audio file.

    Args:
        path: audio file.

    Returns:
        Waveform, the mean over the channels, and sample rate in Hz.

    Shape:
        waveform [samples].
    """
    (samples,), rate = audio.read(Path(path))
    return torch.from_numpy(samples).mean(dim=0), rate
