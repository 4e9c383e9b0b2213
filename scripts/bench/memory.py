"""Count the memory of separation and of training steps, without computing them and without a GPU.

    python scripts/bench/memory.py [models=bs_roformer,scnet] [model.separator.chunk_seconds=2] …

Words with a dot, and `targets=…`, belong to the training config. PyTorch runs the model on fake tensors, which have shapes but
no values. The script adds the sizes of all tensors that exist at the same time, in float32, for a batch of one chunk. A run
needs more: memory of the libraries, of matrix products and transforms while they are computed, and gaps between tensors.
Activations grow in proportion to the batch size. The columns are:

- `parameters_m`: number of parameters in millions.
- `chunk_s`: length of the chunk in seconds.
- `separate_gb`: largest memory of the separation of a chunk, with the weights, in GB.
- `train_gb`: largest memory of a training step, with the weights, the gradients and the state of the optimizer, in GB.
- `checkpointing_gb`: the same with gradient checkpointing; empty if the network lacks this option.

The last line of the output is one JSON object.
"""

import json
import sys
import weakref
from typing import Any
from unittest.mock import patch

import hydra
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from unbraid.commands.cli import CONF
from unbraid.runs.config import build

MODELS = (
    "bs_roformer", "bs_roformer_large", "mel_band_roformer", "mel_band_roformer_large", "scnet", "scnet_large", "scnet_masked",
    "scnet_tran", "htdemucs", "mdx23c",
)  # fmt: skip
CHECKPOINTING = "model.separator.net.gradient_checkpointing"
COLUMNS = ("parameters_m", "chunk_s", "separate_gb", "train_gb", "checkpointing_gb")


class Memory(TorchDispatchMode):
    """Add the sizes of all tensors that exist at the same time. The attribute `peak` is the largest sum in bytes so far."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}  # bytes by storage
        self.now = self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operation, and add the tensors that it returns."""
        if function is torch.ops.aten.equal.default:  # checks of values, which fake tensors lack
            return True
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.mkldnn_rnn_layer.default and args[-1] and not result[3].numel():
            result = (*result[:3], torch.empty(lstm_bytes(args[0].shape, args[10]), dtype=torch.uint8))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.now -= self.sizes.pop(key)


def lstm_bytes(shape: torch.Size, hidden: int) -> int:
    """Return the memory that oneDNN keeps for the gradients of an LSTM layer in one direction; fake tensors lack this memory.

    Shape: input of the layer [frames, batch, inputs].

    The formula was fitted to sizes that oneDNN reports. Its error is below 2 % for at least 60 frames.
    """
    frames, batch, inputs = shape
    return 4 * (frames + 1) * batch * (9 * hidden + 6 * max(inputs, hidden))


def main() -> None:
    """Count the memory of the models that the command line names. Print a table and one JSON line."""
    models, words = [*MODELS], []
    for word in sys.argv[1:]:
        key, _, value = word.partition("=")
        if key == "models":
            models = value.split(",")
        elif "." in key or key == "targets":
            words.append(word)
        else:
            sys.exit(f"error: unknown argument {key}; known: models, targets, and keys of the config such as data.batch_size")
    results = {}
    print(f"{'model':<26}" + "".join(f"{name:>18}" for name in COLUMNS))
    for model in models:
        results[model] = row = count(model, words)
        print(f"{model:<26}" + "".join(f"{'' if row[name] is None else row[name]:>18}" for name in COLUMNS), flush=True)
    print(json.dumps(results))


def count(model: str, words: list[str]) -> dict[str, float | None]:
    """Return a row of the table."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", [f"model={model}", "name=bench", *words])
    OmegaConf.resolve(config)
    separator = build(config.model).separator
    row: dict[str, float | None] = {
        "parameters_m": round(sum(parameter.numel() for parameter in separator.parameters()) / 1e6, 2),
        "chunk_s": round(separator.chunk_samples / separator.sample_rate, 2),
        "separate_gb": gigabytes(peak(config, train=False)),
        "train_gb": gigabytes(peak(config, train=True)),
        "checkpointing_gb": None,
    }
    if OmegaConf.select(config, CHECKPOINTING) is not None:
        OmegaConf.update(config, CHECKPOINTING, True)
        row["checkpointing_gb"] = gigabytes(peak(config, train=True))
    return row


def gigabytes(count: int) -> float:
    """Return a number of bytes in GB, with three digits."""
    return float(f"{count / 1e9:.3g}")


def peak(config: Any, train: bool, fake: bool = True) -> int:
    """Return the largest memory in bytes of two training steps, or of the separation of one chunk.

    Args:
        config: config of a training.
        train: whether training steps are counted.
        fake: whether tensors are fake. If not, everything is computed, which only tests need.
    """
    task = build(config.model)
    tensors = FakeTensorMode(allow_non_fake_inputs=True) if fake else torch.enable_grad()
    with patch.object(torch, "istft", inverse_stft), tensors, Memory() as memory:
        replace_tensors(task)
        separator = task.separator
        shape = (separator.channels, separator.chunk_samples)
        mixture = torch.zeros(1, *shape)
        if not train:
            with torch.inference_mode():
                _ = task.eval().separator(mixture).sources
            return memory.peak
        sources = torch.zeros(1, len(separator.targets), *shape)
        optimizer = build(config.optim.optimizer)(task.train().parameters())
        for _ in range(2):
            estimate = separator(mixture)
            task.loss(estimate, separator.training_target(mixture, sources, estimate)).backward()
            del estimate
            optimizer.step()
            optimizer.zero_grad()
    return memory.peak


def replace_tensors(task: nn.Module) -> None:
    """Replace all parameters and buffers by new tensors of the same shapes."""
    for module in task.modules():
        for name, tensor in module._parameters.items():
            if tensor is not None:
                module._parameters[name] = nn.Parameter(torch.zeros_like(tensor), tensor.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.zeros_like(buffer)
        if isinstance(module, nn.RNNBase):
            module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]


def inverse_stft(
    spectrum: Tensor, n_fft: int, hop_length: int, *_: Any, window: Tensor, length: int | None = None, **__: Any
) -> Tensor:
    """Compute an inverse STFT as `torch.istft` does, but without its checks of values. Scaling by the window is left out."""
    frames = torch.fft.irfft(spectrum.transpose(-1, -2), n_fft) * window
    total = n_fft + hop_length * (frames.shape[-2] - 1)
    waveform = nn.functional.fold(frames.transpose(-1, -2), (1, total), (1, n_fft), stride=(1, hop_length))
    return waveform[:, 0, 0, n_fft // 2 :][:, : length or total - n_fft]


if __name__ == "__main__":
    main()
