"""Helpers of `unbraid.nets.adapters`, which adapts networks of torchaudio and of the package `bs-roformer`.

Both libraries are imported when one of their networks is built. All other models work without them.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from unbraid.runs.errors import InputError


def torchaudio_class(name: str, model: str) -> Any:
    """Import a network class of torchaudio.

    Args:
        name: name of the class.
        model: name of the model config (`model=NAME`), used in the error message.

    Returns:
        The class. A missing torchaudio raises InputError, see `import_torchaudio`.
    """
    return getattr(import_torchaudio(f"model={model}").models, name)


def import_torchaudio(where: str) -> Any:
    """Import torchaudio.

    Args:
        where: key of the config that needs torchaudio, for the error message.

    Returns:
        The module.

    Raises:
        InputError: torchaudio is not installed, or this version of torchaudio cannot be used with this version of torch.
    """
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # a version for another torch raises any of them
        hint = "Install torch and torchaudio of the same version"
        raise InputError(where, f"torchaudio cannot be imported: {type(error).__name__}: {error}", hint=hint) from error
    return torchaudio


def roformer_class(name: str, model: str) -> Any:
    """Import a network class of the optional package `bs-roformer`.

    Args:
        name: name of the class.
        model: name of the model config (`model=NAME`), used in the error message.

    Returns:
        The class.

    Raises:
        InputError: the package `bs-roformer` is not installed.
    """
    try:
        import bs_roformer
    except ModuleNotFoundError as error:
        hint = "Install it: pip install 'unbraid[roformer]'"
        raise InputError(
            f"model={model}", "this model needs the package bs-roformer, which is not installed", hint=hint
        ) from error
    return getattr(bs_roformer, name)


def check_length(samples: int, minimum: int, argument: str) -> None:
    """Check that a chunk of audio is long enough for a network.

    Args:
        samples: length of the chunk in samples.
        minimum: smallest length that the network accepts, in samples.
        argument: argument of the network that determines `minimum`, with its value, for the error message.

    Raises:
        InputError: the chunk is too short.
    """
    if samples < minimum:
        expected = f"at least {minimum} samples"
        raise InputError(
            "mixture", f"the chunk is too short for a network with {argument}", found=f"{samples} samples", expected=expected
        )


def create(make: Any, *arguments: Any, **options: Any) -> Any:
    """Create a network of another library, and convert the exceptions of the library to InputError.

    Args:
        make: network class of the library.
        *arguments: positional arguments of the class.
        **options: keyword arguments of the class.

    Returns:
        The network.

    Raises:
        InputError: the library raises an error for these arguments.
    """
    try:
        return make(*arguments, **options)
    except Exception as error:
        if "covered" in str(error) and "num_bands" in options:  # the package's error for bins in no band
            stft = f"n_fft = {options['stft_n_fft']} at {options['sample_rate']} Hz"
            problem = f"the mel bands do not cover all frequency bins of {stft}"
            where, found = f"{make.__name__}.num_bands", options["num_bands"]
            raise InputError(where, problem, found=found, expected="fewer bands") from error
        raise InputError(
            make.__name__, f"the library of this network refuses the arguments: {type(error).__name__}: {error}"
        ) from error


def masks_in_float32(net: nn.Module) -> None:
    """Add hooks that convert the masks of a RoFormer (a separator with attention over bands) to float32.

    PyTorch's autocast would compute the masks in bfloat16, and PyTorch has no complex type of bfloat16.
    """
    for estimator in net.mask_estimators:  # type: ignore[union-attr]
        estimator.register_forward_hook(_float)


def _float(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return output.float()


def run_whole_hops(net: nn.Module, mixture: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Run a network whose output length is a multiple of the hop length.

    The mixture is padded with silence at the end, and the sources are cut to the length of the mixture.

    Args:
        net: network.
        mixture: mixture waveforms.
        n_fft: length of the network's transform in samples.
        hop_length: step between frames in samples.

    Shape:
        [B, C, T] -> [B, S, C, T]. B: batch, S: sources, C: channels, T: samples.

    Returns:
        The sources, as long as the mixture. A mixture of fewer than `n_fft // 2 + 1` samples raises InputError.
    """
    samples = mixture.shape[-1]
    check_length(samples, n_fft // 2 + 1, f"n_fft = {n_fft}")
    sources = net(functional.pad(mixture, (0, -samples % hop_length)))
    return (sources if sources.ndim == 4 else sources.unsqueeze(1))[..., :samples]
