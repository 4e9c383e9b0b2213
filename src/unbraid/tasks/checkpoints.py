"""How checkpoints come to disk."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from unbraid.files import written_whole


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint it replaces, then renames: a full disk or a kill leaves the one before.

    Lightning's own goes through the system's temporary folder and, from another disk, copies over the old checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with written_whole(Path(path)) as partial:
            partial.write_bytes(buffer.getbuffer())
