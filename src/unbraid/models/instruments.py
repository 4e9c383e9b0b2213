"""Use trained DDSP synthesizers from Python: synthesise sound, and extract pitch and loudness from other sounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from unbraid.data.controls import Controls, Extraction
from unbraid.dsp.pitch import HIGHEST_HZ, LOWEST_HZ
from unbraid.nets.ddsp import Instrument
from unbraid.runs.config import build, check, node_at
from unbraid.runs.errors import InputError, check_seed
from unbraid.runs.weights import checkpoint_path, rebuilt

BUILT = ("unbraid.nets.ddsp", "unbraid.data.controls", "unbraid.dsp.pitch")
RATE_TOLERANCE = 1e-3  # relative difference up to which two rates of control points count as equal


@dataclass
class Player:
    """Play a trained DDSP synthesizer of one instrument on the CPU.

    Args:
        instrument: trained network that maps pitch and loudness to sound.
        features: extraction of pitch and loudness from recordings.
        folder: run folder from which the instrument was loaded.
        config: config of the training run.
    """

    instrument: Instrument
    features: Extraction
    folder: Path
    config: DictConfig

    @property
    def sample_rate(self) -> int:
        """Return the sample rate of the sound in Hz."""
        return self.instrument.sample_rate

    @property
    def frames_per_second(self) -> float:
        """Return the number of control points per second."""
        return self.instrument.sample_rate / self.instrument.hop_length

    def synthesise(
        self, f0: Tensor | Sequence[float], loudness: Tensor | Sequence[float], frames_per_second: float | None = None,
        timbre: Tensor | None = None, reverb: bool = True, seed: int = 0,
    ) -> Tensor:  # fmt: skip
        """Synthesise sound from pitch and loudness.

        Args:
            f0: pitch at each control point in Hz, from 20 to 4000. Silent control points need a pitch, too.
            loudness: A-weighted loudness at each control point in dB, as measured by `unbraid.dsp.synthesis.loudness`.
            frames_per_second: number of control points per second of both curves. It must equal `frames_per_second` of the
                instrument. None: the number is not checked.
            timbre: waveform from which the latent (values that describe the timbre) is computed. The waveform has the sample
                rate of the instrument, and is at least as long as the curves. Pass None if the instrument has no latent.
            reverb: True to apply the reverberation that the instrument has learned.
            seed: random seed of the noise.

        Shape:
            f0 and loudness [F], timbre [samples] -> [F * sample_rate / frames_per_second]; F is the number of control points.

        Returns:
            The waveform.

        Raises:
            InputError: an argument has the wrong shape, is not finite, or is out of range.
        """
        hz, level = (torch.as_tensor(values, dtype=torch.float32) for values in (f0, loudness))
        if hz.ndim != 1 or hz.shape != level.shape or not len(hz):
            shapes = f"shapes {[*hz.shape]} and {[*level.shape]}"
            raise InputError("f0 and loudness", found=shapes, expected="two curves with the same number of control points")
        if frames_per_second is not None and abs(frames_per_second / self.frames_per_second - 1) > RATE_TOLERANCE:
            raise InputError(
                "frames_per_second",
                "the rate of the control points differs from the rate in training",
                found=f"{frames_per_second:g}",
                expected=f"{self.frames_per_second:g} control points per second",
            )
        check_pitch(hz, "f0")
        check_seed(seed)
        if not level.isfinite().all():
            raise InputError("loudness", "the curve contains NaN or infinite values")
        pieces = self.instrument.perform(hz, level, self._coefficients(timbre, len(hz)), seed=seed, dry=not reverb)
        return torch.cat([sound for sound, _ in pieces])

    def _coefficients(self, timbre: Tensor | None, points: int) -> Tensor | None:
        if self.instrument.timbre is None:
            if timbre is not None:
                problem = "this instrument cannot take its timbre from a waveform, because it lacks a latent for the timbre"
                raise InputError("timbre", problem, found="a waveform", expected="None")
            return None
        if timbre is None or timbre.ndim != 1:
            found = "None" if timbre is None else f"a tensor of shape {[*timbre.shape]}"
            raise InputError(
                "timbre",
                "this instrument computes its timbre from a waveform",
                found=found,
                expected="a waveform of shape [samples]",
            )
        coefficients = self.instrument.coefficients(timbre[None])[0]
        if len(coefficients) < points:
            raise InputError(
                "timbre",
                "the waveform is shorter than the curve 'f0'",
                found=f"a waveform as long as {len(coefficients)} control points",
                expected=f"at least {points}, the number of control points of 'f0'",
            )
        return coefficients[:points]

    def listen(self, waveform: Tensor, sample_rate: int) -> Controls:
        """Extract pitch and loudness from a sound, for example to play the same melody with this instrument.

        Args:
            waveform: waveform of one channel.
            sample_rate: sample rate of the waveform in Hz.

        Shape:
            [samples] -> three curves [samples // hop_length + 1].

        Returns:
            Pitch in Hz, loudness in dB and periodicity (confidence of the pitch) at each control point.

        Raises:
            InputError: the sample rate differs from the sample rate of the instrument, the waveform has more than one
                dimension, or a sample is NaN or infinite.
        """
        if sample_rate != self.sample_rate:
            raise InputError(
                "sample_rate",
                "the sample rate differs from training",
                found=sample_rate,
                expected=f"{self.sample_rate} Hz",
                hint="Resample the waveform.",
            )
        if waveform.ndim != 1:
            raise InputError("waveform", "wrong shape", found=[*waveform.shape], expected="one dimension, [samples]")
        if not waveform.isfinite().all():
            raise InputError("waveform", "the waveform contains NaN or infinite values")
        return self.features.settled(self.features(waveform.float()))


def check_pitch(hz: Tensor, name: str) -> None:
    """Check that an instrument can play all values of a pitch curve.

    Args:
        hz: pitch in Hz at each control point.
        name: name of the argument or file with the pitch, for the error message.

    Raises:
        InputError: a value is outside 20 to 4000 Hz.
    """
    lowest, highest = float(hz.min()), float(hz.max())
    if not (lowest >= LOWEST_HZ and highest <= HIGHEST_HZ):  # false for NaN, too
        found = f"{lowest:.4g} to {highest:.4g} Hz"
        raise InputError(name, "the pitch is out of range", found=found, expected=f"{LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz")


def is_instrument(config: DictConfig) -> bool:
    """Return whether the config of a run describes a DDSP instrument, not a separator or autoencoder."""
    return node_at(config, "model.net._target_") == f"{Instrument.__module__}.{Instrument.__name__}"


def load_player(config: DictConfig, folder: Path, checkpoint: str) -> Player:
    """Load the DDSP synthesizer that a run has trained.

    Configs of other people are safe to load, because only classes of the modules in `BUILT` are created.

    Args:
        config: config of the run.
        folder: folder of the run.
        checkpoint: `best`, `last` or the path of a checkpoint file.

    Returns:
        A `Player` with the synthesizer in evaluation mode.

    Raises:
        InputError: the config names a class outside of `BUILT`, or the weights do not fit the model of the config.
    """
    check(OmegaConf.create({"features": config.get("features"), "net": config.model.net}), _InstrumentConfig, BUILT)
    features = build(config.features)
    if not isinstance(features, Extraction):
        raise InputError(
            f"{folder}/config.yaml",
            "the run is not an instrument, because the class in 'features' does not extract pitch and loudness",
            found=type(features).__name__,
            expected=Extraction.__name__,
        )
    make = build(config.model.net)
    instrument: Instrument = rebuilt(
        lambda: make(sample_rate=features.sample_rate, hop_length=features.hop_length),
        checkpoint_path(folder, checkpoint),
        part="net",
    )
    return Player(instrument.eval(), features, folder, config)


@dataclass
class _InstrumentConfig:
    features: dict[str, Any]
    net: dict[str, Any]
