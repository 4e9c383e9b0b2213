"""Signal parts in torch: short-time Fourier transform and inverse, Griffin-Lim, overlap-add of a function over chunks."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

LONGEST_WINDOW = 2**18  # samples, 6 s at 44.1 kHz


class STFT(nn.Module):
    """Hann-windowed STFT, centred frames, and its exact inverse; float32 under any precision.

    Where windows overlap by less than three quarters, the waveform is padded to a whole number of hops, so that every sample
    lies well under a window and comes back.

    Args:
        n_fft: window and transform length in samples.
        hop_length: step between frames in samples; more than `n_fft` would lose samples.
        edges: what lies beyond both ends of the waveform: `silence`, or its `reflection`, as Open-Unmix has it.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, edges: Literal["silence", "reflection"] = "silence") -> None:
        super().__init__()
        if not 2 <= n_fft <= LONGEST_WINDOW:
            raise ValueError(f"n_fft must lie in [2, {LONGEST_WINDOW}], found {n_fft}")
        if not 0 < hop_length < n_fft:
            raise ValueError(f"hop_length must lie in [1, n_fft - 1] = [1, {n_fft - 1}], found {hop_length}")
        self.n_fft, self.hop_length, self.edges = n_fft, hop_length, edges
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def frames(self, samples: int) -> int:
        """How many frames a waveform of so many samples has."""
        return (samples + self._missing(samples)) // self.hop_length + 1

    def _missing(self, samples: int) -> int:
        """How many samples of silence are added to the end."""
        return up_to(samples, self.hop_length) if 4 * self.hop_length > self.n_fft else 0

    def forward(self, waveform: Tensor) -> Tensor:
        """Shape: [..., samples] -> complex [..., n_fft // 2 + 1, frames]."""
        *lead, samples = waveform.shape
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = torch.stft(
                functional.pad(waveform.float().reshape(-1, samples), (0, self._missing(samples))),
                self.n_fft, self.hop_length, window=self.window, center=True,
                pad_mode="constant" if self.edges == "silence" else "reflect", return_complex=True,
            )  # fmt: skip
        return spectrum.reshape(*lead, *spectrum.shape[1:])

    def inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        """Shape: complex [..., n_fft // 2 + 1, frames] -> [..., samples]."""
        *lead, bins, frames = spectrum.shape
        with torch.autocast(spectrum.device.type, enabled=False):
            waveform = torch.istft(
                spectrum.reshape(-1, bins, frames), self.n_fft, self.hop_length,
                window=self.window, center=True, length=samples,
            )  # fmt: skip
        return waveform.reshape(*lead, samples)


def up_to(size: int, unit: int) -> int:
    """What `size` lacks of whole units: -size % unit, in a form that whoever traces a graph of it can reason with."""
    return (size + unit - 1) // unit * unit - size


def magnitudes_of(spectrum: Tensor) -> Tensor:
    """|X|. Where no gradient is asked for, in the way that takes a CPU half the time; its gradient is undefined at 0."""
    return spectrum.abs() if spectrum.requires_grad else torch.hypot(spectrum.real, spectrum.imag)


def griffin_lim(
    magnitudes: Tensor, stft: STFT, samples: int, iterations: int = 32, momentum: float = 0.99, start: Tensor | None = None
) -> Tensor:
    """A waveform whose STFT has about these magnitudes (Griffin & Lim 1984, fast version of Perraudin et al. 2013).

    Args:
        magnitudes: of `stft`.
        stft: the transform; the better, the more its windows overlap.
        samples: length of the waveform.
        iterations: at least 1.
        momentum: of the fast version, in [0, 1); 0 is Griffin and Lim's own.
        start: phases to start from, in radians; zeros if left out.

    Shape:
        magnitudes and start [..., n_fft // 2 + 1, frames] -> [..., samples].
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, found {iterations}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), found {momentum}")
    magnitudes = magnitudes.float()
    spectrum = torch.polar(magnitudes, torch.zeros_like(magnitudes) if start is None else start.float())
    before = torch.zeros_like(spectrum)
    for _ in range(iterations):
        rebuilt = stft(stft.inverse(spectrum, samples))
        leap = rebuilt + momentum * (rebuilt - before)
        spectrum, before = magnitudes * leap / leap.abs().clamp(min=1e-16), rebuilt
    return stft.inverse(spectrum, samples)


def spectral_convergence(magnitudes: Tensor, waveform: Tensor, stft: STFT) -> float:
    """How far a waveform's magnitudes are from the given ones, in dB of these: 20 log10(‖M − |STFT(w)|‖ / ‖M‖).

    Shape: [..., F, frames], [..., samples].
    """
    return float(20 * torch.log10((stft(waveform).abs() - magnitudes).norm() / magnitudes.norm()))
