"""A trained instrument, as a library uses it: played by pitch and loudness, which it finds in other sounds, too."""

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
from unbraid.runs.config import build, check, checkpoint_path, node_at
from unbraid.runs.errors import InputError, check_seed
from unbraid.runs.weights import rebuilt

BUILT = ("unbraid.nets.ddsp", "unbraid.data.controls", "unbraid.dsp.pitch")
SAME_GRID = 1e-3  # share by which two rates of control points may differ


@dataclass
class Player:
    """An instrument with its weights, on the CPU.

    Args:
        instrument: pitch and loudness to sound.
        features: how it finds them in other sounds.
        folder: of the run.
        config: of the run.
    """

    instrument: Instrument
    features: Extraction
    folder: Path
    config: DictConfig

    @property
    def sample_rate(self) -> int:
        """Of what it plays, in Hz."""
        return self.instrument.sample_rate

    @property
    def frames_per_second(self) -> float:
        """Control points."""
        return self.instrument.sample_rate / self.instrument.hop_length

    def synthesise(
        self, f0: Tensor | Sequence[float], loudness: Tensor | Sequence[float], frames_per_second: float | None = None,
        timbre: Tensor | None = None, reverb: bool = True, seed: int = 0,
    ) -> Tensor:  # fmt: skip
        """Play.

        Args:
            f0: at each control point, in Hz; where nothing shall sound too.
            loudness: A-weighted, in dB, as `unbraid.dsp.synthesis.loudness` measures it.
            frames_per_second: of these points, if it is to be checked.
            timbre: of an instrument with a latent: a sound at `sample_rate` of the same length, from which it is taken.
            reverb: with the room.
            seed: of the noise.

        Shape:
            [F], [F], timbre [samples] -> [F * sample_rate / frames_per_second].

        Raises:
            InputError: the points are not as many, not numbers, on another grid, or the pitch lies outside 20 to 4000 Hz.
        """
        hz, level = (torch.as_tensor(values, dtype=torch.float32) for values in (f0, loudness))
        if hz.ndim != 1 or hz.shape != level.shape or not len(hz):
            raise InputError(f"f0 and loudness: expected the same number of points, found {[*hz.shape]} and {[*level.shape]}")
        if frames_per_second is not None and abs(frames_per_second / self.frames_per_second - 1) > SAME_GRID:
            raise InputError(f"frames_per_second={frames_per_second:g}: the instrument has {self.frames_per_second:g}")
        check_pitch(hz, "f0")
        check_seed(seed)
        if not level.isfinite().all():
            raise InputError("loudness: holds NaN or infinite values")
        pieces = self.instrument.perform(hz, level, self._coefficients(timbre, len(hz)), seed=seed, dry=not reverb)
        return torch.cat([sound for sound, _ in pieces])

    def _coefficients(self, timbre: Tensor | None, points: int) -> Tensor | None:
        if self.instrument.timbre is None:
            if timbre is not None:
                raise InputError("timbre: the instrument has no latent to take it up")
            return None
        if timbre is None or timbre.ndim != 1:
            raise InputError("timbre: the instrument has a latent, expected a sound [samples] to take it from")
        found = self.instrument.coefficients(timbre[None])[0]
        if len(found) < points:
            raise InputError(f"timbre: has {len(found)} control points, expected {points}")
        return found[:points]

    def listen(self, waveform: Tensor, sample_rate: int) -> Controls:
        """Pitch and loudness of a sound. Shape: [samples] -> [samples // hop_length + 1] each; InputError at another rate."""
        if sample_rate != self.sample_rate:
            raise InputError(f"sample_rate={sample_rate}: the instrument hears at {self.sample_rate} Hz; resample the waveform")
        if waveform.ndim != 1 or not waveform.isfinite().all():
            raise InputError(f"waveform: expected numbers in the shape [samples], found {[*waveform.shape]}")
        return self.features.settled(self.features(waveform.float()))


def check_pitch(hz: Tensor, name: str) -> None:
    """InputError where it is none that an instrument could play."""
    lowest, highest = float(hz.min()), float(hz.max())
    if not (lowest >= LOWEST_HZ and highest <= HIGHEST_HZ):  # NaN is neither
        found = f"{lowest:.4g} to {highest:.4g}"
        raise InputError(f"{name}: expected pitch from {LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz, found {found}")


def is_instrument(config: DictConfig) -> bool:
    """Whether a run's config is of one."""
    return node_at(config, "model.net._target_") == f"{Instrument.__module__}.{Instrument.__name__}"


def load_player(config: DictConfig, folder: Path, checkpoint: str) -> Player:
    """Of a run of an instrument, however hostile its config.

    Raises:
        InputError: the config names what may not be built, or the weights are of another model.
    """
    check(OmegaConf.create({"features": config.get("features"), "net": config.model.net}), _InstrumentConfig, BUILT)
    features = build(config.features)
    if not isinstance(features, Extraction):
        raise InputError(f"{folder}/config.yaml: features are a {type(features).__name__}, expected pitch and loudness")
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
