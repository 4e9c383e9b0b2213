"""Convert estimated spectra of sources to waveforms: with the mixture's phase, a reconstructed phase, or a Wiener filter.

The mixture's phase is the fastest choice and seldom much worse than a reconstructed phase. Griffin-Lim (1984, fast version by
Perraudin et al., WASPAA 2013) suits a single source with good magnitudes and a bad phase. The multichannel Wiener filter
(Nugraha, Liutkus & Vincent, EUSIPCO 2016) suits several sources of a stereo mixture, because this filter estimates the
positions of the sources.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unbraid.dsp.stft import STFT, check_griffin_lim, griffin_lim
from unbraid.dsp.wiener import wiener
from unbraid.runs.errors import InputError, check_counts


class Phase(ABC):
    """Interface of phase methods, such as `GriffinLim`. A call converts estimated complex spectra of sources to waveforms."""

    @abstractmethod
    def __call__(self, spectra: Tensor, mixture: Tensor, stft: STFT, samples: int) -> Tensor:
        """Convert the spectra of the sources to waveforms.

        Args:
            spectra: estimated complex spectra of the sources, for example masks times the spectrum of the mixture.
            mixture: complex spectrum of the mixture.
            stft: STFT with which the spectra were computed.
            samples: length of the waveforms in samples.

        Shape:
            spectra [B, S, C, F, frames] and mixture [B, C, F, frames] -> [B, S, C, samples]. B: batch, S: sources, C: channels,
            F: frequency bins.

        Returns:
            The waveforms of the sources.
        """


@dataclass(frozen=True)
class MixturePhase(Phase):
    """Apply the inverse STFT to the spectra of the sources. Usually, the spectra have the phase of the mixture."""

    def __call__(self, spectra: Tensor, mixture: Tensor, stft: STFT, samples: int) -> Tensor:
        """Return the inverse STFT of the spectra, see `Phase`."""
        return stft.inverse(spectra, samples)


@dataclass(frozen=True)
class GriffinLim(Phase):
    """Replace the phase of each source by a phase that is consistent with the magnitudes of the source, see `griffin_lim`.

    Args:
        iterations: number of iterations, at least 1.
        momentum: momentum of the fast version, in [0, 1); 0 is the original algorithm.
        start: initial phases. `mixture`: phases of the estimated spectra, which are usually the phases of the mixture.
            `random`: random phases.
        seed: random seed of the initial phases.

    Raises:
        InputError: iterations or momentum are out of range.
    """

    iterations: int
    momentum: float
    start: Literal["mixture", "random"]
    seed: int

    def __post_init__(self) -> None:
        check_griffin_lim(self.iterations, self.momentum)

    def __call__(self, spectra: Tensor, mixture: Tensor, stft: STFT, samples: int) -> Tensor:
        """Return the waveforms of the sources with reconstructed phases, see `Phase`."""
        angles = spectra.angle()
        if self.start == "random":
            generator = torch.Generator().manual_seed(self.seed)
            angles = (2 * torch.pi * torch.rand(angles.shape, generator=generator)).to(angles)
        return griffin_lim(spectra.abs(), stft, samples, self.iterations, self.momentum, angles)


@dataclass(frozen=True)
class Wiener(Phase):
    """Apply the multichannel Wiener filter to the spectra of the sources, see `unbraid.dsp.wiener`.

    Args:
        iterations: number of iterations of expectation maximisation. With 0, the start values (see `softmask`) are the result.
        softmask: start values of the iterations. False: the estimated spectra of the sources. True: for each source, the
            spectrum of the mixture times the share of the source in the sum of the estimated magnitudes. True improves poor
            estimates.
        residual: True to add the residual (mixture minus all targets) as one more source. A single target requires True.
        window_frames: number of frames that are filtered together, at least 1. Shorter windows need less memory, and allow a
            source to change its position in the stereo image from window to window.

    Raises:
        InputError: iterations or window_frames are out of range.
    """

    iterations: int
    softmask: bool
    residual: bool
    window_frames: int

    def __post_init__(self) -> None:
        check_counts(window_frames=self.window_frames)
        if self.iterations < 0:
            raise InputError("iterations", found=self.iterations, expected="0 or more iterations")

    def __call__(self, spectra: Tensor, mixture: Tensor, stft: STFT, samples: int) -> Tensor:
        """Filter the spectra and return the waveforms of the sources, see `Phase`.

        A single target raises InputError if `residual` is False.
        """
        sources = spectra.shape[1]
        if sources == 1 and self.iterations and not self.residual:
            raise InputError(
                "phase.residual",
                "the Wiener filter needs at least two sources, but the model separates only one",
                hint="Choose several targets, or set phase.residual=true to use the rest of the mixture as the second source.",
            )
        filtered = wiener(spectra, mixture, self.iterations, self.softmask, self.residual, self.window_frames)
        return stft.inverse(filtered[:, :sources], samples)
