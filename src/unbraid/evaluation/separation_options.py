"""Measure whether options of the separation (shifts, swapped channels, inverted polarity, overlap) improve the scores.

Each option is used alone, next to the options of the command. Every option only averages more estimates of the same network, so
the network is not trained again.

The time of the separation is measured on one track of middle length. All options are used in turn, and this is repeated. The
smallest time of each option is kept, because other programs can only increase a time.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from unbraid.data.store import StoredTrack
from unbraid.evaluation.methods import SeparatorMethod
from unbraid.evaluation.scorer import Scorer
from unbraid.inference.chunked import InferenceOptions
from unbraid.scoring.significance import Difference, difference
from unbraid.scoring.tables import of_track

UNCHANGED = "unchanged"
REPEATS = 3  # of each time measurement


@dataclass(frozen=True)
class OptionResult:
    """Store how an option of the separation changes the score of one target.

    Args:
        name: option as the user types it, such as `shifts=4`.
        target: name of the target.
        mean: mean score over the tracks with this option; None if a track has an undefined score.
        gain: score with this option minus score without it; None for the unchanged options, and if no track has both scores.
        seconds: time of the separation of one track in seconds.
    """

    name: str
    target: str
    mean: float | None
    gain: Difference | None
    seconds: float

    @property
    def pays(self) -> bool:
        """True if the 95 % interval of the gain is above 0."""
        return self.gain is not None and self.gain.low is not None and self.gain.low > 0


def choices_of(options: InferenceOptions, channels: int) -> dict[str, InferenceOptions]:
    """Return the options that are measured, by the words that the user types.

    Args:
        options: options of the command. Options that they already contain are left out.
        channels: number of channels of the separator.

    Returns:
        Dictionary from `unchanged`, `shifts=4` and so on to the complete options.
    """
    changes: dict[str, dict[str, Any]] = {"shifts=2": {"shifts": 2}, "shifts=4": {"shifts": 4}}
    changes |= {"channel_swap=true": {"channel_swap": True}} if channels > 1 else {}
    changes |= {"polarity=true": {"polarity": True}}
    changes |= {f"overlap={share}": {"overlap": share} for share in (0.5, 0.75)}
    made = {name: replace(options, **change) for name, change in changes.items()}
    return {UNCHANGED: options} | {name: changed for name, changed in made.items() if changed != options}


def measure_options(methods: Sequence[SeparatorMethod], scorers: Sequence[Scorer]) -> list[list[OptionResult]]:
    """Separate and score all tracks with each option. Nothing is stored.

    Args:
        methods: separator with the options of the command, for each protocol.
        scorers: scorer of the same tracks, for each protocol. The first measure of its protocol is used.

    Returns:
        The results under each protocol: one result for each option and target. The first results are those of the unchanged
        options. The times are the same under all protocols.
    """
    choices = choices_of(methods[0].options, methods[0].separator.channels)
    seconds = _seconds({name: replace(methods[0], options=options) for name, options in choices.items()}, scorers[0].tracks)
    values: list[dict[str, np.ndarray]] = [{} for _ in scorers]
    for name, options in choices.items():
        changed = {id(method): replace(method, options=options) for method in methods}  # equal methods share their estimates
        scores: list[list[np.ndarray]] = [[] for _ in scorers]
        for number in tqdm(range(len(scorers[0].tracks)), desc=name, unit="track", leave=False, disable=None):
            for method, scorer, of_tracks in zip(methods, scorers, scores, strict=True):
                of_tracks.append(_scores(changed[id(method)], scorer, scorer.tracks[number]))
        for found, of_tracks in zip(values, scores, strict=True):
            found[name] = np.stack(of_tracks, axis=-1)
    return [_results(found, scorer, seconds) for found, scorer in zip(values, scorers, strict=True)]


def _seconds(methods: Mapping[str, SeparatorMethod], tracks: Sequence[StoredTrack]) -> dict[str, float]:
    """Measure the time of the separation of the track of middle length with each method."""
    track = sorted(tracks, key=lambda track: track.length)[len(tracks) // 2].name
    next(iter(methods.values())).separate(track)  # the first call of a network can be slower
    seconds = dict.fromkeys(methods, float("inf"))
    for _ in range(REPEATS):
        for name, method in methods.items():
            method.latest.clear()
            start = time.perf_counter()
            method.separate(track)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def _results(values: Mapping[str, np.ndarray], scorer: Scorer, seconds: Mapping[str, float]) -> list[OptionResult]:
    """Return one result for each target and option from the scores [names, tracks] of each option."""
    targets = scorer.source_group.names[: len(scorer.targets)]
    return [
        OptionResult(
            name, target, float(scores[row].mean()) if np.isfinite(scores[row]).all() else None,
            None if name == UNCHANGED else difference(scores[row][None], values[UNCHANGED][row][None]), seconds[name],
        )
        for row, target in enumerate(targets)
        for name, scores in values.items()
    ]  # fmt: skip


def _scores(method: SeparatorMethod, scorer: Scorer, track: StoredTrack) -> np.ndarray:
    """Return the first measure of each scored source of a track; NaN for an undefined score. Shape: [names]."""
    samples = track.tensor().to(scorer.device)
    mixture, references = samples[0], scorer.source_group.references(samples[1:])
    estimates = method(track, scorer.source_group, mixture, references)
    frames = scorer.protocol.score(references, estimates, scorer.source_group.names, mixture, scorer.unknown(track))
    measures = of_track(frames, scorer.protocol).values()
    first = [values[scorer.protocol.measures[0]] for values in measures]
    return np.array([np.nan if value is None else value for value in first])


def options_text(results: Sequence[OptionResult], measure: str) -> str:
    """Format the results as a table for the terminal, and name the options that pay.

    Args:
        results: results of `measure_options`.
        measure: name of the measure.

    Returns:
        The table. An option pays if the 95 % interval of its gain is above 0.
    """
    lines = []
    for target in dict.fromkeys(result.target for result in results):
        rows = [result for result in results if result.target == target]
        lines.append(f"{f'{target}, {measure}':<28}{'mean':>8}{'gain':>8}{'95 % interval':>18}{'seconds':>9}{'times':>7}  pays")
        for row in rows:
            mean = "-" if row.mean is None else f"{row.mean:.2f}"
            gain, interval = "", ""
            if row.gain is not None:
                gain = f"{row.gain.mean:+.2f}"
                interval = "" if row.gain.low is None else f"{row.gain.low:+.2f} to {row.gain.high:+.2f}"
            pays = "" if row.name == UNCHANGED else "yes" if row.pays else "no"
            cost = f"{row.seconds:>9.2f}{row.seconds / max(rows[0].seconds, 1e-9):>7.1f}"
            lines.append(f"  {row.name:<26}{mean:>8}{gain:>8}{interval:>18}{cost}  {pays}".rstrip())
    return "\n".join(lines)


def options_record(results: Sequence[OptionResult]) -> list[Mapping[str, Any]]:
    """Return the results as dictionaries for `scores.json`."""
    return [asdict(result) | {"pays": result.pays} for result in results]
