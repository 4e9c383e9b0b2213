"""Encode: the codes that a trained autoencoder gives to a file, a folder or a split, as features for other work."""

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


class Encoding(TrainedRunConfig):
    """See `TrainedRunConfig`; output is a .npy or .parquet file."""


@torch.inference_mode()
def encode(config: DictConfig) -> None:
    """Write the codes: .npy with a .csv of the same rows beside it, or all in one .parquet."""
    trained = Trained(config, Encoding)
    path = Path(config.output or "codes.npy").expanduser()
    if path.suffix not in (".npy", ".parquet"):
        raise InputError(f"output={path}: expected a name that ends in .npy or .parquet")
    if path.suffix == ".parquet":
        _need_parquet()
    images = trained.task.features.kind == "images"
    if images and not trained.split:
        raise InputError(f"run={trained.folder}: was trained on images, and input is sound; choose split=test")
    codes, rows = _of_images(trained) if images else _of_sounds(trained)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.save(file, codes)
        with atomic_write(path.with_suffix(".csv")) as partial, partial.open("w", newline="") as table:
            write_csv(table, list(rows[0]), rows)
        where = f"{path}, what they are of in {path.with_suffix('.csv').name}"
    else:
        _write_parquet(path, codes, rows)
        where = str(path)
    echo(f"codes   {' x '.join(map(str, codes.shape))} in {where}")


def _of_images(trained: Trained) -> tuple[np.ndarray, list[Row]]:
    codes, rows, data = [], [], trained.data()
    assert trained.split is not None
    for batch in data.in_order(trained.split):
        patches, labels = trained.task.features.items(batch)
        codes.append(trained.task.net.encode(trained.task.as_items(patches)).flatten(start_dim=1))
        rows += [{"split": trained.split, "label": data.labels()[label]} for label in labels.tolist()]
    return torch.cat(codes).numpy(), rows


def _of_sounds(trained: Trained) -> tuple[np.ndarray, list[Row]]:
    """One row for each frame, or for each patch where the network takes patches."""
    features, task = trained.spectra(), trained.task
    codes, rows = [], []
    for sound in trained.sounds():
        spectrum = features.analyse(sound.waveform[None])
        code = task.net.encode(task.as_items(features.cut(spectrum))).flatten(start_dim=1)
        kept, step = _rows_of(features, spectrum.shape[-1], task.net.takes == "vectors", len(code))
        codes.append(code[kept])
        per_step = 1 if task.net.takes == "patches" else features.channels
        starts = [(step * (n // per_step)) * features.stft.hop_length / features.sample_rate for n in range(len(kept))]
        rows += [{"name": sound.name, "label": sound.label, "seconds": round(start, 6)} for start in starts]
    return torch.cat(codes).numpy(), rows


def _rows_of(features: Spectra, frames: int, by_frame: bool, codes: int) -> tuple[list[int], int]:
    """Which codes are of the sound and not of the silence after it, frame by frame; and frames from one to the next."""
    width = features.shape[-1]
    if not by_frame:
        return list(range(codes)), width
    # Vectors of a patch come channel by channel, see Spectra.vectors.
    order = np.arange(codes).reshape(-1, features.channels, width).transpose(0, 2, 1).reshape(-1, features.channels)
    return order[:frames].reshape(-1).tolist(), 1


def _need_parquet() -> None:
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError("output: .parquet needs pyarrow; install unbraid[parquet], or choose a .npy") from error


def _write_parquet(path: Path, codes: np.ndarray, rows: list[Row]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    columns |= {f"code_{n}": codes[:, n] for n in range(codes.shape[1])}
    with atomic_write(path) as partial:
        parquet.write_table(pa.table(columns), partial)
