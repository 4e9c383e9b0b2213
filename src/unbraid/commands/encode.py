"""Command `encode`: write the codes that a trained autoencoder computes for audio files or for a split of a data set."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from unbraid.commands.trained_run import Trained, TrainedRunConfig
from unbraid.models.features import Spectra
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.text import echo, write_csv

Row = dict[str, Any]


class EncodeConfig(TrainedRunConfig):
    """Command-line keys of `scripts/encode.py`, the same as in `TrainedRunConfig`. `output` is a .npy or .parquet file."""


@torch.inference_mode()
def encode(config: DictConfig) -> None:
    """Write the codes (bottleneck values) that an autoencoder computes for its input.

    The codes are written to a .npy file, and a description of each code to a .csv file. If `output` ends in .parquet, codes and
    descriptions are written to this one file.

    Args:
        config: composed config, see `EncodeConfig`.

    Raises:
        InputError: a key is invalid, the run or the input cannot be used, or pyarrow is not installed.
    """
    trained = Trained(config, EncodeConfig)
    path = Path(config.output or "codes.npy").expanduser()
    if path.suffix not in (".npy", ".parquet"):
        raise InputError("output", found=path, expected="a name that ends in .npy or .parquet")
    if path.suffix == ".parquet":
        _check_parquet()
    images = trained.task.features.kind == "images"
    if images and not trained.split:
        raise InputError(
            f"run={trained.folder}",
            "the run was trained on images, so input cannot be sound",
            hint="Replace input by split=test",
        )
    codes, rows = _of_images(trained) if images else _of_sounds(trained)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.save(file, codes)
        with atomic_write(path.with_suffix(".csv")) as partial, partial.open("w", newline="") as table:
            write_csv(table, list(rows[0]), rows)
        files = f"{path}, described by {path.with_suffix('.csv').name}"
    else:
        _write_parquet(path, codes, rows)
        files = str(path)
    echo(f"codes   {' x '.join(map(str, codes.shape))} in {files}")


def _of_images(trained: Trained) -> tuple[np.ndarray, list[Row]]:
    codes, rows, data = [], [], trained.data()
    assert trained.split is not None
    for batch in data.in_order(trained.split):
        patches, labels = trained.task.features.items(batch)
        codes.append(trained.task.net.encode(trained.task.as_items(patches)).flatten(start_dim=1))
        rows += [{"split": trained.split, "label": data.labels()[label]} for label in labels.tolist()]
    return torch.cat(codes).numpy(), rows


def _of_sounds(trained: Trained) -> tuple[np.ndarray, list[Row]]:
    """Return the codes of all sounds, and a description of each code.

    If the network takes vectors, there is one code for each channel of each frame. If the network takes patches, there is one
    code for each patch, which consists of several frames.
    """
    features, task = trained.spectra(), trained.task
    codes, rows = [], []
    for sound in trained.sounds():
        spectrum = features.analyse(sound.waveform[None])
        code = task.net.encode(task.as_items(features.cut(spectrum))).flatten(start_dim=1)
        indices, step = _rows_of(features, spectrum.shape[-1], task.net.takes == "vectors", len(code))
        codes.append(code[indices])
        per_step = 1 if task.net.takes == "patches" else features.channels
        starts = [(step * (n // per_step)) * features.stft.hop_length / features.sample_rate for n in range(len(indices))]
        rows += [{"name": sound.name, "label": sound.label, "seconds": round(start, 6)} for start in starts]
    return torch.cat(codes).numpy(), rows


def _rows_of(features: Spectra, frames: int, by_frame: bool, codes: int) -> tuple[list[int], int]:
    """Return the indices that sort the codes of a sound by time. Also return the number of frames that one code covers.

    `by_frame` is True if each frame has its own code. In this case, the codes of padding frames after the end of the sound are
    left out.
    """
    width = features.shape[-1]
    if not by_frame:
        return list(range(codes)), width
    # The vectors of a patch are ordered by channel, then by frame, see Spectra.vectors.
    order = np.arange(codes).reshape(-1, features.channels, width).transpose(0, 2, 1).reshape(-1, features.channels)
    return order[:frames].reshape(-1).tolist(), 1


def _check_parquet() -> None:
    try:
        import pyarrow  # noqa: F401  # tests only that the package is installed
    except ModuleNotFoundError as error:
        hint = "Run pip install 'unbraid[parquet]', or choose a .npy file"
        raise InputError(
            "output", "a .parquet file needs the Python package pyarrow, which is not installed", hint=hint
        ) from error


def _write_parquet(path: Path, codes: np.ndarray, rows: list[Row]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    columns |= {f"code_{n}": codes[:, n] for n in range(codes.shape[1])}
    with atomic_write(path) as partial:
        parquet.write_table(pa.table(columns), partial)
