"""Baseline for DDSP synthesizers: harmonics and noise with the given pitch and loudness, but with fixed spectra.

The spectrum of the harmonics and the spectrum of the noise are fitted to training data. The baseline has neither memory nor
reverberation. A DDSP network (`nets.ddsp`) can be better for two reasons only: its spectra change over time, and it has learned
a reverberation.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unbraid.data.controls import Controls, Extraction, sounding
from unbraid.dsp.stft import STFT
from unbraid.dsp.synthesis import a_weighting_db, audible, filtered_noise, oscillators, white_noise

PIECE_SECONDS, PIECES = 1.0, 32  # length and number of the pieces of training data to which the spectra are fitted
BATCH, STEPS, RATE = 2, 80, 0.1  # pieces in a step, number of steps and learning rate of the fit
FIRST_NOISE = 10 ** (-45 / 20)  # gain of all noise bands before the fit; the amplitudes of the harmonics sum to 1


class Piece(NamedTuple):
    """Hold one second of training data: sound, pitch and loudness.

    Pitch (`f0`) in Hz and loudness in dB are given at F + 1 control points. The distance of two control points is `hop_length`
    samples.

    Shape: sound [F * hop_length], f0 and loudness [F + 1].
    """

    sound: Tensor
    f0: Tensor
    loudness: Tensor


class Sample:
    """Keep at most `PIECES` random pieces of the training data.

    Each piece that was passed to `offer` has the same probability to be kept (reservoir sampling).
    """

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.offered, self.generator = 0, torch.Generator().manual_seed(0)

    def offer(self, piece: Piece) -> None:
        """Store a piece if fewer than `PIECES` pieces are stored.

        Otherwise, decide at random: drop the new piece, or replace a stored piece by the new piece.
        """
        self.offered += 1
        if len(self.pieces) < PIECES:
            self.pieces.append(piece)
        elif (index := int(torch.randint(self.offered, (), generator=self.generator))) < PIECES:
            self.pieces[index] = piece


class ConstantSpectrum:
    """Synthesise harmonics and noise at the given pitch and loudness. The spectra of the harmonics and of the noise are fixed.

    Args:
        distribution: relative amplitudes of the harmonics. The amplitudes are scaled so that their sum is 1.
        noise: gains of the noise bands from 0 Hz to half the sample rate, relative to the sum of the amplitudes of the
            harmonics.
        features: object that extracts pitch and loudness from sound. It also defines the sample rate and the hop length.

    Shape:
        distribution [K] for K harmonics, noise [bands].
    """

    def __init__(self, distribution: Tensor, noise: Tensor, features: Extraction) -> None:
        self.distribution, self.noise = distribution, noise
        self.features, self.rate, self.hop_length = features, features.sample_rate, features.hop_length

    @classmethod
    def of(
        cls, sounds: Iterable[tuple[Tensor, Controls]], harmonics: int, bands: int, features: Extraction, loss: nn.Module
    ) -> "ConstantSpectrum":
        """Fit the spectra of harmonics and noise to training data.

        The fit starts with the mean relative amplitudes of the harmonics in the training data.

        Args:
            sounds: pairs of a waveform [samples] and its controls: pitch and loudness [F] at F control points.
            harmonics: number of harmonics.
            bands: number of noise bands.
            features: object that extracts pitch and loudness from sound. It also defines the sample rate and the hop length.
            loss: loss between two waveforms. To compare with a DDSP instrument, use the loss that trains the instrument.

        Returns:
            The fitted baseline. If all sounds are shorter than one second, the baseline has the start values of the fit.
        """
        total, count = torch.zeros(harmonics), torch.zeros(harmonics)
        sample = Sample()
        for sound, controls in sounds:
            shares, is_audible = _shares(sound, controls, harmonics, features)
            total, count = total + shares.sum(dim=0), count + is_audible.sum(dim=0)
            for piece in _pieces(sound, controls, features):
                sample.offer(piece)
        mean = total / count.clamp(min=1)
        first = cls(mean / mean.sum().clamp(min=1e-7), torch.full((bands,), FIRST_NOISE), features)
        return first.fitted(sample.pieces, loss) if sample.pieces else first

    @torch.enable_grad()
    def fitted(self, pieces: list[Piece], loss: nn.Module) -> "ConstantSpectrum":
        """Fit the spectra of harmonics and noise to pieces of training data.

        The logarithms of the spectra are fitted by gradient descent. The result is deterministic.
        """
        logs = [part.clamp(min=1e-4).log().requires_grad_() for part in (self.distribution, self.noise)]
        optimizer = torch.optim.Adam(logs, RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        generator = torch.Generator().manual_seed(0)
        for step in range(STEPS):
            batch = [pieces[(BATCH * step + i) % len(pieces)] for i in range(BATCH)]
            sound, f0, level = (torch.stack(parts) for parts in zip(*batch, strict=True))
            distribution, noise = (part.exp() for part in logs)
            played = ConstantSpectrum(distribution, noise, self.features).play(f0, level, generator)
            optimizer.zero_grad()
            loss(played, sound).backward()
            optimizer.step()
            schedule.step()
        distribution, noise = (part.detach().exp() for part in logs)
        return ConstantSpectrum(distribution, noise, self.features)

    def __call__(self, controls: Controls) -> Tensor:
        """Synthesise a sound from pitch and loudness at F control points. Shape: [F] -> [F * hop_length]."""
        f0, level = (torch.cat([curve, curve[-1:]])[None] for curve in (controls.f0, controls.loudness))
        return self.play(f0, level, torch.Generator().manual_seed(0))[0]

    def play(self, f0: Tensor, loudness: Tensor, generator: torch.Generator) -> Tensor:
        """Synthesise sound with pitch `f0` in Hz and loudness in dB. Shape: each [B, F + 1] -> [B, F * hop_length]."""
        order = torch.arange(1, len(self.distribution) + 1)
        amplitudes = audible(f0, len(order), self.rate) * self.distribution
        amplitudes = amplitudes / amplitudes.sum(dim=-1, keepdim=True).clamp(min=1e-7)
        weights = 10 ** (a_weighting_db((f0[..., None] * order).flatten()) / 10).view_as(amplitudes)
        band_weights = 10 ** (a_weighting_db(torch.linspace(0, self.rate / 2, len(self.noise))) / 10)
        power = (amplitudes.square() * weights / 2).sum(dim=-1) + (self.noise.square() * band_weights).mean()
        gain = 10 ** ((loudness - 10 * power.clamp(min=1e-12).log10()) / 20)[..., None]
        tone, _ = oscillators(f0, gain * amplitudes, self.hop_length, self.rate)
        breath, _ = filtered_noise((gain * self.noise)[:, :-1], white_noise(tone, tone.shape[1], generator))
        return tone + breath


def _pieces(sound: Tensor, controls: Controls, features: Extraction) -> Iterable[Piece]:
    """Cut a track into pieces of one second. Yield each piece in which more than half of the control points are not silent."""
    hop, sounds = features.hop_length, sounding(controls.loudness)
    points = round(PIECE_SECONDS * features.sample_rate / hop)
    for start in range(0, len(controls.f0) - points, points):
        ends = slice(start, start + points + 1)
        samples = sound[start * hop : (start + points) * hop]
        if len(samples) == points * hop and sounds[ends].float().mean() > 0.5:
            yield Piece(samples.clone(), controls.f0[ends], controls.loudness[ends])


def _shares(sound: Tensor, controls: Controls, harmonics: int, features: Extraction) -> tuple[Tensor, Tensor]:
    """Measure the share of each harmonic: its amplitude divided by the sum of all amplitudes of harmonics.

    Control points without a pitch are left out.

    Return two arrays [points, harmonics]: the shares, and booleans. A boolean is True if the frequency of the harmonic is below
    half the sample rate.
    """
    size = 1 << math.ceil(math.log2(features.sample_rate / 8))
    magnitudes = STFT(size, features.hop_length)(sound).abs()
    voiced = features.voiced(controls)
    f0 = controls.f0[voiced]
    is_audible = audible(f0, harmonics, features.sample_rate)
    bins = (f0[:, None] * torch.arange(1, harmonics + 1) * size / features.sample_rate).round().long()
    near = (bins[..., None] + torch.arange(-1, 2)).clamp(0, size // 2)
    peaks = magnitudes.T[: len(voiced)][voiced].unsqueeze(1).expand(-1, harmonics, -1).gather(2, near).amax(dim=-1) * is_audible
    return peaks / peaks.sum(dim=1, keepdim=True).clamp(min=1e-9), is_audible
