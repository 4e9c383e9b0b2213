"""Load a trained separator or instrument for use in Python, with the function `unbraid.load`.

Model files from other people are safe to load, because no code in these files is executed. Weights are read as tensors only. A
config can build only two kinds of classes: classes in the modules of the list `BUILT`, and classes in plugins. The caller lists
the allowed plugins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from unbraid.audio import FASTEST, SLOWEST, ChannelChoice, downmix
from unbraid.inference.chunked import InferenceOptions, device_of, song_scale, streamed
from unbraid.inference.export.onnx_file import OnnxSeparator
from unbraid.interop.foreign import OPENUNMIX, openunmix_separator, read_translation, translated_tensors
from unbraid.interop.origins import Origin, find_origin, separator_of, with_config
from unbraid.models.instruments import Player, is_instrument, load_player
from unbraid.models.separators.base import Separator
from unbraid.runs.config import build, check, node_at, read_config
from unbraid.runs.errors import InputError
from unbraid.runs.files import is_name
from unbraid.runs.plugins import trusted
from unbraid.runs.weights import filled

BUILT = (
    "unbraid.nets", "unbraid.models.separators", "unbraid.dsp.phase", "unbraid.dsp.stft", "torch.nn", "torchaudio.models",
)  # fmt: skip
MOST_CHANNELS = 32  # more rows than this mean that the array is [samples, channels]


@dataclass
class Loaded:
    """Separate audio with a trained separator. `unbraid.load` returns an object of this class.

    Args:
        model: separator with its trained weights, in evaluation mode.
        folder: folder from which the separator was loaded.
        config: config of the training run; None for models without a config, such as ONNX files.
        options: options with which `separate` cuts a long waveform into chunks, if the caller does not pass options.

    Example:
        Separate the vocals of a song:

        >>> import soundfile, unbraid
        >>> separator = unbraid.load("runs/unet")  # folder of a run
        >>> separator.targets
        ['vocals', 'accompaniment']

        >>> samples, sample_rate = soundfile.read("song.wav", always_2d=True)
        >>> stems = separator.separate(samples.T, sample_rate)
        >>> soundfile.write("vocals.wav", stems["vocals"].T.numpy(), sample_rate)
    """

    model: Separator
    folder: Path
    config: DictConfig | None = None
    options: InferenceOptions = field(default_factory=InferenceOptions)

    @property
    def targets(self) -> list[str]:
        """Names of the sources, in the order of the outputs of the separator."""
        return self.model.targets

    @property
    def sample_rate(self) -> int:
        """Sample rate of the separator in Hz. The method `separate` accepts other sample rates, too, and resamples."""
        return self.model.sample_rate

    @property
    def device(self) -> torch.device:
        """Device on which the separator runs, such as `cuda:0`."""
        return device_of(self.model)

    def to(self, device: str | None) -> "Loaded":
        """Move the separator to a device.

        Args:
            device: name of a PyTorch device, such as `cpu`, `cuda` or `cuda:1`; None: a GPU if one is available, else the CPU.

        Returns:
            The same object.

        Raises:
            InputError: the device does not exist.
        """
        name = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.model.to(torch.device(name))
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device={name}", f"PyTorch cannot use this device ({str(error).splitlines()[0]})") from error
        return self

    def separate(
        self,
        waveform: Tensor | np.ndarray,
        sample_rate: int,
        options: InferenceOptions | None = None,
        channels: ChannelChoice = "downmix",
    ) -> dict[str, Tensor]:
        """Separate a waveform into its sources. A long waveform is separated in overlapping chunks.

        Args:
            waveform: floats in [-1, 1], a PyTorch tensor or a NumPy array of any length.
            sample_rate: sample rate of the waveform in Hz.
            options: chunk length, overlap and other options for long waveforms; None: the options of this object.
            channels: treatment of a waveform with more than two channels. `downmix`: all channels are mixed to stereo; `front`:
                only the front left and front right channels are used. The order of the channels is derived from the number of
                channels; 6 channels are taken as 5.1 sound.

        Shape:
            waveform [C, T] -> [C, T] per source. The sources have 2 channels if the waveform has more than 2.

        Returns:
            Dictionary from the name of each source to its waveform. The waveforms are on the CPU, and have the sample rate and
            length of the input.

        Raises:
            InputError: the waveform is not an array of finite floats of the shape [C, T], or the sample rate is invalid.
        """
        signal = downmix(_signal(waveform), channels)
        if not isinstance(sample_rate, Real) or not SLOWEST <= sample_rate <= FASTEST:
            expected = f"a number from {SLOWEST} to {FASTEST} Hz"
            raise InputError("sample_rate", "invalid sample rate", found=repr(sample_rate), expected=expected)
        options = options or self.options
        scale = song_scale(self.model, [signal], sample_rate)
        stretches = streamed(self.model, [signal], sample_rate, options, self.device, scale)
        sources = torch.cat([torch.from_numpy(stretch) for _, stretch in stretches], dim=-1)
        return dict(zip(self.targets, sources, strict=True))


def _signal(waveform: Tensor | np.ndarray) -> np.ndarray:
    """Check a waveform from the user, and return the waveform as a float32 array. Shape: [C, T] -> [C, T]."""
    where, expected = "waveform", "floats of the shape [channels, samples]"
    if isinstance(waveform, Tensor):
        waveform = waveform.detach().cpu().float().numpy() if waveform.is_floating_point() else waveform.cpu().numpy()
    if not isinstance(waveform, np.ndarray) or not np.issubdtype(waveform.dtype, np.floating):
        found = waveform.dtype if isinstance(waveform, np.ndarray) else type(waveform).__name__
        raise InputError(where, "this waveform is not an array of floats", found=found, expected=expected)
    shape = list(waveform.shape)
    if len(shape) != 2 or not waveform.size:
        raise InputError(where, "the waveform has a wrong shape", found=shape, expected=expected)
    if shape[0] > MOST_CHANNELS:
        problem, hint = "the array seems to have the shape [samples, channels]", "Pass the transposed array."
        raise InputError(where, problem, found=shape, expected=expected, hint=hint)
    if not np.isfinite(waveform).all():
        raise InputError(where, "the waveform contains NaN or infinite samples")
    return np.ascontiguousarray(waveform, np.float32)


def load(
    path: str | Path, checkpoint: str = "best", device: str | None = None, plugins: Sequence[str] = (),
    config: str | Path | None = None,
) -> Loaded | Player:  # fmt: skip
    """Load a trained separator or instrument.

    The path can be:

    - a run folder, that is a folder in which `train.py` has trained a model.
    - a checkpoint (`.ckpt`) in a run folder.
    - a folder that `scripts/publish.py` has written, or the file `model.safetensors` in this folder.
    - a checkpoint of Music-Source-Separation-Training, with its config file as `config`.
    - a folder with weights of the openunmix package, which contains `separator.json`.
    - an ONNX file that `scripts/export.py` has written.
    - a YAML file that translates the parameter names of weights from another toolkit.

    An `unbraid.runs.errors.InputError` is raised in three cases: the path or the device does not exist, the weights do not
    fit the model, or the config contains a class whose module is not allowed.

    Args:
        path: folder or file of the model.
        checkpoint: `best`, `last` or the path of a checkpoint. It is used only if `path` is a run folder.
        device: PyTorch device of a separator, such as `cpu` or `cuda`; None: a GPU if there is one, else the CPU. Instruments
            always run on the CPU.
        plugins: names of installed packages. The model may use the classes of these packages. The code of the packages is run,
            so list only packages that you trust. The key `plugins` in the config of the run is ignored.
        config: config file (yaml) of Music-Source-Separation-Training, if `path` is a checkpoint of that tool.

    Returns:
        A `Loaded` with the method `separate` if the model is a separator. A `Player` with the methods `synthesise` and
        `listen` if the model is an instrument.

    Example:
        Separate a song with a run that was trained with `targets=vocals_accompaniment`:

        >>> import soundfile, unbraid
        >>> separator = unbraid.load("runs/unet")
        >>> samples, sample_rate = soundfile.read("song.wav", always_2d=True)
        >>> stems = separator.separate(samples.T, sample_rate)
        >>> list(stems)
        ['vocals', 'accompaniment']
        >>> stems["vocals"].shape == samples.T.shape
        True
    """
    with trusted(plugins):
        loaded = _load(path, checkpoint, None if config is None else str(config))
    return loaded.to(device) if isinstance(loaded, Loaded) else loaded


def _load(path: str | Path, checkpoint: str, config: str | None) -> Loaded | Player:
    path = Path(path).expanduser()
    if path.suffix == ".onnx":
        return Loaded(_with_valid_names(OnnxSeparator(path), path), path.absolute().parent)
    if path.suffix == ".pt2":
        hint = "A .pt2 file (a program of torch.export) may contain code, which PyTorch would execute"
        raise InputError(path, "unbraid does not load .pt2 files", expected="a run folder or an .onnx file", hint=hint)
    if (path / OPENUNMIX).is_file():
        return Loaded(_with_valid_names(openunmix_separator(path), path).eval(), path)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return _translated(path)
    origin = find_origin(path, checkpoint, config)
    own = with_config(origin)
    return load_player(own, origin.folder, str(origin.file)) if is_instrument(own) else _loaded(origin, own)


def load_separator(
    path: str | Path, checkpoint: str = "best", device: str | None = None, config: str | None = None
) -> Loaded:  # fmt: skip
    """Load a trained separator, and raise an error if the model is an instrument.

    Args:
        path: run folder or model file. The documentation of `unbraid.load` lists all kinds of files.
        checkpoint: `best`, `last` or the path of a checkpoint of the run.
        device: PyTorch device, such as `cpu` or `cuda`; None: a GPU if there is one, else the CPU.
        config: config file of Music-Source-Separation-Training, if `path` is a checkpoint of that tool.

    Returns:
        The separator.

    Raises:
        InputError: the model is an instrument, or cannot be loaded.
    """
    loaded = load(path, checkpoint, device, config=config)
    if not isinstance(loaded, Loaded):
        problem = "this model is not a separator"
        raise InputError(f"run={path}", problem, found="an instrument", expected="a separator")
    return loaded


def _loaded(origin: Origin, config: DictConfig) -> Loaded:
    options = InferenceOptions(overlap=origin.overlap)
    return Loaded(separator_of(origin, separator_builder(config, origin.folder)).eval(), origin.folder, config, options)


def _translated(path: Path) -> Loaded:
    translation = read_translation(path)
    config = read_config(path.parent / translation.config)
    separator = filled(separator_builder(config, path.parent), translated_tensors(path, translation), path)
    return Loaded(separator.eval(), path, config)


def separator_builder(config: DictConfig, folder: Path) -> Callable[[], Separator]:
    """Check the separator in the config of a run, and return a function that builds this separator without weights.

    Args:
        config: config of the run. It may come from another person.
        folder: folder of the run, for error messages.

    Returns:
        A function that builds the separator. The function raises InputError if a target name is not a valid file name, see
        `unbraid.runs.files.is_name`.

    Raises:
        InputError: the config lacks the key `model.separator`, or contains a class outside the modules in `BUILT`.
    """
    node: Any = node_at(config, "model.separator")
    if not isinstance(node, DictConfig):
        raise InputError(f"run={folder}", "this run has not trained a separator: its config lacks the key model.separator")
    check(OmegaConf.create({"model": {"separator": node}}), _SeparatorConfig, BUILT)

    def make() -> Separator:
        separator = build(node)
        if not isinstance(separator, Separator):
            kind = type(separator).__name__
            where, expected = f"{folder}/config.yaml, model.separator", "a subclass of Separator"
            raise InputError(where, "this class is not a separator", found=kind, expected=expected)
        return _with_valid_names(separator, folder)

    return make


def _with_valid_names(separator: Separator, path: Path) -> Separator:
    """Return the separator unchanged. InputError is raised if a target name is not valid as a file name."""
    for target in separator.targets:
        if not is_name(target) or "\\" in target:
            hint = "Rename the target. Use for example only letters, digits, '-' and '_'"
            raise InputError(path, "this name of a target cannot be used as a file name", found=repr(target), hint=hint)
    return separator


@dataclass
class _SeparatorConfig:
    model: dict[str, Any]
