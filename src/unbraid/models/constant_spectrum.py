"""The baseline of instruments: pitch and loudness as asked for, one spectrum of harmonics and one of noise, both fitted.

It has neither a state nor a room: what a network is better by, it owes to spectra that change and to its room, if it has one.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unbraid.data.controls import Controls, Extraction, sounding
from unbraid.dsp.stft import STFT
from unbraid.dsp.synthesis import a_weighting_db, audible, filtered_noise, oscillators, white_noise

PIECE_SECONDS, PIECES = 1.0, 32  # of training data, to which the spectra are fitted
BATCH, STEPS, RATE = 2, 80, 0.1
FIRST_NOISE = 10 ** (-45 / 20)  # gain of all noise bands at the start, of harmonics whose amplitudes sum to 1


class Piece(NamedTuple):
    """A stretch of training data. Shape: sound [F * hop_length], f0 in Hz and loudness in dB [F + 1]."""

    sound: Tensor
    f0: Tensor
    loudness: Tensor


class Sample:
    """Keeps `PIECES` of the pieces that it is offered, each with the same chance (reservoir sampling)."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.offered, self.generator = 0, torch.Generator().manual_seed(0)

    def offer(self, piece: Piece) -> None:
        """Keep the piece, instead of another one if there are enough, or drop it."""
        self.offered += 1
        if len(self.pieces) < PIECES:
            self.pieces.append(piece)
        elif (place := int(torch.randint(self.offered, (), generator=self.generator))) < PIECES:
            self.pieces[place] = piece


class ConstantSpectrum:
    """An instrument whose harmonics and noise have one spectrum each, at the pitch and loudness asked for.

    Args:
        distribution: amplitudes of the harmonics, which are scaled to sum to 1.
        noise: gains of the noise bands from 0 Hz to half the sample rate, relative to that sum.
        features: sample rate and grid of the controls.

    Shape:
        distribution [K], noise [bands].
    """

    def __init__(self, distribution: Tensor, noise: Tensor, features: Extraction) -> None:
        self.distribution, self.noise = distribution, noise
        self.features, self.rate, self.hop_length = features, features.sample_rate, features.hop_length

    @classmethod
    def of(
        cls, sounds: Iterable[tuple[Tensor, Controls]], harmonics: int, bands: int, features: Extraction, loss: nn.Module
    ) -> "ConstantSpectrum":
        """Fit both spectra to training data, from the mean distribution over harmonics on.

        Args:
            sounds: sounds [samples] and their controls [F].
            harmonics: number of harmonics.
            bands: number of noise bands.
            features: sample rate and grid of the controls.
            loss: loss of two waveforms, the instrument's own.
        """
        total, count = torch.zeros(harmonics), torch.zeros(harmonics)
        kept = Sample()
        for sound, controls in sounds:
            shares, there = _shares(sound, controls, harmonics, features)
            total, count = total + shares.sum(dim=0), count + there.sum(dim=0)
            for piece in _pieces(sound, controls, features):
                kept.offer(piece)
        mean = total / count.clamp(min=1)
        first = cls(mean / mean.sum().clamp(min=1e-7), torch.full((bands,), FIRST_NOISE), features)
        return first.fitted(kept.pieces, loss) if kept.pieces else first

    @torch.enable_grad()
    def fitted(self, pieces: list[Piece], loss: nn.Module) -> "ConstantSpectrum":
        """Return the instrument after gradient descent on the logarithms of both spectra; the same pieces, the same result."""
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
        """Shape: [F] -> [F * hop_length]."""
        f0, level = (torch.cat([curve, curve[-1:]])[None] for curve in (controls.f0, controls.loudness))
        return self.play(f0, level, torch.Generator().manual_seed(0))[0]

    def play(self, f0: Tensor, loudness: Tensor, generator: torch.Generator) -> Tensor:
        """Return sound of this pitch in Hz and loudness in dB. Shape: [B, F + 1] both -> [B, F * hop_length]."""
        order = torch.arange(1, len(self.distribution) + 1)
        heard = audible(f0, len(order), self.rate) * self.distribution
        heard = heard / heard.sum(dim=-1, keepdim=True).clamp(min=1e-7)
        weights = 10 ** (a_weighting_db((f0[..., None] * order).flatten()) / 10).view_as(heard)
        band_weights = 10 ** (a_weighting_db(torch.linspace(0, self.rate / 2, len(self.noise))) / 10)
        power = (heard.square() * weights / 2).sum(dim=-1) + (self.noise.square() * band_weights).mean()
        gain = 10 ** ((loudness - 10 * power.clamp(min=1e-12).log10()) / 20)[..., None]
        tone, _ = oscillators(f0, gain * heard, self.hop_length, self.rate)
        air, _ = filtered_noise((gain * self.noise)[:, :-1], white_noise(tone, tone.shape[1], generator))
        return tone + air


def _pieces(sound: Tensor, controls: Controls, features: Extraction) -> Iterable[Piece]:
    """Yield the pieces of a track in which something sounds most of the time."""
    hop, there = features.hop_length, sounding(controls.loudness)
    points = round(PIECE_SECONDS * features.sample_rate / hop)
    for start in range(0, len(controls.f0) - points, points):
        ends = slice(start, start + points + 1)
        samples = sound[start * hop : (start + points) * hop]
        if len(samples) == points * hop and there[ends].float().mean() > 0.5:
            yield Piece(samples.clone(), controls.f0[ends], controls.loudness[ends])


def _shares(sound: Tensor, controls: Controls, harmonics: int, features: Extraction) -> tuple[Tensor, Tensor]:
    """Return the share of each harmonic at each voiced point, and whether it is audible. Shape: [points, harmonics] both."""
    size = 1 << math.ceil(math.log2(features.sample_rate / 8))
    magnitudes = STFT(size, features.hop_length)(sound).abs()
    voiced = features.voiced(controls)
    f0 = controls.f0[voiced]
    there = audible(f0, harmonics, features.sample_rate)
    bins = (f0[:, None] * torch.arange(1, harmonics + 1) * size / features.sample_rate).round().long()
    near = (bins[..., None] + torch.arange(-1, 2)).clamp(0, size // 2)
    peaks = magnitudes.T[: len(voiced)][voiced].unsqueeze(1).expand(-1, harmonics, -1).gather(2, near).amax(dim=-1) * there
    return peaks / peaks.sum(dim=1, keepdim=True).clamp(min=1e-9), there
