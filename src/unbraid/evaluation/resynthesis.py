"""Test tracks played again by an instrument, and by one whose spectra never change: scores, audio, pictures."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unbraid import audio
from unbraid.data.controls import Controls, Extraction, sounding
from unbraid.dsp.stft import STFT
from unbraid.evaluation import pictures
from unbraid.models.constant_spectrum import ConstantSpectrum
from unbraid.nets.ddsp import Instrument, Sounding, Training, semitones
from unbraid.runs.config import versions
from unbraid.runs.errors import InputError
from unbraid.scoring.tables import statistics_of

LEAST_VOICED = 0.5  # of what sounds in training data
MEASURES = ("loss", "f0 error (cents)", "loudness error (dB)", "voiced")


class Resyntheses:
    """How an instrument is tested.

    Args:
        clips: how many test tracks, from the first on, leave audio and pictures.
    """

    def __init__(self, clips: int) -> None:
        if clips < 0:
            raise InputError(f"clips must be at least 0, found {clips}")
        self.clips = clips

    @torch.no_grad()
    def scores(
        self, instrument: Instrument, loss: nn.Module, features: Extraction, constant: ConstantSpectrum,
        tracks: Iterable[tuple[str, Tensor, Controls]], source: str, folder: Path,
    ) -> dict[str, Any]:  # fmt: skip
        """What `scores.json` holds; audio and pictures are left in the folder.

        Args:
            instrument: with the weights to test.
            loss: of two waveforms.
            features: find pitch and loudness again.
            constant: the baseline.
            tracks: names, sounds [samples] and their controls [F].
            source: its name.
            folder: of the run.
        """
        found: dict[str, dict[str, dict[str, float | None]]] = {}
        for number, (name, sound, controls) in enumerate(tracks):
            played, asked = render(instrument, controls, sound)
            plain = constant(controls)[: len(sound)]
            heard = {"input": sound, "resynthesis": played, "constant spectrum": plain}
            found[name] = {
                row: measures(heard[row], sound, controls, loss, features) for row in ("resynthesis", "constant spectrum")
            }
            if number < self.clips:
                _leave_audio(folder / "audio" / name, heard, features)
                _draw(folder / "pictures", name, heard, controls, asked, features)
        rows = {row: {source: _summary([one[row] for one in found.values()])} for row in ("resynthesis", "constant spectrum")}
        return {
            "protocol": {"name": "resynthesis", "loss": type(loss).__name__, "pitch": repr(features.pitch)},
            "summary": rows["resynthesis"],
            "constant": rows["constant spectrum"],
            "tracks": {name: {source: one["resynthesis"]} for name, one in found.items()},
            "versions": versions(),
        }

    @torch.no_grad()
    def leave_clips(
        self, instrument: Instrument, chosen: Mapping[str, tuple[Tensor, Controls]], features: Extraction, folder: Path
    ) -> None:
        """Sounds played again as the instrument is now, on its device; a folder for each of them, by its name."""
        device = instrument.training_data.device
        for name, (sound, controls) in chosen.items():
            there = Controls(*(curve.to(device) for curve in controls))
            heard, asked = render(instrument, there, sound.to(device))
            both = {"input": sound, "resynthesis": heard.cpu()}
            _leave_audio(folder / name, both, features)
            _draw(folder / name, name, both, controls, Sounding(*(part.cpu() for part in asked)), features)


def render(instrument: Instrument, controls: Controls, sound: Tensor | None = None) -> tuple[Tensor, Sounding]:
    """As long as the sound. Shape: controls [F], sound [samples] -> [samples], and what was asked for [F, …]."""
    coefficients = None if instrument.timbre is None or sound is None else instrument.coefficients(sound[None])[0]
    pieces = list(instrument.perform(controls.f0, controls.loudness, coefficients))
    whole = torch.cat([piece for piece, _ in pieces])
    asked = Sounding(*(torch.cat(parts, dim=1)[0] for parts in zip(*(asked for _, asked in pieces), strict=True)))
    return (whole if sound is None else whole[: len(sound)]), asked


def measures(
    played: Tensor, sound: Tensor, controls: Controls, loss: nn.Module, features: Extraction
) -> dict[str, float | None]:
    """How far a sound is from the one it shall be, with pitch and loudness found again in it.

    `f0 error (cents)` and `loudness error (dB)` are medians of absolute differences, over the points that are voiced in both,
    and over those where the true sound is more than silence; `voiced` is the share of its voiced points that are so in both.
    """
    again = features(played.cpu())
    true = features.voiced(controls)
    both = true & features.voiced(again)
    cents = 1200 * (again.f0[both] / controls.f0[both]).log2().abs()
    there = sounding(controls.loudness)
    return {
        "loss": float(loss(played[None], sound[None])),
        "f0 error (cents)": float(cents.median()) if both.any() else None,
        "loudness error (dB)": float((again.loudness - controls.loudness)[there].abs().median()) if there.any() else None,
        "voiced": float(both.sum() / true.sum()) if true.any() else None,
    }


def training_of(controls: Sequence[Controls], features: Extraction) -> Training:
    """What an instrument is told of its training data; InputError where there is no pitch in it."""
    pitches = torch.cat([semitones(one.f0[features.voiced(one)]) for one in controls])
    levels = torch.cat([one.loudness[sounding(one.loudness)] for one in controls])
    share = len(pitches) / max(1, len(levels))
    if share < LEAST_VOICED:
        raise InputError(
            f"targets: {share:.0%} of what sounds in the training tracks is voiced, expected one voice at a time, in which at "
            f"least {LEAST_VOICED:.0%} is"
        )
    low, middle, high = _at(pitches, (0.02, 0.5, 0.98))
    return Training(low, middle, high, float(levels.mean()), max(1.0, float(levels.std())))


def _at(values: Tensor, shares: Sequence[float]) -> list[float]:
    """Quantiles of any number of values; torch's own takes no more than 2**24."""
    ordered = values.sort().values
    return [float(ordered[round(share * (len(ordered) - 1))]) for share in shares]


def _leave_audio(folder: Path, heard: Mapping[str, Tensor], features: Extraction) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for row, sound in heard.items():
        audio.write(folder / f"{row}.flac", sound[None].cpu().numpy(), features.sample_rate)


def _draw(
    folder: Path, name: str, heard: Mapping[str, Tensor], controls: Controls, asked: Sounding, features: Extraction
) -> None:
    shown = {row: sound[None] for row, sound in heard.items()}
    pictures.spectrograms(folder / f"{name}.png", name, shown, None, STFT(1024, 256), features.sample_rate)
    seconds = features.hop_length / features.sample_rate
    pictures.controls(folder / f"{name} controls.png", name, curves(controls, asked), seconds)


def curves(controls: Controls, asked: Sounding) -> dict[str, Tensor]:
    """What a picture of controls shows. Shape: [F] or [F, K] each."""
    return {
        "f0 (Hz)": controls.f0,
        "loudness (dB)": controls.loudness,
        "harmonics (dB)": 20 * asked.amplitudes.clamp(min=1e-6).log10(),
        "noise (dB)": 20 * asked.noise.clamp(min=1e-6).log10(),
    }


def _summary(values: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, float | int | None]]:
    return {measure: statistics_of([one[measure] for one in values]) for measure in MEASURES}


def report(scores: Mapping[str, Any], label: str) -> str:
    """Scores as a table."""
    lines = []
    for source, summary in scores["summary"].items():
        count = summary["loss"]["n"]
        lines.append(f"{f'{source} (median of {count} test tracks)':<34}" + "".join(f"{m:>21}" for m in MEASURES))
        for row, found in {label: summary, "constant spectra, fitted": scores["constant"][source]}.items():
            cells = (found[measure]["median"] for measure in MEASURES)
            lines.append(f"  {row:<32}" + "".join(f"{'–' if cell is None else f'{cell:.3f}':>21}" for cell in cells))
    return "\n".join(lines)
