"""How checkpoints come to disk."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from unbraid.files import written_whole


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint it replaces, then renames: a full disk or a kill leaves the one before.

    Weights that are no numbers are not written, so that those before them stay.

    Lightning's own goes through the system's temporary folder and, from another disk, copies over the old checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if any(weights.is_floating_point() and weights.isnan().any() for weights in checkpoint["state_dict"].values()):
            return
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with written_whole(Path(path)) as partial:
            partial.write_bytes(buffer.getbuffer())
