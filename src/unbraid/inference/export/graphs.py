"""Rewrite a separator so that it can be exported: all steps from mixture waveform to source waveforms use real numbers only.

ONNX does not support complex numbers, so each complex number is a pair of real numbers. The STFT is the STFT operator of ONNX.
The inverse STFT consists of the ONNX operators DFT and Col2Im, so the exported file does not contain large matrices of sines.
PyTorch's own inverse STFT cannot be used, because the exported graph would accept only one signal length.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

from unbraid.dsp.phase import MixturePhase
from unbraid.dsp.stft import STFT, up_to
from unbraid.models.separators.base import Separator
from unbraid.models.separators.clustering import Clustering
from unbraid.models.separators.masking import Masking
from unbraid.models.separators.waveform import WaveformSeparator, run_normalised
from unbraid.nets.adapters import ConvTasNet, HDemucs
from unbraid.nets.htdemucs import HTDemucs
from unbraid.nets.roformer import BandRoformer
from unbraid.nets.scnet import SCNet
from unbraid.nets.tfc_tdf import TFCTDF
from unbraid.runs.errors import InputError

LOUDNESS = 0.1  # standard deviation of the noise with which exported graphs are traced and checked
COMPLEX_INSIDE = (HDemucs, HTDemucs, BandRoformer, SCNet, TFCTDF)  # networks that contain an STFT in complex numbers


class RealMasking(nn.Module):
    """Compute the same sources as a `Masking` separator. Each complex number of a spectrum is a pair of real numbers.

    Args:
        separator: separator with its trained weights.

    Shape:
        mixture [B, C, T] -> [B, S, C, T].
    """

    def __init__(self, separator: Masking) -> None:
        super().__init__()
        self.separator = separator

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate a batch of mixture chunks, and return the source waveforms."""
        # b batch, s source, c channel, f bin, t frame, p real and imaginary part
        separator = self.separator
        pairs = torch.view_as_real(separator.stft(mixture))
        magnitudes = pairs.square().sum(dim=-1).sqrt()
        scale = separator.scale_of(magnitudes)
        outputs = separator.predict(magnitudes * scale)
        if "masks" in outputs:
            if outputs["masks"].is_complex():
                problem = "this network cannot be exported, because it returns complex masks"
                raise InputError("model.separator.net", problem)
            spectra = separator.refine(outputs["masks"]).unsqueeze(-1) * pairs.unsqueeze(1)
        else:
            spectra = (outputs["magnitudes"] / scale.unsqueeze(1)).unsqueeze(-1) * _directions(pairs, magnitudes).unsqueeze(1)
        return separator.consistent(mixture, inverse(spectra, separator.stft, mixture.shape[-1]))


class WholeHops(nn.Module):
    """Pad a mixture at the end to a multiple of the hop length, and run a network on the padded mixture.

    Conv-TasNet itself pads its input only if the length is not a multiple of the hop length. An exported graph cannot contain
    such a condition, so this class computes the padding without a condition.

    Args:
        net: network from mixture to sources.
        hop: hop length of the network's encoder in samples.

    Shape:
        mixture [B, C, T] -> [B, S, C, T].
    """

    def __init__(self, net: nn.Module, hop: int) -> None:
        super().__init__()
        self.net, self.hop = net, hop

    def forward(self, mixture: Tensor) -> Tensor:
        """Pad and separate the mixture, and return the sources with the length of the mixture."""
        samples = mixture.shape[-1]
        return self.net(functional.pad(mixture, (0, up_to(samples, self.hop)))).narrow(-1, 0, samples)


class NormalisedChunks(nn.Module):
    """Normalise each chunk by its mean and standard deviation, run a network, and restore the scale of the sources.

    Args:
        net: network from mixture to sources.

    Shape:
        mixture [B, C, T] -> [B, S, C, T].
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, mixture: Tensor) -> Tensor:
        """Normalise the mixture, separate it, and restore the scale of the sources."""
        return run_normalised(self.net, mixture)


def frozen(separator: Separator) -> Separator:
    """Prepare a separator for export: set evaluation mode, and switch off the gradients of its weights.

    With gradients, PyTorch would export one copy of a recurrent network per frame.

    Args:
        separator: separator, which is changed in place.

    Returns:
        The same separator.
    """
    return separator.eval().requires_grad_(False)


def in_real_numbers(separator: Separator) -> nn.Module:
    """Return a module that computes the sources from the mixture like the separator, but with real numbers only.

    Args:
        separator: separator with its trained weights.

    Returns:
        The module. It shares the weights of the separator.

    Raises:
        InputError: a part of the separator needs complex numbers or cannot be exported. The error names this part.
    """
    if isinstance(separator, Clustering) and separator.masks_from == "clusters":
        problem = "the k-means clustering of this option cannot be exported"
        raise InputError("masks_from=clusters", problem, expected="masks_from=head")
    if isinstance(separator, Masking):
        if not isinstance(separator.phase, MixturePhase):
            problem = "this phase estimation cannot be exported, because it needs complex numbers"
            raise InputError("phase", problem, found=separator.phase, expected="phase=mixture")
        return RealMasking(separator)
    if isinstance(separator, WaveformSeparator):
        if isinstance(separator.net, COMPLEX_INSIDE):
            problem = "this network cannot be exported, because it contains an STFT in complex numbers"
            raise InputError("model.separator.net", problem, found=type(separator.net).__name__)
        net = separator.net
        if isinstance(net, ConvTasNet):
            net = WholeHops(net, net.window // 2)
        return NormalisedChunks(net) if separator.normalisation == "chunk" else net
    expected = "a Masking or a WaveformSeparator"
    problem, found = "a separator of this class cannot be exported", type(separator).__name__
    raise InputError("model.separator", problem, found=found, expected=expected)


def example(separator: Separator, batch: int, samples: int) -> dict[str, Tensor]:
    """Return random noise as the example input with which PyTorch's exporters trace a separator.

    Args:
        separator: separator that is exported. The noise has as many channels as the separator.
        batch: number of chunks.
        samples: length of a chunk in samples. This number is also the random seed.

    Returns:
        Dictionary from the key `mixture` to the noise [batch, C, samples], with C channels.
    """
    generator = torch.Generator().manual_seed(samples)
    return {"mixture": LOUDNESS * torch.randn(batch, separator.channels, samples, generator=generator)}


def any_size(inputs: dict[str, Tensor]) -> dict[str, dict[int, Any]]:
    """Return the argument `dynamic_shapes` of PyTorch's exporters, so that the model accepts any batch size and any length.

    All variable sizes are declared as `Dim.AUTO`. With a named `Dim`, a recurrent network would also be exported without
    an error, but the exported graph would accept only one length.

    Args:
        inputs: dictionary from the name of each input to an example tensor.

    Returns:
        Nested dictionaries. The outer keys are the names of the inputs, the inner keys are the numbers of the dimensions with a
        variable size, and the values are `Dim.AUTO`.
    """
    return {name: {0: Dim.AUTO, 2: Dim.AUTO} if value.ndim == 3 else {0: Dim.AUTO} for name, value in inputs.items()}


def reason(error: BaseException) -> str:
    """Return a text that explains why an export, or a call of onnxruntime, has failed.

    An error can have a cause, which is another error with a cause of its own, and so on.

    Args:
        error: error that the exporter or onnxruntime has raised.

    Returns:
        The message of the first InputError among the error and its causes; if there is no InputError, the message of the last
        cause. The message is cut to 300 characters.
    """
    causes = [error]
    while (below := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(below)
    return str(next((cause for cause in causes if isinstance(cause, InputError)), causes[-1]))[:300]


def inverse(pairs: Tensor, stft: STFT, samples: int) -> Tensor:
    """Compute the inverse STFT from pairs of real numbers, with operations that ONNX supports.

    The waveform equals the result of `STFT.inverse`.

    Args:
        pairs: spectrum, with real and imaginary part in the last dimension.
        stft: the STFT that is inverted.
        samples: length of the waveform in samples.

    Shape:
        pairs [..., F, frames, 2] -> [..., samples].

    Returns:
        The waveform.
    """
    *lead, _, frames, _ = pairs.shape
    n_fft, hop = stft.n_fft, stft.hop_length
    spectrum = torch.view_as_complex(pairs.reshape(-1, *pairs.shape[-3:]))
    windowed = torch.fft.irfft(spectrum, n=n_fft, dim=1) * stft.window[:, None]
    weights = stft.window.square()[None, :, None].expand(1, n_fft, frames)
    total, weight = (_overlap_add(x, n_fft, hop).narrow(-1, n_fft // 2, samples) for x in (windowed, weights))
    return (total / weight).reshape(*lead, samples)


def _overlap_add(frames: Tensor, n_fft: int, hop: int) -> Tensor:
    """Add overlapping frames. Each frame starts `hop` samples after the previous one.

    Shape: [N, n_fft, frames] -> [N, samples].
    """
    length = (frames.shape[-1] - 1) * hop + n_fft
    return functional.fold(frames, (1, length), (1, n_fft), stride=(1, hop))[:, 0, 0]


def _directions(pairs: Tensor, magnitudes: Tensor) -> Tensor:
    """Divide complex numbers, given as pairs of real numbers, by their magnitudes. The number 0 becomes the pair (1, 0).

    Shape: pairs [B, C, F, T, 2], magnitudes [B, C, F, T] -> [B, C, F, T, 2].
    """
    nonzero = magnitudes > 0
    units = pairs / torch.where(nonzero, magnitudes, 1.0).unsqueeze(-1)
    return torch.where(nonzero.unsqueeze(-1), units, torch.tensor([1.0, 0.0], device=pairs.device))
