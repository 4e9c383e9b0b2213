"""How estimated spectra come to sound: with the mixture's phase, a phase found for the magnitudes, or a Wiener filter.

Griffin-Lim suits one source whose magnitudes are good and whose phase is not; the multichannel Wiener filter suits several
sources of a stereo mixture, whose positions it finds out. The mixture's phase is the fastest and seldom much worse.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unbraid.dsp.stft import STFT, griffin_lim
from unbraid.dsp.wiener import wiener
from unbraid.runs.errors import InputError


class Phase(ABC):
    """Spectra of sources to their waveforms."""

    @abstractmethod
    def __call__(self, spectra: Tensor, mixture: Tensor, stft: STFT, samples: int) -> Tensor:
        """The waveforms.

        Args:
            spectra: of the sources, with the phase of the mixture or, of complex masks, their own.
            mixture: its spectrum.
            stft: of which the spectra are.
            samples: length of the waveforms.

        Shape:
            spectra [B, S, C, F, frames] and mixture [B, C, F, frames], complex -> [B, S, C, samples].
        """


@dataclass(frozen=True)
class MixturePhase(Phase):
    """The spectra as they are."""

    def __call__(self, spectra: Tensor, mixture: Tensor, stft: STFT, samples: int) -> Tensor:
        return stft.inverse(spectra, samples)


@dataclass(frozen=True)
class GriffinLim(Phase):
    """A phase that fits the magnitudes (Griffin & Lim 1984; fast version: Perraudin et al., WASPAA 2013).

    Args:
        iterations: at least 1.
        momentum: of the fast version, in [0, 1); 0 is Griffin and Lim's own.
        start: the phases to start from: those of the spectra, or random ones.
        seed: of random phases.
    """

    iterations: int
    momentum: float
    start: Literal["mixture", "random"]
    seed: int

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InputError(f"iterations must be at least 1, found {self.iterations}")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum must lie in [0, 1), found {self.momentum}")

    def __call__(self, spectra: Tensor, mixture: Tensor, stft: STFT, samples: int) -> Tensor:
        angles = spectra.angle()
        if self.start == "random":
            random = torch.Generator().manual_seed(self.seed)
            angles = (2 * torch.pi * torch.rand(angles.shape, generator=random)).to(angles)
        return griffin_lim(spectra.abs(), stft, samples, self.iterations, self.momentum, angles)


@dataclass(frozen=True)
class Wiener(Phase):
    """The multichannel Wiener filter, see `unbraid.dsp.wiener`.

    Args:
        iterations: of expectation maximisation; 0: none, which leaves `softmask` and `residual`.
        softmask: start from the sources' shares of the mixture instead of their own magnitudes: for poor estimates.
        residual: what the targets leave of the mixture is one more source of the filter. One target alone needs it.
        window_frames: each stretch of so many frames is filtered by itself, so that memory stays flat and sources may move.
    """

    iterations: int
    softmask: bool
    residual: bool
    window_frames: int

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise InputError(f"iterations must be at least 0, found {self.iterations}")
        if self.window_frames < 1:
            raise InputError(f"window_frames must be at least 1, found {self.window_frames}")

    def __call__(self, spectra: Tensor, mixture: Tensor, stft: STFT, samples: int) -> Tensor:
        sources = spectra.shape[1]
        if sources == 1 and self.iterations and not self.residual:
            raise InputError("phase=wiener: one target alone has nothing to be told from; set phase.residual=true")
        found = wiener(spectra, mixture, self.iterations, self.softmask, self.residual, self.window_frames)
        return stft.inverse(found[:, :sources], samples)
