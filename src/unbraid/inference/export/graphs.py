"""Build the graph of a separator in real numbers, from the mixture waveform to the source waveforms.

ONNX does not support complex numbers, so each complex number is a pair of real numbers. The STFT is the STFT operator of ONNX.
The inverse STFT consists of the operators DFT and Col2Im, so that the file contains no matrices of sines. PyTorch's own inverse
STFT would fix the length of the signal, also in `torch.export`.
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
from unbraid.models.separators.waveform import WaveformSeparator
from unbraid.nets.adapters import BSRoformer, ConvTasNet, HDemucs, MelBandRoformer
from unbraid.runs.errors import InputError

LOUDNESS = 0.1  # standard deviation of the noise that graphs are traced and checked with
COMPLEX_INSIDE = (HDemucs, BSRoformer, MelBandRoformer)  # networks that contain an STFT in complex numbers


class RealMasking(nn.Module):
    """Compute the same sources as a `Masking`, with pairs of real numbers in place of complex spectra.

    Args:
        separator: separator with its trained weights.

    Shape:
        mixture [B, C, T] -> [B, S, C, T].
    """

    def __init__(self, separator: Masking) -> None:
        super().__init__()
        self.separator = separator

    def forward(self, mixture: Tensor) -> Tensor:
        """Return the sources of a batch of chunks."""
        # b batch, s source, c channel, f bin, t frame, p real and imaginary part
        separator = self.separator
        pairs = torch.view_as_real(separator.stft(mixture))
        magnitudes = pairs.square().sum(dim=-1).sqrt()
        scale = separator.scale_of(magnitudes)
        outputs = separator.predict(magnitudes * scale)
        if "masks" in outputs:
            if outputs["masks"].is_complex():
                raise InputError(
                    "model.separator.net", "the masks of this network are complex numbers, which ONNX does not support"
                )
            spectra = separator.refine(outputs["masks"]).unsqueeze(-1) * pairs.unsqueeze(1)
        else:
            spectra = (outputs["magnitudes"] / scale.unsqueeze(1)).unsqueeze(-1) * _directions(pairs, magnitudes).unsqueeze(1)
        return separator.consistent(mixture, inverse(spectra, separator.stft, mixture.shape[-1]))


class WholeHops(nn.Module):
    """Pad the input of a network to whole hops.

    The network would decide by itself whether to pad its input. A graph cannot contain such a decision.

    Args:
        net: network from mixture to sources.
        hop: hop length of the network's transform in samples.

    Shape:
        mixture [B, C, T] -> [B, S, C, T].
    """

    def __init__(self, net: nn.Module, hop: int) -> None:
        super().__init__()
        self.net, self.hop = net, hop

    def forward(self, mixture: Tensor) -> Tensor:
        """Return the sources, cut to the length of the mixture."""
        samples = mixture.shape[-1]
        return self.net(functional.pad(mixture, (0, up_to(samples, self.hop)))).narrow(-1, 0, samples)


def frozen(separator: Separator) -> Separator:
    """Set a separator to evaluation mode, switch off gradients for its weights, and return it.

    With gradients, PyTorch would export a recurrent network frame by frame.

    Args:
        separator: separator that is changed.

    Returns:
        The same separator.
    """
    return separator.eval().requires_grad_(False)


def in_real_numbers(separator: Separator) -> nn.Module:
    """Return a module from mixture to sources that computes in real numbers only.

    Args:
        separator: separator with its trained weights.

    Returns:
        The module, which shares its weights with the separator.

    Raises:
        InputError: a part of the separator needs complex numbers, or cannot be written as a graph. The error names this part.
    """
    if isinstance(separator, Clustering) and separator.masks_from == "clusters":
        raise InputError(
            "masks_from=clusters", "an exported graph cannot compute clusters with k-means", expected="masks_from=head"
        )
    if isinstance(separator, Masking):
        if not isinstance(separator.phase, MixturePhase):
            problem = "an exported graph does not support the complex numbers of this phase method"
            raise InputError("phase", problem, found=separator.phase, expected="phase=mixture")
        return RealMasking(separator)
    if isinstance(separator, WaveformSeparator):
        if isinstance(separator.net, COMPLEX_INSIDE):
            problem = "ONNX does not support the complex numbers in the STFT of this network"
            raise InputError("model.separator.net", problem, found=type(separator.net).__name__)
        if isinstance(separator.net, ConvTasNet):
            return WholeHops(separator.net, separator.net.window // 2)
        return separator.net
    expected = "a Masking or a WaveformSeparator"
    raise InputError("model.separator", "this class cannot be exported", found=type(separator).__name__, expected=expected)


def example(separator: Separator, batch: int, samples: int) -> dict[str, Tensor]:
    """Return noise as an example input of a graph, by the name of the input.

    Args:
        separator: separator whose channels the noise has.
        batch: number of chunks.
        samples: length of a chunk in samples. It is also the random seed.

    Returns:
        The input `mixture`, of the shape [batch, C, samples].
    """
    generator = torch.Generator().manual_seed(samples)
    return {"mixture": LOUDNESS * torch.randn(batch, separator.channels, samples, generator=generator)}


def any_size(inputs: dict[str, Tensor]) -> dict[str, dict[int, Any]]:
    """Return the `dynamic_shapes` argument of PyTorch's exporters, for any batch size and any number of samples.

    The sizes are `Dim.AUTO`. With named sizes, the graph of a recurrent network silently gets a fixed length.

    Args:
        inputs: example inputs by name.

    Returns:
        The dimensions of variable size, by input.
    """
    return {name: {0: Dim.AUTO, 2: Dim.AUTO} if value.ndim == 3 else {0: Dim.AUTO} for name, value in inputs.items()}


def reason(error: BaseException) -> str:
    """Return the cause of an exporter's error.

    Args:
        error: error that the exporter has raised.

    Returns:
        At most 300 characters of the first InputError in the chain of causes, or else of the last error in it.
    """
    causes = [error]
    while (below := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(below)
    return str(next((cause for cause in causes if isinstance(cause, InputError)), causes[-1]))[:300]


def inverse(pairs: Tensor, stft: STFT, samples: int) -> Tensor:
    """Compute the same as `STFT.inverse`, with operators of ONNX.

    Args:
        pairs: spectrum, with real and imaginary part in the last dimension.
        stft: transform that is inverted.
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
    """Add up frames, each one hop later than the frame before. Shape: [N, n_fft, frames] -> [N, samples]."""
    length = (frames.shape[-1] - 1) * hop + n_fft
    return functional.fold(frames, (1, length), (1, n_fft), stride=(1, hop))[:, 0, 0]


def _directions(pairs: Tensor, magnitudes: Tensor) -> Tensor:
    """Return complex numbers of unit length with the same angle; 0 becomes (1, 0).

    Shape: [B, C, F, T, 2], [B, C, F, T] -> [B, C, F, T, 2].
    """
    nonzero = magnitudes > 0
    units = pairs / torch.where(nonzero, magnitudes, 1.0).unsqueeze(-1)
    return torch.where(nonzero.unsqueeze(-1), units, torch.tensor([1.0, 0.0], device=pairs.device))
