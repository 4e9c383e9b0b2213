"""From the scores of windows to those of tracks, of a data set, and to a table; scores under two protocols never share one."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from unbraid.runs.errors import InputError
from unbraid.scoring.protocols import Frames, Protocol
from unbraid.scoring.track_records import TrackScores

TrackValues = dict[str, dict[str, float | None]]  # source: measure: value
Summary = dict[str, dict[str, dict[str, float | int | None]]]  # source: measure: statistic: value


def of_track(frames: Frames, protocol: Protocol) -> TrackValues:
    """The windows of a track as one value, over those that are defined; None where none is."""
    aggregate = statistics.median if protocol.frames == "median" else statistics.fmean
    values: TrackValues = {}
    for source, measures in frames.items():
        values[source] = {}
        for measure, windows in measures.items():
            defined = [value for value in windows if value is not None]
            values[source][measure] = aggregate(defined) if defined else None
    return values


def summarise(tracks: Sequence[TrackScores], protocol: Protocol) -> Summary:
    """Statistics over the tracks in which a measure is defined, and the share of all windows in which it is not."""
    values = [of_track(track.frames, protocol) for track in tracks]
    summary: Summary = {}
    for source, measures in tracks[0].frames.items() if tracks else ():
        summary[source] = {}
        for measure in measures:
            pairs = [(v[source][measure], t.samples) for v, t in zip(values, tracks, strict=True)]
            windows = [value for track in tracks for value in track.frames[source][measure]]
            summary[source][measure] = _statistics([(v, n) for v, n in pairs if v is not None]) | {
                "undefined": sum(value is None for value in windows) / len(windows)
            }
    return summary


def _statistics(pairs: Sequence[tuple[float, int]]) -> dict[str, float | int | None]:
    values, samples = [value for value, _ in pairs], [count for _, count in pairs]
    return statistics_of(values) | {"length_weighted": statistics.fmean(values, samples) if values else None}


def statistics_of(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """Mean, median and deviation of what is defined, and how much that is; None where nothing is."""
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "median": None, "std": None, "n": 0}
    return {
        "mean": statistics.fmean(known), "median": statistics.median(known), "std": statistics.pstdev(known), "n": len(known),
    }  # fmt: skip


def refuse_mixed(records: Mapping[str, Mapping[str, Any]]) -> None:
    """InputError where protocols differ.

    Args:
        records: of the protocols, by what their scores are of.
    """
    first, *others = records
    for other in others:
        one, two = records[first], records[other]
        for key in dict.fromkeys([*one, *two]):
            if one.get(key) != two.get(key):
                found = f"{key} is {one.get(key)} for {first} and {two.get(key)} for {other}"
                raise InputError(f"scores under two protocols do not compare: {found}")


def table(rows: Mapping[str, Summary], protocol: Mapping[str, Any], tracks: int) -> str:
    """The protocol's own figure of each measure, source by source, with the share of windows that are undefined.

    Args:
        rows: summaries, by what they are of.
        protocol: its record.
        tracks: how many there are.
    """
    words = {"median": "median", "mean": "mean", "length_weighted": "mean weighted by length"}[protocol["tracks"]]
    windows = f", {protocol['frames']} of windows" if protocol["window_seconds"] else ""
    first = next(iter(rows.values()))
    headings = {source: f"{source} ({words} of {tracks} test tracks{windows}, dB)" for source in first}
    width = max(len(text) for text in [*headings.values(), *(f"  {label}" for label in rows)]) + 2
    lines = []
    for source, heading in headings.items():
        measures = [measure for measure, values in first[source].items() if values["undefined"] != 1]
        over_all = "G" if protocol["tracks"] == "length_weighted" else ""  # the field's GNSDR, GSIR, GSAR
        lines.append(f"{heading:<{width}}" + "".join(f"{over_all + measure:>9}" for measure in measures) + "  undefined")
        for label, summary in rows.items():
            if source in summary:
                cells = "".join(_cell(summary[source][measure][protocol["tracks"]]) for measure in measures)
                share = max((summary[source][measure]["undefined"] or 0 for measure in measures), default=1)
                lines.append(f"{f'  {label}':<{width}}{cells}{share:>11.1%}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else f'{value:.2f}':>9}"
