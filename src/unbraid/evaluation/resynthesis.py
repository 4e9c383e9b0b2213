"""Test DDSP synthesizers: resynthesize tracks from their pitch and loudness, and measure the errors.

The baseline is a synthesizer whose spectra are constant over time.
"""

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
from unbraid.runs.errors import InputError
from unbraid.runs.source_version import versions
from unbraid.scoring.tables import interval_lines, statistics_of

LEAST_VOICED = 0.5  # smallest share of voiced points among the points that are not silent
MEASURES = ("loss", "f0 error (cents)", "loudness error (dB)", "voiced")
ROWS = ("resynthesis", "constant spectrum")


class Resyntheses:
    """Test a DDSP synthesizer of one instrument by resynthesis of tracks, and write audio and pictures.

    Args:
        clips: number of test tracks whose audio and pictures are written. The first tracks are used.

    Raises:
        InputError: `clips` is negative.
    """

    def __init__(self, clips: int) -> None:
        if clips < 0:
            raise InputError("clips", found=clips, expected="at least 0")
        self.clips = clips

    @torch.no_grad()
    def scores(
        self, instrument: Instrument, loss: nn.Module, features: Extraction, constant: ConstantSpectrum,
        tracks: Iterable[tuple[str, Tensor, Controls]], source: str, folder: Path,
    ) -> dict[str, Any]:  # fmt: skip
        """Resynthesize the test tracks, measure the errors, and write audio and pictures.

        Args:
            instrument: instrument with the weights to test.
            loss: function that returns the distance of two waveforms.
            features: object that extracts pitch and loudness from a waveform.
            constant: baseline instrument with constant spectra.
            tracks: one triple for each track: name, waveform [samples], and controls (pitch [F] and loudness [F]).
            source: name of the source that the instrument plays, for `scores.json`.
            folder: run folder.

        Returns:
            Content of `scores.json`.
        """
        of_tracks: dict[str, dict[str, dict[str, float | None]]] = {}
        for number, (name, sound, controls) in enumerate(tracks):
            played, synthesis = render(instrument, controls, sound)
            sounds = {"input": sound, "resynthesis": played, "constant spectrum": constant(controls)[: len(sound)]}
            of_tracks[name] = {row: measures(sounds[row], sound, controls, loss, features) for row in ROWS}
            if number < self.clips:
                _write_audio(folder / "audio" / name, sounds, features)
                _draw(folder / "pictures", name, sounds, controls, synthesis, features)
        rows = {row: {source: _summary([track[row] for track in of_tracks.values()])} for row in ROWS}
        return {
            "protocol": {"name": "resynthesis", "loss": type(loss).__name__, "pitch": repr(features.pitch)},
            "summary": rows["resynthesis"],
            "constant": rows["constant spectrum"],
            "tracks": {name: {source: track["resynthesis"]} for name, track in of_tracks.items()},
            "versions": versions(),
        }

    @torch.no_grad()
    def leave_clips(
        self, instrument: Instrument, chosen: Mapping[str, tuple[Tensor, Controls]], features: Extraction, folder: Path
    ) -> None:
        """Resynthesize clips with the current weights, and write audio and pictures to one folder per clip.

        Args:
            instrument: DDSP synthesizer. The computation runs on its device.
            chosen: dictionary from the name of each clip to its waveform [samples] and its controls (pitch [F] and loudness
                [F]).
            features: object that extracted the controls.
            folder: parent of the folders of all clips.
        """
        device = instrument.training_data.device
        for name, (sound, controls) in chosen.items():
            moved = Controls(*(curve.to(device) for curve in controls))
            played, synthesis = render(instrument, moved, sound.to(device))
            sounds = {"input": sound, "resynthesis": played.cpu()}
            _write_audio(folder / name, sounds, features)
            _draw(folder / name, name, sounds, controls, Sounding(*(part.cpu() for part in synthesis)), features)


def render(instrument: Instrument, controls: Controls, sound: Tensor | None = None) -> tuple[Tensor, Sounding]:
    """Synthesize a waveform from controls (pitch and loudness over time).

    Args:
        instrument: DDSP synthesizer.
        controls: pitch and loudness over time.
        sound: original waveform; the synthesized waveform gets the same length. An instrument with a timbre encoder also takes
            the timbre from `sound`. None: the length of the controls is used.

    Returns:
        Synthesized waveform, and the parameters that the network has computed (amplitudes of harmonics and noise).

    Shape:
        controls [F], sound [samples] -> waveform [samples], parameters [F, K]; F points in time, K parameters.
    """
    coefficients = None if instrument.timbre is None or sound is None else instrument.coefficients(sound[None])[0]
    pieces = list(instrument.perform(controls.f0, controls.loudness, coefficients))
    whole = torch.cat([piece for piece, _ in pieces])
    parameters = Sounding(*(torch.cat(parts, dim=1)[0] for parts in zip(*(part for _, part in pieces), strict=True)))
    return (whole if sound is None else whole[: len(sound)]), parameters


def measures(
    played: Tensor, sound: Tensor, controls: Controls, loss: nn.Module, features: Extraction
) -> dict[str, float | None]:
    """Measure the distance between a resynthesized sound and the original sound.

    Args:
        played: resynthesized waveform.
        sound: original waveform.
        controls: pitch and loudness of the original waveform.
        loss: function that returns the distance of two waveforms.
        features: object that extracts pitch and loudness from the resynthesized waveform.

    Returns:
        Dictionary of four measures. `loss`: distance of the waveforms. `f0 error (cents)`: median absolute difference of pitch
        over the points in time at which both sounds have a pitch. `loudness error (dB)`: median absolute difference of loudness
        over the points at which the original sound is not silent. `voiced`: of all points at which the original sound has a
        pitch, the share at which the resynthesized sound also has a pitch. Each of the last three measures is
        None if there are no points over which it is computed.

    Shape:
        played [samples], sound [samples], controls [F].
    """
    measured = features(played.cpu())
    true = features.voiced(controls)
    both = true & features.voiced(measured)
    cents = 1200 * (measured.f0[both] / controls.f0[both]).log2().abs()
    audible = sounding(controls.loudness)
    decibels = (measured.loudness - controls.loudness)[audible].abs()
    return {
        "loss": float(loss(played[None], sound[None])),
        "f0 error (cents)": float(cents.median()) if both.any() else None,
        "loudness error (dB)": float(decibels.median()) if audible.any() else None,
        "voiced": float(both.sum() / true.sum()) if true.any() else None,
    }


def training_of(controls: Sequence[Controls], features: Extraction) -> Training:
    """Measure pitch range and loudness of the training tracks. A DDSP synthesizer needs these values before training.

    Args:
        controls: pitch and loudness of each training track.
        features: object that extracted the controls.

    Returns:
        Pitch range as MIDI note numbers; mean and standard deviation of the loudness in dB.

    Raises:
        InputError: too few points of the training tracks have a pitch.
    """
    pitches = torch.cat([semitones(track.f0[features.voiced(track)]) for track in controls])
    levels = torch.cat([track.loudness[sounding(track.loudness)] for track in controls])
    share = len(pitches) / max(1, len(levels))
    if share < LEAST_VOICED:
        problem = "too few frames of this target have a pitch in the training tracks"
        expected = f"at least {LEAST_VOICED:.0%} of the frames"
        hint = "Choose a target that plays one note at a time."
        raise InputError("targets", problem, found=f"{share:.0%} of the frames", expected=expected, hint=hint)
    low, middle, high = _quantiles(pitches, (0.02, 0.5, 0.98))
    return Training(low, middle, high, float(levels.mean()), max(1.0, float(levels.std())))


def _quantiles(values: Tensor, shares: Sequence[float]) -> list[float]:
    """Return one quantile of `values` for each share in `shares`. A share is in [0, 1]; 0.5 gives the median."""
    ordered = values.sort().values
    return [float(ordered[round(share * (len(ordered) - 1))]) for share in shares]


def _write_audio(folder: Path, sounds: Mapping[str, Tensor], features: Extraction) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for row, sound in sounds.items():
        audio.write(folder / f"{row}.flac", sound[None].cpu().numpy(), features.sample_rate)


def _draw(
    folder: Path, name: str, sounds: Mapping[str, Tensor], controls: Controls, synthesis: Sounding, features: Extraction
) -> None:
    waveforms = {row: sound[None] for row, sound in sounds.items()}
    pictures.spectrograms(folder / f"{name}.png", name, waveforms, None, STFT(1024, 256), features.sample_rate)
    seconds = features.hop_length / features.sample_rate
    pictures.controls(folder / f"{name} controls.png", name, curves(controls, synthesis), seconds)


def curves(controls: Controls, parameters: Sounding) -> dict[str, Tensor]:
    """Return the curves that are drawn over time: pitch, loudness, and the parameters of the synthesis.

    Args:
        controls: pitch and loudness over time.
        parameters: parameters that the network has computed (amplitudes of harmonics and noise).

    Returns:
        Dictionary from the name of each panel to its curve.

    Shape:
        Pitch and loudness [F], harmonics and noise [F, K]; F points in time, K harmonics or noise bands.
    """
    return {
        "f0 (Hz)": controls.f0,
        "loudness (dB)": controls.loudness,
        "harmonic number": 20 * parameters.amplitudes.clamp(min=1e-6).log10(),
        "noise band number": 20 * parameters.noise.clamp(min=1e-6).log10(),
    }


def _summary(values: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, float | int | None]]:
    return {measure: statistics_of([track[measure] for track in values], statistic="median") for measure in MEASURES}


def report(scores: Mapping[str, Any], label: str) -> str:
    """Format a table with the errors of a DDSP synthesizer and of the baseline with constant spectra.

    Args:
        scores: content of `scores.json`.
        label: label of the synthesizer's row.

    Returns:
        Table as text.
    """
    lines = []
    for source, summary in scores["summary"].items():
        count = summary["loss"]["n"]
        lines.append(f"{f'{source} (median of {count} test tracks)':<34}" + "".join(f"{m:>21}" for m in MEASURES))
        for row, statistics in {label: summary, "constant spectra, fitted": scores["constant"][source]}.items():
            cells = (statistics[measure]["median"] for measure in MEASURES)
            lines.append(f"  {row:<32}" + "".join(f"{'–' if cell is None else f'{cell:.3f}':>21}" for cell in cells))
            lines += interval_lines(statistics, MEASURES, 34, 21, 3) if row == label else []
    return "\n".join(lines)
