"""`unbraid.load`: what was trained, as a library uses it; nothing that a stranger's files say is run.

Tensors are read as tensors, and a model is rebuilt from networks, separators and transforms alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from unbraid.audio import FASTEST, SLOWEST, ChannelChoice, downmix
from unbraid.inference.chunked import InferenceOptions, Model, device_of, streamed
from unbraid.inference.export.onnx_file import OnnxSeparator
from unbraid.interop.foreign import OPENUNMIX, openunmix_separator, read_translation, translated_tensors
from unbraid.interop.published import read_weights
from unbraid.models.instruments import Player, is_instrument, load_player
from unbraid.models.separators.base import Separator
from unbraid.runs.config import build, check, checkpoint_path, node_at, own_config, read_config
from unbraid.runs.errors import InputError
from unbraid.runs.files import is_name
from unbraid.runs.weights import filled, rebuilt

BUILT = (
    "unbraid.nets", "unbraid.models.separators", "unbraid.dsp.phase", "unbraid.dsp.stft", "torch.nn", "torchaudio.models",
)  # fmt: skip
PUBLISHED_WEIGHTS = "model.safetensors"
MOST_CHANNELS = 32  # an array with more rows than that has samples in its rows


@dataclass
class Loaded:
    """A separator with its weights.

    Args:
        model: mixtures to sources.
        folder: that it came from.
        config: of the run; None where it has none.
    """

    model: Model
    folder: Path
    config: DictConfig | None = None

    @property
    def targets(self) -> list[str]:
        """The names of the sources, in their order."""
        return self.model.targets

    @property
    def sample_rate(self) -> int:
        """At which the model hears, in Hz."""
        return self.model.sample_rate

    @property
    def device(self) -> torch.device:
        """The device that the model runs on."""
        return device_of(self.model)

    def to(self, device: str | None) -> "Loaded":
        """Move the model to a device and return it.

        Args:
            device: `cpu`, `cuda`, `cuda:1`, …; None: a GPU if there is one.

        Raises:
            InputError: there is no such device.
        """
        name = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            if isinstance(self.model, torch.nn.Module):
                self.model.to(torch.device(name))
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device={name}: {str(error).splitlines()[0]}") from error
        return self

    def separate(
        self,
        waveform: Tensor | np.ndarray,
        sample_rate: int,
        options: InferenceOptions | None = None,
        channels: ChannelChoice = "downmix",
    ) -> dict[str, Tensor]:
        """Separate a waveform into its sources, by name, at its own sample rate and of its own length.

        Args:
            waveform: floats of any length, a tensor or a NumPy array.
            sample_rate: of the waveform, in Hz.
            options: chunks, overlap and the rest, see `InferenceOptions`.
            channels: how stereo is made of more than two channels; their order is assumed from their number.

        Shape:
            [C, T] -> [C, T] each, on the CPU; C is 2 for waveforms of more than two channels.

        Raises:
            InputError: the waveform is not an array of finite floats of that shape, or the rate is invalid.
        """
        signal = downmix(_signal(waveform), channels)
        if not isinstance(sample_rate, Real) or not SLOWEST <= sample_rate <= FASTEST:
            raise InputError(
                "sample_rate", "is invalid", found=repr(sample_rate), expected=f"a number from {SLOWEST} to {FASTEST} Hz"
            )
        options = options or InferenceOptions()
        stretches = [sources for _, sources in streamed(self.model, [signal], sample_rate, options, self.device)]
        sources = torch.cat([torch.from_numpy(stretch) for stretch in stretches], dim=-1)
        return dict(zip(self.targets, sources, strict=True))


def _signal(waveform: Tensor | np.ndarray) -> np.ndarray:
    """Return a user's waveform as float32 in the memory of the CPU. Shape: [C, T] -> [C, T]."""
    where, expected = "waveform", "floats of the shape [channels, samples]"
    if isinstance(waveform, Tensor):
        waveform = waveform.detach().cpu().float().numpy() if waveform.is_floating_point() else waveform.cpu().numpy()
    if not isinstance(waveform, np.ndarray) or not np.issubdtype(waveform.dtype, np.floating):
        found = waveform.dtype if isinstance(waveform, np.ndarray) else type(waveform).__name__
        raise InputError(where, "is not an array of floats", found=found, expected=expected)
    shape = list(waveform.shape)
    if len(shape) != 2 or not waveform.size:
        raise InputError(where, "has the wrong shape", found=shape, expected=expected)
    if shape[0] > MOST_CHANNELS:
        raise InputError(where, "looks like [samples, channels]", found=shape, expected=expected, hint="Pass its transpose.")
    if not np.isfinite(waveform).all():
        raise InputError(where, "contains NaN or infinite samples")
    return np.ascontiguousarray(waveform, np.float32)


def load(path: str | Path, checkpoint: str = "best", device: str | None = None) -> Loaded | Player:
    """Load a trained separator or instrument.

    Args:
        path: of a run folder, a checkpoint in one, what `scripts/publish.py` has written, a folder of the openunmix package,
            an ONNX file of `scripts/export.py`, or a yaml file that translates the names of a state dict.
        checkpoint: of a run folder: best, last or a file.
        device: that a separator runs on, such as `cuda`; None: a GPU if there is one. Instruments run on the CPU.

    Raises:
        InputError: there is nothing of the kind, the config names what may not be built, the weights are of another model, or
            there is no such device.
    """
    loaded = _load(path, checkpoint)
    return loaded.to(device) if isinstance(loaded, Loaded) else loaded


def _load(path: str | Path, checkpoint: str) -> Loaded | Player:
    path = Path(path).expanduser()
    if path.suffix == ".onnx":
        return Loaded(_named(OnnxSeparator(path), path), path.absolute().parent)
    if path.suffix == ".pt2":
        raise InputError(
            f"run={path}: torch evaluates what such a file says, so it is not read; expected a run or an .onnx file"
        )
    if (path / OPENUNMIX).is_file():
        return Loaded(_named(openunmix_separator(path), path).eval(), path)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return _translated(path)
    if path.is_file() and path.suffix == ".ckpt":
        path, checkpoint = path.absolute().parent.parent, str(path)
    config = own_config(path)
    return load_player(config, path, checkpoint) if is_instrument(config) else _loaded(config, path, checkpoint)


def load_separator(path: str | Path, checkpoint: str = "best", device: str | None = None) -> Loaded:
    """Load a separator, see `load`.

    Raises:
        InputError: it is an instrument.
    """
    loaded = load(path, checkpoint, device)
    if not isinstance(loaded, Loaded):
        raise InputError(f"run={path}: has an instrument and no separator; expected a run that separates")
    return loaded


def _loaded(config: DictConfig, path: Path, checkpoint: str) -> Loaded:
    make = separator_builder(config, path)
    if (weights := path / PUBLISHED_WEIGHTS).is_file():
        separator = filled(make, read_weights(weights), weights)
    else:
        separator = rebuilt(make, checkpoint_path(path, checkpoint), part="separator")
    return Loaded(separator.eval(), path, config)


def _translated(path: Path) -> Loaded:
    translation = read_translation(path)
    config = read_config(path.parent / translation.config)
    separator = filled(separator_builder(config, path.parent), translated_tensors(path, translation), path)
    return Loaded(separator.eval(), path, config)


def separator_builder(config: DictConfig, folder: Path) -> Callable[[], Separator]:
    """Check the config of a run, however hostile, and return a function that builds its separator without weights."""
    node: Any = node_at(config, "model.separator")
    if not isinstance(node, DictConfig):
        raise InputError(f"run={folder}: has no separator; expected a run that separates")
    check(OmegaConf.create({"model": {"separator": node}}), _SeparatorConfig, BUILT)

    def make() -> Separator:
        separator = build(node)
        if not isinstance(separator, Separator):
            raise InputError(f"{folder}/config.yaml: model.separator is a {type(separator).__name__}, expected a separator")
        return _named(separator, folder)

    return make


def _named(separator: Separator, folder: Path) -> Separator:
    """Whose targets are no paths; InputError where one is."""
    for target in separator.targets:
        if not is_name(target) or "\\" in target:  # other systems unpack what is downloaded
            raise InputError(f"{folder}: {target!r} is no name of a target: files are called by it")
    return separator


@dataclass
class _SeparatorConfig:
    model: dict[str, Any]
