"""A separator as one graph in real numbers, from mixture waveform to source waveforms: ONNX has no complex ones.

The transform is ONNX's own STFT, its inverse DFT and Col2Im (the overlapping frames' sum): a file carries no matrices of sines.
Torch's own inverse STFT would be of one length only, in `torch.export` as well.
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

LOUDNESS = 0.1  # of the noise that graphs are traced with, and checked by
COMPLEX_INSIDE = (HDemucs, BSRoformer, MelBandRoformer)  # with transforms of their own


class RealMasking(nn.Module):
    """What a `Masking` says, its spectra being pairs of real numbers.

    Shape: mixture [B, C, T] -> [B, S, C, T].
    """

    def __init__(self, separator: Masking) -> None:
        super().__init__()
        self.separator = separator

    def forward(self, mixture: Tensor) -> Tensor:
        # b batch, s source, c channel, f bin, t frame, p real and imaginary part
        separator = self.separator
        pairs = torch.view_as_real(separator.stft(mixture))
        magnitudes = pairs.square().sum(dim=-1).sqrt()
        scale = separator.scale_of(magnitudes)
        outputs = separator.predict(magnitudes * scale)
        if "masks" in outputs:
            spectra = separator.refine(_real(outputs["masks"])).unsqueeze(-1) * pairs.unsqueeze(1)
        else:
            spectra = (outputs["magnitudes"] / scale.unsqueeze(1)).unsqueeze(-1) * _directions(pairs, magnitudes).unsqueeze(1)
        return separator.consistent(mixture, inverse(spectra, separator.stft, mixture.shape[-1]))


class WholeHops(nn.Module):
    """A network that would cut its input to whole hops by a decision, which a graph cannot take: it is given whole hops.

    Args:
        net: mixture [B, C, T] to sources [B, S, C, T].
        hop: of its own transform, in samples.
    """

    def __init__(self, net: nn.Module, hop: int) -> None:
        super().__init__()
        self.net, self.hop = net, hop

    def forward(self, mixture: Tensor) -> Tensor:
        samples = mixture.shape[-1]
        return self.net(functional.pad(mixture, (0, up_to(samples, self.hop)))).narrow(-1, 0, samples)


def frozen(separator: Separator) -> Separator:
    """As it separates; no weight of it asks for gradients, or else a recurrent network would be written frame by frame."""
    return separator.eval().requires_grad_(False)


def in_real_numbers(separator: Separator) -> nn.Module:
    """The graph of a separator.

    Raises:
        InputError: some part of it cannot be written in real numbers, or not as a graph; the sentence says which.
    """
    if isinstance(separator, Clustering) and separator.masks_from == "clusters":
        raise InputError("masks_from=clusters: k-means is no part of any graph; expected masks_from=head")
    if isinstance(separator, Masking):
        if not isinstance(separator.phase, MixturePhase):
            raise InputError(
                f"phase {separator.phase} takes complex numbers, which graphs here have not; expected phase=mixture"
            )
        return RealMasking(separator)
    if isinstance(separator, WaveformSeparator):
        if isinstance(separator.net, COMPLEX_INSIDE):
            name = type(separator.net).__name__
            raise InputError(f"{name} has a transform of its own in complex numbers, which ONNX has not")
        if isinstance(separator.net, ConvTasNet):
            return WholeHops(separator.net, separator.net.window // 2)
        return separator.net
    raise InputError(f"a {type(separator).__name__} cannot be written as a graph; expected a Masking or a Direct")


def example(separator: Separator, batch: int, samples: int) -> dict[str, Tensor]:
    """Return noise for the input of a graph, by its name."""
    generator = torch.Generator().manual_seed(samples)
    return {"mixture": LOUDNESS * torch.randn(batch, separator.channels, samples, generator=generator)}


def any_size(inputs: dict[str, Tensor]) -> dict[str, dict[int, Any]]:
    """A named size makes a recurrent network's graph silently one of fixed length; `AUTO` does not."""
    return {name: {0: Dim.AUTO, 2: Dim.AUTO} if value.ndim == 3 else {0: Dim.AUTO} for name, value in inputs.items()}


def reason(error: BaseException) -> str:
    """Our own sentence below the exporter's, or its last words of what went wrong."""
    causes = [error]
    while (below := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(below)
    own = next((cause for cause in causes if isinstance(cause, InputError)), causes[-1])
    return str(own)[:300]


def inverse(pairs: Tensor, stft: STFT, samples: int) -> Tensor:
    """As `STFT.inverse`, by operators that ONNX has. Shape: [..., F, frames, 2] -> [..., samples]."""
    *lead, _, frames, _ = pairs.shape
    n_fft, hop = stft.n_fft, stft.hop_length
    spectrum = torch.view_as_complex(pairs.reshape(-1, *pairs.shape[-3:]))
    windowed = torch.fft.irfft(spectrum, n=n_fft, dim=1) * stft.window[:, None]
    weights = stft.window.square()[None, :, None].expand(1, n_fft, frames)
    total, weight = (_overlapped(x, n_fft, hop).narrow(-1, n_fft // 2, samples) for x in (windowed, weights))
    return (total / weight).reshape(*lead, samples)


def _overlapped(frames: Tensor, n_fft: int, hop: int) -> Tensor:
    """Their sum, each a hop after the one before. Shape: [N, n_fft, frames] -> [N, samples]."""
    length = (frames.shape[-1] - 1) * hop + n_fft
    return functional.fold(frames, (1, length), (1, n_fft), stride=(1, hop))[:, 0, 0]


def _real(masks: Tensor) -> Tensor:
    if masks.is_complex():
        raise InputError("the network gives complex masks, which ONNX has not")
    return masks


def _directions(pairs: Tensor, magnitudes: Tensor) -> Tensor:
    """Of unit length; silence points to (1, 0), as its angle is 0. Shape: [B, C, F, T, 2], [B, C, F, T] -> the former."""
    sounding = magnitudes > 0
    units = pairs / torch.where(sounding, magnitudes, 1.0).unsqueeze(-1)
    return torch.where(sounding.unsqueeze(-1), units, torch.tensor([1.0, 0.0], device=pairs.device))
