"""The decoder of DDSP, an instrument that is played by pitch and loudness (Engel et al., ICLR 2020), and its synthesiser.

Sound is made at the rate of the training data only. For notes without a recording to learn from, a physical or sampled model is
the better instrument.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp.synthesis import audible, convolve, filtered_noise, mfccs, oscillators, white_noise

MFCCS = 30


class Sounding(NamedTuple):
    """What the decoder asks of the synthesiser at each control point.

    Shape: amplitude [B, F], distribution over harmonics [B, F, K], noise [B, F, bands].
    """

    amplitude: Tensor
    distribution: Tensor
    noise: Tensor

    @property
    def amplitudes(self) -> Tensor:
        """Of each harmonic. Shape: [B, F, K]."""
        return self.amplitude[..., None] * self.distribution


class Training(NamedTuple):
    """What the network was trained on: pitch in MIDI semitones (lowest, median, highest of what sounds), loudness in dB."""

    lowest: float
    median: float
    highest: float
    loudness_mean: float
    loudness_deviation: float


@dataclass
class Playing:
    """Between two pieces of one sound: what the network remembers, where its oscillators stand and what rings on; without the
    room if it is `dry`."""

    dry: bool = False
    noise: torch.Generator | None = None
    hidden: Tensor | None = None
    timbre: Tensor | None = None
    f0: Tensor | None = None
    sounding: Sounding | None = None
    turns: Tensor | None = None
    air: Tensor | None = None
    room: Tensor | None = None


def semitones(hz: Tensor) -> Tensor:
    """MIDI pitch; 69 is 440 Hz."""
    return 69 + 12 * (hz / 440).log2()


def positive(x: Tensor) -> Tensor:
    """2 σ(x)^ln 10 + 1e-7: an amplitude that no gradient makes negative (Engel et al., Eq. 5)."""
    return 2 * torch.sigmoid(x) ** math.log(10) + 1e-7


def mlp(inputs: int, hidden: int, layers: int) -> nn.Sequential:
    """Dense layers, each with layer norm and leaky ReLU."""
    sizes = [inputs, *[hidden] * layers]
    parts = [[nn.Linear(a, b), nn.LayerNorm(b), nn.LeakyReLU()] for a, b in pairwise(sizes)]
    return nn.Sequential(*(part for group in parts for part in group))


class Timbre(nn.Module):
    """The residual latent: MFCCs, normalised in each frame so that it can be heard as it comes, a GRU, some numbers a frame.

    Args:
        hidden: units of the GRU.
        size: of the latent.
    """

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.norm, self.gru, self.out = nn.LayerNorm(MFCCS), nn.GRU(MFCCS, hidden, batch_first=True), nn.Linear(hidden, size)

    def forward(self, coefficients: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Shape: [B, F, 30] -> [B, F, size], and what the GRU remembers."""
        frames, hidden = self.gru(self.norm(coefficients), hidden)
        return self.out(frames), hidden


class Instrument(nn.Module):
    """Pitch and loudness to sound.

    Args:
        sample_rate: in Hz.
        hop_length: samples between control points.
        hidden: units of every dense layer and of the GRU.
        layers: of each stack of dense layers.
        harmonics: of the oscillator bank.
        bands: of the noise filter.
        latent: numbers a frame that tell more of a sound than pitch and loudness do; 0: none.
        reverb_seconds: of the room that is learnt; 0: none.
    """

    training_data: Tensor

    def __init__(
        self, sample_rate: int, hop_length: int, hidden: int, layers: int, harmonics: int, bands: int, latent: int,
        reverb_seconds: float,
    ) -> None:  # fmt: skip
        super().__init__()
        at_least = {"hidden": (hidden, 1), "layers": (layers, 1), "harmonics": (harmonics, 1), "bands": (bands, 2)}
        for name, (value, least) in (at_least | {"latent": (latent, 0), "reverb_seconds": (reverb_seconds, 0)}).items():
            if value < least:
                raise ValueError(f"{name} must be at least {least}, found {value}")
        self.sample_rate, self.hop_length, self.harmonics, self.bands = sample_rate, hop_length, harmonics, bands
        self.of_pitch, self.of_loudness = mlp(1, hidden, layers), mlp(1, hidden, layers)
        self.timbre = Timbre(hidden, latent) if latent else None
        self.of_timbre = mlp(latent, hidden, layers) if latent else None
        inputs = hidden * (3 if latent else 2)
        self.gru = nn.GRU(inputs, hidden, batch_first=True)
        self.after = mlp(hidden + inputs, hidden, layers)
        self.out = nn.Linear(hidden, 1 + harmonics + bands)
        room = round(reverb_seconds * sample_rate)
        self.room = nn.Parameter(1e-6 * torch.randn(room)) if room else None
        self.register_buffer("training_data", torch.tensor([36.0, 60.0, 84.0, -40.0, 20.0]))

    def start_from(self, training: Training) -> None:
        """What loudness is measured by, and what `transfer` moves other voices to; it is part of the weights."""
        self.training_data.copy_(torch.tensor(training))

    @property
    def training_range(self) -> Training:
        return Training(*self.training_data.tolist())

    def forward(self, f0: Tensor, loudness: Tensor, waveform: Tensor | None = None) -> Tensor:
        """Control points at both ends to the sound between them, from silence on.

        Shape: f0 in Hz and loudness in dB [B, F + 1], waveform, for the latent, [B, F * hop_length] -> [B, F * hop_length].
        """
        sound, _ = self.play(f0, loudness, Playing(), None if self.timbre is None else self.coefficients(waveform))
        return sound

    def coefficients(self, waveform: Tensor | None) -> Tensor:
        """MFCCs at the control points. Shape: [B, samples] -> [B, samples // hop_length + 1, 30]."""
        if waveform is None:
            raise ValueError("the instrument has a latent, which is made from a waveform, and none is given")
        return mfccs(waveform, self.sample_rate, self.hop_length, MFCCS)

    def play(
        self, f0: Tensor, loudness: Tensor, state: Playing, coefficients: Tensor | None = None, gate: Tensor | None = None
    ) -> tuple[Tensor, Sounding]:
        """The sound up to the last of these control points; `state`, which is changed, holds what goes on after it.

        The first call of a sound gives one stretch less than it is given points. `gate` scales what sounds at each point.

        Shape: f0, loudness, gate [B, F], coefficients [B, F, 30] -> [B, F * hop_length] or a hop less, and what was asked for.
        """
        new = self.decode(f0, loudness, state, coefficients)
        with torch.autocast(f0.device.type, enabled=False):  # what is heard is made in float32 under any precision
            return self._sound(f0, new, state, gate)

    def _sound(self, f0: Tensor, new: Sounding, state: Playing, gate: Tensor | None) -> tuple[Tensor, Sounding]:
        """See `play`."""
        if gate is not None:
            new = new._replace(amplitude=new.amplitude * gate, noise=new.noise * gate[..., None])
        if state.f0 is not None and state.sounding is not None:
            f0 = torch.cat([state.f0, f0], dim=1)
            whole = Sounding(*(torch.cat(pair, dim=1) for pair in zip(state.sounding, new, strict=True)))
        else:
            whole = new
        state.f0, state.sounding = f0[:, -1:], Sounding(*(part[:, -1:] for part in whole))
        if f0.shape[1] == 1:
            return f0.new_zeros(len(f0), 0), new
        tone, state.turns = oscillators(f0, whole.amplitudes, self.hop_length, self.sample_rate, state.turns)
        noise = white_noise(tone, tone.shape[1], state.noise)
        air, state.air = filtered_noise(whole.noise[:, :-1], noise, state.air)
        sound = tone + air
        if self.room is None or state.dry:
            return sound, new
        # The first sample would be more of the dry sound.
        echo, state.room = convolve(sound, functional.pad(self.room[1:], (1, 0)), state.room)
        return sound + echo, new

    @torch.no_grad()
    def perform(
        self, f0: Tensor, loudness: Tensor, coefficients: Tensor | None = None, gate: Tensor | None = None,
        points: int = 1000, seed: int = 0, dry: bool = False,
    ) -> Iterator[tuple[Tensor, Sounding]]:  # fmt: skip
        """A sound of any length, piece by piece in memory that does not grow; the pieces are the sound made whole.

        Args:
            f0: in Hz.
            loudness: in dB.
            coefficients: see `coefficients`.
            gate: scales what sounds.
            points: control points of a piece.
            seed: of the noise.
            dry: without the room.

        Shape:
            [F] and [F, 30] -> samples, together F * hop_length, and what was asked for [1, points, …], together F.
        """
        state = Playing(dry, torch.Generator(f0.device).manual_seed(seed))

        def piece(start: int, stop: int) -> tuple[Tensor, Sounding]:
            optional = (None if part is None else part[None, start:stop] for part in (coefficients, gate))
            sound, sounding = self.play(f0[None, start:stop], loudness[None, start:stop], state, *optional)
            return sound[0], sounding

        for start in range(0, len(f0), points):
            yield piece(start, start + points)
        sound, sounding = piece(len(f0) - 1, len(f0))  # the last point lasts a hop, too
        yield sound, Sounding(*(part[:, :0] for part in sounding))

    def decode(self, f0: Tensor, loudness: Tensor, state: Playing, coefficients: Tensor | None = None) -> Sounding:
        """Shape: f0, loudness [B, F], coefficients [B, F, 30]."""
        mean, deviation = self.training_data[3], self.training_data[4]
        parts = [
            self.of_pitch(semitones(f0)[..., None] / 127),
            self.of_loudness(((loudness - mean) / deviation)[..., None]),
        ]
        if self.timbre is not None and self.of_timbre is not None:
            assert coefficients is not None
            latent, state.timbre = self.timbre(coefficients, state.timbre)
            parts.append(self.of_timbre(latent))
        inputs = torch.cat(parts, dim=-1)
        remembered, state.hidden = self.gru(inputs, state.hidden)
        out = self.out(self.after(torch.cat([remembered, inputs], dim=-1))).float()
        amplitude, harmonics, noise = out.split([1, self.harmonics, self.bands], dim=-1)
        heard = positive(harmonics) * audible(f0, self.harmonics, self.sample_rate)
        distribution = heard / heard.sum(dim=-1, keepdim=True).clamp(min=1e-7)
        return Sounding(positive(amplitude)[..., 0], distribution, positive(noise - 5))
