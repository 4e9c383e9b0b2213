"""Features: the values that an autoencoder reconstructs, computed from audio or images.

An autoencoder takes N patches [N, C, H, W] or M vectors of D values [M, D]. A patch is a section of a spectrogram, or an image.
A vector is one frame of a spectrogram, or all pixels of an image.
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
    """Interface of features: values that are computed from a batch of data, and that an autoencoder reconstructs.

    The values are arranged as patches (images or sections of spectrograms) or as vectors.

    Attributes:
        kind: kind of data from which the features are computed: `audio` or `images`.
        shape: shape (C, H, W) of a patch.
        vector_size: number of values in a vector.
    """

    kind: ClassVar[Literal["audio", "images"]]
    shape: tuple[int, int, int]
    vector_size: int

    @abstractmethod
    def items(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Compute the N patches [N, C, H, W] of a batch, and for each patch the index of its class or source [N]."""

    @abstractmethod
    def vectors(self, patches: Tensor) -> Tensor:
        """Cut patches into vectors. Shape: [N, C, H, W] -> [M, vector_size]."""

    @abstractmethod
    def patches(self, vectors: Tensor) -> Tensor:
        """Join vectors to patches. This is the inverse of `vectors`. Shape: [M, vector_size] -> [N, C, H, W]."""

    @property
    def vectors_per_patch(self) -> int:
        """Return the number of vectors into which a patch is cut."""
        c, h, w = self.shape
        return c * h * w // self.vector_size


class Pixels(Features):
    """Use the pixels of grey images as features. A patch is an image, and a vector has all pixels of an image.

    Args:
        size: width and height of an image in pixels.
    """

    kind = "images"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.shape, self.vector_size = (1, size, size), size * size

    def items(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the images [N, 1, size, size] and their labels [N]."""
        return batch.pixels, batch.labels

    def vectors(self, patches: Tensor) -> Tensor:
        """Flatten images to vectors of pixels. Shape: [N, 1, size, size] -> [N, size * size]."""
        return patches.flatten(start_dim=1)

    def patches(self, vectors: Tensor) -> Tensor:
        """Convert vectors of pixels to images. Shape: [N, size * size] -> [N, 1, size, size]."""
        return vectors.view(-1, *self.shape)


class Spectra(Features):
    """Use the STFT magnitudes of each target source as features. A vector is one frame of one channel.

    Args:
        sample_rate: sample rate of the waveforms in Hz.
        channels: number of channels of the waveforms, 1 or 2.
        chunk_seconds: length of a patch in seconds.
        stft: STFT from which the magnitudes are computed.
        bins: number of bins that are kept, starting at 0 Hz. All higher bins are silent after reconstruction.
        magnitude: scale of the magnitudes. `linear`: a sine of full scale gets the value 1. `log`: levels in dB are mapped to
            [0, 1]. A sine of full scale gets the value 1; bins of the level `floor_db` and quieter bins get the value 0.
        floor_db: lowest level of the scale `log` in dB, below 0. A sine of full scale has the level 0 dB.

    Raises:
        InputError: an argument is out of range.
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
            raise InputError(
                "bins",
                f"this number of bins does not fit an STFT with n_fft = {stft.n_fft}",
                found=bins,
                expected=f"1 to {stft.n_fft // 2 + 1}",
            )
        if channels not in (1, 2):
            raise InputError("channels", found=channels, expected="1 or 2")
        if not -math.inf < floor_db < 0:
            raise InputError("floor_db", found=floor_db, expected="a finite number of dB below 0")
        self.sample_rate, self.channels, self.stft = sample_rate, channels, stft
        self.magnitude, self.floor_db = magnitude, floor_db
        self.shape, self.vector_size = (channels, bins, stft.frames(round(chunk_seconds * sample_rate))), bins
        self.full_scale = float(stft.window.sum()) / 2

    def items(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Compute N patches [N, C, H, W] from all sources in a batch, and for each patch the index of its source [N]."""
        sources = batch.sources
        spectra = self.analyse(sources.flatten(0, 1))
        patches = self.cut(spectra)
        labels = torch.arange(sources.shape[1], device=sources.device).repeat(len(sources))
        return patches, labels.repeat_interleave(len(patches) // len(labels))

    def analyse(self, waveforms: Tensor) -> Tensor:
        """Compute the magnitudes of waveforms in the scale `magnitude`. Shape: [N, C, samples] -> [N, C, bins, frames]."""
        relative = self.stft(waveforms).abs()[..., : self.vector_size, :] / self.full_scale
        if self.magnitude == "linear":
            return relative
        return (1 - 20 * relative.clamp(min=1e-12).log10() / self.floor_db).clamp(0, 1)

    def magnitudes(self, spectra: Tensor) -> Tensor:
        """Convert features to STFT magnitudes. The features contain only the lowest bins; all higher bins become 0.

        Shape: [..., bins, T] -> [..., n_fft // 2 + 1, T].
        """
        if self.magnitude == "linear":
            relative = spectra.clamp(min=0)
        else:
            relative = torch.where(spectra > 0, 10 ** ((1 - spectra) * self.floor_db / 20), 0)
        return functional.pad(relative * self.full_scale, (0, 0, 0, self.stft.n_fft // 2 + 1 - self.vector_size))

    def cut(self, spectra: Tensor) -> Tensor:
        """Cut each spectrum along time into n patches of W frames. The last patch is padded with silence.

        Shape:
            [N, C, H, frames] -> [N * n, C, H, W], with H frequency bins.
        """
        c, h, w = self.shape
        padded = functional.pad(spectra, (0, -spectra.shape[-1] % w))
        return padded.unflatten(-1, (-1, w)).permute(0, 3, 1, 2, 4).reshape(-1, c, h, w)

    def join(self, patches: Tensor, frames: int) -> Tensor:
        """Join patches to one spectrum of `frames` frames, the inverse of `cut`. Shape: [n, C, H, W] -> [C, H, frames]."""
        return patches.permute(1, 2, 0, 3).flatten(-2)[..., :frames]

    def vectors(self, patches: Tensor) -> Tensor:
        """Cut patches into vectors, one for each frame and channel. Shape: [N, C, H, W] -> [N * C * W, H]."""
        return patches.transpose(-1, -2).reshape(-1, self.vector_size)

    def patches(self, vectors: Tensor) -> Tensor:
        """Join vectors, which are frames of single channels, to patches. Shape: [N * C * W, H] -> [N, C, H, W]."""
        c, h, w = self.shape
        return vectors.view(-1, c, w, h).transpose(-1, -2)
