"""Write checkpoints atomically, and detect damaged checkpoints. After a failed write, the earlier checkpoint is unchanged."""

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
    """Write each checkpoint under a temporary name in the same folder, then rename it.

    If the disk is full or the process is killed, the earlier checkpoint is unchanged. Lightning's own class instead writes to
    the temporary folder of the system, and may then copy the new file over the earlier checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint. If the weights contain NaN, nothing is written, and the earlier checkpoint is kept.

        Args:
            checkpoint: content of the checkpoint.
            path: file to write.
            storage_options: path to which an earlier checkpoint at `path` is moved; None: the earlier checkpoint is deleted.
        """
        if any(weights.is_floating_point() and weights.isnan().any() for weights in checkpoint["state_dict"].values()):
            return
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(path)) as partial:
            partial.write_bytes(buffer.getbuffer())
            if storage_options is not None and Path(path).exists():  # the new checkpoint is complete
                Path(path).replace(storage_options)

    def load_checkpoint(self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None) -> Any:
        """Load a checkpoint to resume a run. A damaged file raises InputError.

        Args:
            path: file to read.
            map_location: device that receives the tensors; None: CPU.
            weights_only: ignored; only tensors and plain Python types are ever loaded.

        Returns:
            Content of the checkpoint.
        """
        return read_torch_file(Path(path), "a checkpoint", map_location or "cpu")


def is_whole(path: Path) -> bool:
    """Return True if a checkpoint file exists and is undamaged. No code in the file is run."""
    try:
        check_torch_file(path)
        with ZipFile(path) as archive:
            if archive.testzip() is not None:
                return False
        torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except (InputError, OSError, BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        return False
    return True
