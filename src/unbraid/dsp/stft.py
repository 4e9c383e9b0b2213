"""Short-time Fourier transform, its inverse, and waveforms from magnitudes (Griffin-Lim), in torch with gradients.

Griffin-Lim: Griffin & Lim, IEEE TASSP 1984; fast version: Perraudin et al., WASPAA 2013. Separators use Griffin-Lim through
`unbraid.dsp.phase`.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.runs.errors import InputError, check_counts

LONGEST_WINDOW = 2**18  # samples, 6 s at 44.1 kHz


class STFT(nn.Module):
    """Compute the STFT with a Hann window and centred frames, and the exact inverse STFT, always in float32.

    If windows overlap by less than three quarters, zeros are appended to the waveform up to a whole number of hops. Without
    these zeros, the last samples would be near the edge of a window and could not be reconstructed.

    Args:
        n_fft: length of the window and of the transform in samples.
        hop_length: step between frames in samples, less than `n_fft`.
        edges: padding at both ends of the waveform by half a window. `silence`: zeros; `reflection`: the reflected waveform, as
            in Open-Unmix.

    Raises:
        InputError: `n_fft` or `hop_length` is out of range.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, edges: Literal["silence", "reflection"] = "silence") -> None:
        super().__init__()
        if not 2 <= n_fft <= LONGEST_WINDOW:
            raise InputError("n_fft", "the window length is invalid", found=n_fft, expected=f"2 to {LONGEST_WINDOW} samples")
        if not 0 < hop_length < n_fft:
            expected = f"at least 1 and less than n_fft={n_fft} samples"
            raise InputError("hop_length", "the step between frames is invalid", found=hop_length, expected=expected)
        self.n_fft, self.hop_length, self.edges = n_fft, hop_length, edges
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def frames(self, samples: int) -> int:
        """Return the number of STFT frames of a waveform with `samples` samples."""
        return (samples + self._padding(samples)) // self.hop_length + 1

    def _padding(self, samples: int) -> int:
        """Return the number of zeros that are appended to a waveform of `samples` samples before the STFT."""
        return up_to(samples, self.hop_length) if 4 * self.hop_length > self.n_fft else 0

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the STFT of a waveform.

        Args:
            waveform: real waveform.

        Shape:
            [..., samples] -> complex [..., n_fft // 2 + 1, frames].

        Returns:
            The complex spectrum, computed in float32.
        """
        *lead, samples = waveform.shape
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = torch.stft(
                functional.pad(waveform.float().reshape(-1, samples), (0, self._padding(samples))),
                self.n_fft, self.hop_length, window=self.window, center=True,
                pad_mode="constant" if self.edges == "silence" else "reflect", return_complex=True,
            )  # fmt: skip
        return spectrum.reshape(*lead, *spectrum.shape[1:])

    def inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        """Compute the waveform of a spectrum by the inverse STFT.

        Args:
            spectrum: complex spectrum.
            samples: length of the waveform in samples.

        Shape:
            complex [..., n_fft // 2 + 1, frames] -> [..., samples].

        Returns:
            The waveform, in float32.
        """
        *lead, bins, frames = spectrum.shape
        with torch.autocast(spectrum.device.type, enabled=False):
            waveform = torch.istft(
                spectrum.reshape(-1, bins, frames), self.n_fft, self.hop_length,
                window=self.window, center=True, length=samples,
            )  # fmt: skip
        return waveform.reshape(*lead, samples)


def up_to(size: int, unit: int) -> int:
    """Return the smallest number >= 0 whose sum with `size` is a multiple of `unit`: -size % unit.

    `torch.export` can trace this formula with symbolic sizes.
    """
    return (size + unit - 1) // unit * unit - size


def magnitudes_of(spectrum: Tensor) -> Tensor:
    """Return the magnitudes of a complex spectrum.

    `torch.hypot` is twice as fast as `torch.abs` on CPUs, but the gradient of `torch.hypot` is undefined at 0. Therefore,
    `torch.hypot` is used only if gradients are not needed.
    """
    return spectrum.abs() if spectrum.requires_grad else torch.hypot(spectrum.real, spectrum.imag)


def check_griffin_lim(iterations: int, momentum: float) -> None:
    """Check the options of the Griffin-Lim algorithm.

    Args:
        iterations: number of iterations, at least 1.
        momentum: momentum of the fast version, in [0, 1).

    Raises:
        InputError: `iterations` is below 1, or `momentum` is not in [0, 1).
    """
    check_counts(iterations=iterations)
    if not 0 <= momentum < 1:
        raise InputError("momentum", "the value is outside the allowed range", found=momentum, expected="a number in [0, 1)")


def griffin_lim(
    magnitudes: Tensor, stft: STFT, samples: int, iterations: int = 32, momentum: float = 0.99, start: Tensor | None = None
) -> Tensor:
    """Find a waveform whose STFT has approximately the given magnitudes, by the Griffin-Lim algorithm.

    Invalid options raise InputError, see `check_griffin_lim`.

    Args:
        magnitudes: STFT magnitudes of the wanted waveform.
        stft: STFT of the magnitudes. Windows with more overlap give better results.
        samples: length of the waveform in samples.
        iterations: number of iterations, at least 1.
        momentum: momentum of the fast version, in [0, 1); 0 is the original algorithm.
        start: initial phases in radians; None for zeros.

    Shape:
        magnitudes and start [..., n_fft // 2 + 1, frames] -> [..., samples].

    Returns:
        The waveform.
    """
    check_griffin_lim(iterations, momentum)
    magnitudes = magnitudes.float()
    spectrum = torch.polar(magnitudes, torch.zeros_like(magnitudes) if start is None else start.float())
    previous = torch.zeros_like(spectrum)
    for _ in range(iterations):
        consistent = stft(stft.inverse(spectrum, samples))
        accelerated = consistent + momentum * (consistent - previous)
        spectrum, previous = magnitudes * accelerated / accelerated.abs().clamp(min=1e-16), consistent
    return stft.inverse(spectrum, samples)


def spectral_convergence(magnitudes: Tensor, waveform: Tensor, stft: STFT) -> float:
    """Measure how well a waveform w matches STFT magnitudes M: relative error 20 log10(‖M − |STFT(w)|‖ / ‖M‖) in dB.

    Args:
        magnitudes: wanted magnitudes M.
        waveform: waveform w.
        stft: STFT of the magnitudes.

    Shape:
        magnitudes [..., bins, frames], waveform [..., samples].

    Returns:
        The error in dB; lower is better.
    """
    return float(20 * torch.log10((stft(waveform).abs() - magnitudes).norm() / magnitudes.norm()))
