"""How checkpoints come to disk, and which of them is whole."""

import io
import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.torch_files import check_torch_file, read_torch_file


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the checkpoint it replaces, then renames: a full disk or a kill leaves the one before.

    Weights that are no numbers are not written, so that those before them stay.

    `storage_options` may be the path at which the checkpoint that is replaced is kept.

    Lightning's own goes through the system's temporary folder and, from another disk, copies over the old checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if any(weights.is_floating_point() and weights.isnan().any() for weights in checkpoint["state_dict"].values()):
            return
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(path)) as partial:
            partial.write_bytes(buffer.getbuffer())
            if storage_options is not None and Path(path).exists():  # only now that the new one is whole
                Path(path).replace(storage_options)

    def load_checkpoint(self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None) -> Any:
        """Load a checkpoint to resume from it, to the CPU; InputError if it is damaged, see `check_torch_file`."""
        return read_torch_file(Path(path), "is damaged or not a checkpoint", map_location or "cpu")


def is_whole(path: Path) -> bool:
    """Whether all bytes of a checkpoint are those that were written; nothing but tensors and plain Python is unpickled."""
    try:
        check_torch_file(path)
        with ZipFile(path) as archive:
            if archive.testzip() is not None:
                return False
        torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except (InputError, OSError, BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        return False
    return True
