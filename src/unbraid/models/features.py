"""Features: what an autoencoder rebuilds, as patches or as vectors, and the way back to sound.

Networks see patches [N, C, H, W] or vectors [M, D]; a vector is a frame of a spectrogram or a whole image.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp.stft import STFT
from unbraid.runs.errors import InputError


class Features(nn.Module, ABC):
    """Makes items of a batch. `shape` is a patch's (C, H, W), `vector_size` a vector's, `kind` what the data must be."""

    kind: ClassVar[Literal["audio", "images"]]
    shape: tuple[int, int, int]
    vector_size: int

    @abstractmethod
    def items(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Patches [N, C, H, W] of a batch of the data set, and what each one is: the number of its label or source [N]."""

    @abstractmethod
    def vectors(self, patches: Tensor) -> Tensor:
        """Shape: [N, C, H, W] -> [M, vector_size]."""

    @abstractmethod
    def patches(self, vectors: Tensor) -> Tensor:
        """The inverse of `vectors`. Shape: [M, vector_size] -> [N, C, H, W]."""

    @property
    def vectors_per_patch(self) -> int:
        c, h, w = self.shape
        return c * h * w // self.vector_size


class Pixels(Features):
    """Images of one channel, each a vector of all its pixels.

    Args:
        size: of an image, in pixels each way.
    """

    kind = "images"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.shape, self.vector_size = (1, size, size), size * size

    def items(self, batch: Any) -> tuple[Tensor, Tensor]:
        return batch.pixels, batch.labels

    def vectors(self, patches: Tensor) -> Tensor:
        return patches.flatten(start_dim=1)

    def patches(self, vectors: Tensor) -> Tensor:
        return vectors.view(-1, *self.shape)


class Spectra(Features):
    """Magnitudes of each target of a mixture; a vector is one frame of one channel.

    Args:
        sample_rate: of the waveforms, in Hz.
        channels: of the waveforms.
        chunk_seconds: length of a patch.
        stft: the transform.
        bins: how many are kept, from the lowest on; those above are silent on the way back.
        magnitude: `linear`: relative to a sine of full scale; `log`: in dB, from `floor_db` as 0 to full scale as 1.
        floor_db: what is quieter is not told apart, in dB of full scale.
    """

    kind = "audio"

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        stft: STFT,
        bins: int,
        magnitude: Literal["linear", "log"],
        floor_db: float,
    ) -> None:
        super().__init__()
        if not 1 <= bins <= stft.n_fft // 2 + 1:
            raise InputError(f"bins must lie in [1, {stft.n_fft // 2 + 1}], those of n_fft={stft.n_fft}, found {bins}")
        if channels not in (1, 2):
            raise InputError(f"channels must be 1 or 2, found {channels}")
        if not -math.inf < floor_db < 0:
            raise InputError(f"floor_db must be a number below 0 dB, found {floor_db}")
        self.sample_rate, self.channels, self.stft = sample_rate, channels, stft
        self.magnitude, self.floor_db = magnitude, floor_db
        self.shape, self.vector_size = (channels, bins, stft.frames(round(chunk_seconds * sample_rate))), bins
        self.full_scale = float(stft.window.sum()) / 2

    def items(self, batch: Any) -> tuple[Tensor, Tensor]:
        sources = batch.sources
        spectra = self.analyse(sources.flatten(0, 1))
        patches = self.cut(spectra)
        labels = torch.arange(sources.shape[1], device=sources.device).repeat(len(sources))
        return patches, labels.repeat_interleave(len(patches) // len(labels))

    def analyse(self, waveforms: Tensor) -> Tensor:
        """What networks see of waveforms. Shape: [N, C, samples] -> [N, C, bins, T]."""
        relative = self.stft(waveforms).abs()[..., : self.vector_size, :] / self.full_scale
        if self.magnitude == "linear":
            return relative
        return (1 - 20 * relative.clamp(min=1e-12).log10() / self.floor_db).clamp(0, 1)

    def magnitudes(self, spectra: Tensor) -> Tensor:
        """STFT magnitudes again, silent below the floor. Shape: [..., bins, T] -> [..., n_fft // 2 + 1, T]."""
        if self.magnitude == "linear":
            relative = spectra.clamp(min=0)
        else:
            relative = torch.where(spectra > 0, 10 ** ((1 - spectra) * self.floor_db / 20), 0)
        return functional.pad(relative * self.full_scale, (0, 0, 0, self.stft.n_fft // 2 + 1 - self.vector_size))

    def cut(self, spectra: Tensor) -> Tensor:
        """Spectra of any length as patches; the last one of each ends in silence.

        Shape: [N, C, bins, T] -> [N * n, C, H, W].
        """
        c, h, w = self.shape
        whole = functional.pad(spectra, (0, -spectra.shape[-1] % w))
        return whole.unflatten(-1, (-1, w)).permute(0, 3, 1, 2, 4).reshape(-1, c, h, w)

    def join(self, patches: Tensor, frames: int) -> Tensor:
        """The inverse of `cut` for one spectrum. Shape: [n, C, H, W] -> [C, bins, frames]."""
        return patches.permute(1, 2, 0, 3).flatten(-2)[..., :frames]

    def vectors(self, patches: Tensor) -> Tensor:
        return patches.transpose(-1, -2).reshape(-1, self.vector_size)

    def patches(self, vectors: Tensor) -> Tensor:
        c, h, w = self.shape
        return vectors.view(-1, c, w, h).transpose(-1, -2)
