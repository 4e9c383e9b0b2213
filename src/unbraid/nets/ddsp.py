"""DDSP (Engel et al., ICLR 2020): a network that maps pitch and loudness to synthesizer parameters, and the synthesizer.

Pitch and loudness are given at control points, one every `hop_length` samples. Training needs recordings of the instrument that
shall be imitated. Without recordings, use a physical model or a sampler instead.
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
from unbraid.runs.errors import InputError

MFCCS = 30  # number of MFCCs from which the latent is computed


class Sounding(NamedTuple):
    """Hold the parameters of the synthesizer at each control point (one every `hop_length` samples).

    Shape:
        B sounds, F control points, K harmonics: amplitude [B, F], distribution of the amplitude over harmonics [B, F, K], gains
        of the noise bands [B, F, bands].
    """

    amplitude: Tensor
    distribution: Tensor
    noise: Tensor

    @property
    def amplitudes(self) -> Tensor:
        """Return the amplitude of each harmonic. Shape: [batch, control points, harmonics]."""
        return self.amplitude[..., None] * self.distribution


class Training(NamedTuple):
    """Hold statistics of pitch and loudness in the recordings with which a DDSP synthesizer was trained.

    `lowest`, `median` and `highest` are pitches in MIDI semitones. Silent parts of the recordings are not counted for these
    pitches. Mean and standard deviation of the loudness are in dB.
    """

    lowest: float
    median: float
    highest: float
    loudness_mean: float
    loudness_deviation: float


@dataclass
class Playing:
    """Hold the state of a synthesizer after a piece of a sound, so that the next piece can follow without a break.

    Args:
        dry: True to synthesize the sound without reverberation.
        noise: random generator of the noise; None: torch's global generator.
        hidden: state of the recurrent layer (GRU) that computes the parameters of the synthesizer.
        timbre: state of the GRU that computes the latent (values that describe the timbre).
        f0: pitch in Hz at the last control point of the piece.
        sounding: parameters of the synthesizer at the last control point of the piece.
        turns: phase of the oscillators after the piece, in turns (1 turn is 2π).
        air: part of the filtered noise after the end of the piece. This part is added to the start of the next piece.
        room: part of the reverberation after the end of the piece. This part is added to the start of the next piece.
    """

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
    """Convert a frequency in Hz to MIDI semitones; 440 Hz is 69."""
    return 69 + 12 * (hz / 440).log2()


def positive(x: Tensor) -> Tensor:
    """Map any value x to a positive amplitude: 2 sigmoid(x)^(ln 10) + 1e-7 (Engel et al., Eq. 5)."""
    return 2 * torch.sigmoid(x) ** math.log(10) + 1e-7


def mlp(inputs: int, hidden: int, layers: int) -> nn.Sequential:
    """Create `layers` dense layers with `hidden` units, each followed by layer norm and leaky ReLU."""
    sizes = [inputs, *[hidden] * layers]
    parts = [[nn.Linear(a, b), nn.LayerNorm(b), nn.LeakyReLU()] for a, b in pairwise(sizes)]
    return nn.Sequential(*(part for group in parts for part in group))


class Timbre(nn.Module):
    """Compute the latent (values that describe the timbre) from MFCCs by layer norm, a GRU and a linear layer.

    MFCCs are normalised within each frame. The latent of a frame therefore does not depend on later frames.

    Args:
        hidden: number of units of the GRU.
        size: number of values of the latent in each frame.
    """

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.norm, self.gru, self.out = nn.LayerNorm(MFCCS), nn.GRU(MFCCS, hidden, batch_first=True), nn.Linear(hidden, size)

    def forward(self, coefficients: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the latent from MFCCs, and the next state of the GRU.

        Shape: [B, F, 30] -> [B, F, size], for B sounds with F control points.
        """
        frames, hidden = self.gru(self.norm(coefficients), hidden)
        return self.out(frames), hidden


class Instrument(nn.Module):
    """DDSP synthesizer: a network that synthesizes the sound of one instrument from pitch and loudness.

    Args:
        sample_rate: sample rate of the sound in Hz.
        hop_length: number of samples between control points.
        hidden: number of units of each dense layer and of the GRU.
        layers: number of dense layers in each multilayer perceptron.
        harmonics: number of harmonic oscillators.
        bands: number of frequency bands of the noise filter.
        latent: number of values of the latent at each control point. The latent describes the timbre and is computed from a
            waveform. 0: without a latent.
        reverb_seconds: length of the learned impulse response of the reverberation in seconds; 0: without reverberation.

    Raises:
        InputError: an argument is out of range.
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
                raise InputError(f"Instrument.{name}", found=value, expected=f"at least {least}")
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
        """Store statistics of the training data in this network. Checkpoints contain these statistics.

        The network standardises the loudness by the mean and standard deviation of the training data. Timbre transfer shifts
        the pitch of a voice into the pitch range of the training data.
        """
        self.training_data.copy_(torch.tensor(training))

    @property
    def training_range(self) -> Training:
        """Return the statistics of pitch and loudness in the training data."""
        return Training(*self.training_data.tolist())

    def forward(self, f0: Tensor, loudness: Tensor, waveform: Tensor | None = None) -> Tensor:
        """Synthesize the sound between the first and the last control point, starting from silence.

        Args:
            f0: pitch in Hz.
            loudness: loudness in dB.
            waveform: sound from which the latent is computed; required if the instrument has a latent.

        Shape:
            f0 and loudness [B, F + 1], waveform [B, F * hop_length] -> [B, F * hop_length], for B sounds with F + 1 control
            points.

        Returns:
            The waveform.
        """
        sound, _ = self.play(f0, loudness, Playing(), None if self.timbre is None else self.coefficients(waveform))
        return sound

    def coefficients(self, waveform: Tensor | None) -> Tensor:
        """Compute the MFCCs of a waveform at the control points, one every `hop_length` samples.

        Args:
            waveform: sound from which the latent is computed.

        Shape:
            [B, samples] -> [B, samples // hop_length + 1, 30].

        Returns:
            The MFCCs.

        Raises:
            InputError: `waveform` is None.
        """
        if waveform is None:
            raise InputError(
                "waveform", "this argument is missing, but this instrument computes its latent (the timbre) from a waveform"
            )
        return mfccs(waveform, self.sample_rate, self.hop_length, MFCCS)

    def play(
        self, f0: Tensor, loudness: Tensor, state: Playing, coefficients: Tensor | None = None, gate: Tensor | None = None
    ) -> tuple[Tensor, Sounding]:
        """Synthesize the next piece of a sound, up to the last given control point.

        A piece starts at the last control point of the previous piece. The first piece starts at its own first control point
        and is therefore one hop shorter.

        Args:
            f0: pitch at each control point in Hz.
            loudness: loudness at each control point in dB.
            state: state of the synthesizer after the previous piece. This method updates the state in place.
            coefficients: MFCCs, required if the instrument has a latent.
            gate: factor of all amplitudes at each control point; None: 1.

        Shape:
            f0, loudness, gate [B, F], coefficients [B, F, 30] -> [B, F * hop_length]. B: sounds, F: control points. The
            first piece has (F - 1) * hop_length samples.

        Returns:
            The sound, and the parameters of the synthesizer at each control point.
        """
        new = self.decode(f0, loudness, state, coefficients)
        with torch.autocast(f0.device.type, enabled=False):  # the synthesizer runs in float32 under any precision
            return self._sound(f0, new, state, gate)

    def _sound(self, f0: Tensor, new: Sounding, state: Playing, gate: Tensor | None) -> tuple[Tensor, Sounding]:
        """Synthesize the next piece of a sound from the parameters of the synthesizer at the control points, see `play`."""
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
        # The first sample of the impulse response is left out: it would only amplify the dry sound.
        echo, state.room = convolve(sound, functional.pad(self.room[1:], (1, 0)), state.room)
        return sound + echo, new

    @torch.no_grad()
    def perform(
        self, f0: Tensor, loudness: Tensor, coefficients: Tensor | None = None, gate: Tensor | None = None,
        points: int = 1000, seed: int = 0, dry: bool = False,
    ) -> Iterator[tuple[Tensor, Sounding]]:  # fmt: skip
        """Synthesize a sound of any length piece by piece. The joined pieces equal the sound that is synthesized at once.

        Args:
            f0: pitch at each control point in Hz.
            loudness: loudness at each control point in dB.
            coefficients: MFCCs from the method `coefficients`, required if the instrument has a latent.
            gate: factor of all amplitudes at each control point; None: 1.
            points: number of control points in a piece.
            seed: random seed of the noise.
            dry: True to synthesize the sound without reverberation.

        Shape:
            f0, loudness and gate [F], coefficients [F, 30], for F control points. All pieces together have F * hop_length
            samples.

        Yields:
            The samples of a piece, and the parameters of the synthesizer at the control points of the piece [1, points, …].
            The last piece is the sound after the last control point. It has no control points.
        """
        state = Playing(dry, torch.Generator(f0.device).manual_seed(seed))

        def piece(start: int, stop: int) -> tuple[Tensor, Sounding]:
            optional = (None if part is None else part[None, start:stop] for part in (coefficients, gate))
            sound, sounding = self.play(f0[None, start:stop], loudness[None, start:stop], state, *optional)
            return sound[0], sounding

        for start in range(0, len(f0), points):
            yield piece(start, start + points)
        sound, sounding = piece(len(f0) - 1, len(f0))  # from the last control point to the end
        yield sound, Sounding(*(part[:, :0] for part in sounding))

    def decode(self, f0: Tensor, loudness: Tensor, state: Playing, coefficients: Tensor | None = None) -> Sounding:
        """Compute the parameters of the synthesizer from pitch and loudness.

        Args:
            f0: pitch at each control point in Hz.
            loudness: loudness at each control point in dB.
            state: state of the GRUs. This method updates the state in place.
            coefficients: MFCCs, required if the instrument has a latent.

        Shape:
            f0, loudness [B, F], coefficients [B, F, 30], for B sounds with F control points.

        Returns:
            The parameters at each control point. Harmonics above half the sample rate have the amplitude 0.

        Raises:
            InputError: the instrument has a latent, and `coefficients` is None.
        """
        mean, deviation = self.training_data[3], self.training_data[4]
        parts = [
            self.of_pitch(semitones(f0)[..., None] / 127),
            self.of_loudness(((loudness - mean) / deviation)[..., None]),
        ]
        if self.timbre is not None and self.of_timbre is not None:
            if coefficients is None:
                raise InputError(
                    "coefficients", "this argument is missing, but this instrument computes its latent (the timbre) from MFCCs"
                )
            latent, state.timbre = self.timbre(coefficients, state.timbre)
            parts.append(self.of_timbre(latent))
        inputs = torch.cat(parts, dim=-1)
        memory, state.hidden = self.gru(inputs, state.hidden)
        out = self.out(self.after(torch.cat([memory, inputs], dim=-1))).float()
        amplitude, harmonics, noise = out.split([1, self.harmonics, self.bands], dim=-1)
        amplitudes = positive(harmonics) * audible(f0, self.harmonics, self.sample_rate)
        distribution = amplitudes / amplitudes.sum(dim=-1, keepdim=True).clamp(min=1e-7)
        return Sounding(positive(amplitude)[..., 0], distribution, positive(noise - 5))
