"""Average scores over windows, tracks and targets, and format the averages as a table for the terminal.

A table must not contain scores of different protocols: `refuse_mixed` raises an error in this case.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, cast

from unbraid.runs.errors import InputError
from unbraid.scoring.bootstrap import interval
from unbraid.scoring.protocols import Frames, Protocol
from unbraid.scoring.track_records import TrackScores

TrackValues = dict[str, dict[str, float | None]]  # source: measure: value
Summary = dict[str, dict[str, dict[str, float | int | None]]]  # source: measure: statistic: value
Cells = dict[str, dict[str, tuple[str, float]]]  # row: measure: text of the cell, share of undefined windows
UNDEFINED = "-"
SOURCES = "together"  # key of the record of a protocol: sources that are scored together


def of_track(frames: Frames, protocol: Protocol) -> TrackValues:
    """Average the scores of a track over its windows.

    Args:
        frames: scores of each source, measure and window.
        protocol: protocol of the scores. It defines the average (median or mean).

    Returns:
        The average over all windows with a finite score, for each source and measure; None if no window has a finite score.
    """
    aggregate = statistics.median if protocol.frames == "median" else statistics.fmean
    values: TrackValues = {}
    for source, measures in frames.items():
        values[source] = {}
        for measure, windows in measures.items():
            finite = [value for value in windows if value is not None and math.isfinite(value)]  # as in museval
            values[source][measure] = aggregate(finite) if finite else None
    return values


def summarise(tracks: Sequence[TrackScores], protocol: Protocol) -> Summary:
    """Compute statistics of scores over the tracks of a data set, such as mean and median.

    Args:
        tracks: scores of each track.
        protocol: protocol of the scores.

    Returns:
        Nested dictionaries by source and measure. They contain the statistics over all tracks with a finite score, the share of
        undefined windows, and the share of windows with an infinite score. `low` and `high` are the ends of the 95 % interval
        of the average that the protocol defines, see `unbraid.scoring.bootstrap`. Tracks in which a source is unknown
        are left out.
    """
    values, samples = [of_track(track.frames, protocol) for track in tracks], [track.samples for track in tracks]
    summary: Summary = {}
    for source, measures in tracks[0].frames.items() if tracks else ():
        summary[source] = {}
        for measure in measures:
            of_tracks = [value[source][measure] for value in values]
            windows = [value for track in tracks if source not in track.unknown for value in track.frames[source][measure]]
            summary[source][measure] = statistics_of(of_tracks, samples, protocol.tracks) | {
                "undefined": sum(value is None for value in windows) / max(1, len(windows)),
                "infinite": sum(value is not None and math.isinf(value) for value in windows) / max(1, len(windows)),
            }
    return summary


def statistics_of(
    values: Sequence[float | None], samples: Sequence[int] = (), statistic: str = "mean"
) -> dict[str, float | int | None]:
    """Compute statistics of the values that are not None, and the 95 % interval of one of the statistics.

    Args:
        values: value of each track; None for an undefined value.
        samples: length of each track in samples; empty: all tracks have the same length.
        statistic: statistic of the interval: `mean`, `median` or `length_weighted`.

    Returns:
        `mean`, `median`, `std`, `length_weighted` (mean weighted by the lengths), the number `n` of defined values, and the
        ends
        `low` and `high` of the interval, see `unbraid.scoring.bootstrap`. If `n` is 0, all of these except `n` are None.
    """
    pairs = [(v, n) for v, n in zip(values, samples or [1] * len(values), strict=True) if v is not None]
    defined, lengths = [value for value, _ in pairs], [length for _, length in pairs]
    low, high = interval(defined, lengths, statistic) or (None, None)
    return {
        "mean": statistics.fmean(defined) if defined else None,
        "median": statistics.median(defined) if defined else None,
        "std": statistics.pstdev(defined) if defined else None,
        "length_weighted": statistics.fmean(defined, lengths) if defined else None,
        "n": len(defined),
        "low": low,
        "high": high,
    }


def intervals_of_mean(
    tracks: Sequence[TrackScores], protocol: Protocol, residual: str | None
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Compute the 95 % intervals of the mean over the targets.

    Args:
        tracks: scores of each track.
        protocol: protocol of the scores.
        residual: name of the source that is not a target; None if all sources are targets.

    Returns:
        The ends `low` and `high` of the interval of each measure. Measures with an undefined score are left out. The result is
        empty for fewer than two targets or tracks.
    """
    values, samples = [of_track(track.frames, protocol) for track in tracks], [track.samples for track in tracks]
    targets = [source for source in (tracks[0].frames if tracks else ()) if source != residual]
    ends = {}
    for measure in tracks[0].frames[targets[0]] if len(targets) > 1 else ():
        scores = [[track[target].get(measure) for track in values] for target in targets]
        found = None if None in chain(*scores) else interval(cast(list[list[float]], scores), samples, protocol.tracks)
        if found:
            ends[measure] = {"low": found[0], "high": found[1]}
    return ends


def refuse_mixed(records: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that all rows of a table of scores have the same protocol. The order of the sources makes no difference.

    Args:
        records: dictionary from the label of each row to the record of its protocol (the result of `Protocol.record`).

    Raises:
        InputError: the records of two rows differ.
    """
    first, *others = records
    for other in others:
        for key in dict.fromkeys([*records[first], *records[other]]):
            values: list[Any] = [records[label].get(key) for label in (first, other)]
            same = sorted(values[0]) == sorted(values[1]) if key == SOURCES and all(values) else values[0] == values[1]
            if not same:
                found = f"{values[0]} for {first} and {values[1]} for {other}"
                raise InputError(f"protocol.{key}", "a table cannot contain scores of different protocols", found=found)


def table(
    rows: Mapping[str, Summary],
    protocol: Mapping[str, Any],
    tracks: int,
    models: Sequence[str] = (),
    means: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
) -> str:
    """Format the scores of several systems as a table for the terminal.

    The table has one block for each source, with one row for each system and one column for each measure. A cell contains the
    average over the tracks (mean or median, see the protocol). The last column contains the share of undefined windows. Columns
    without any score are left out. If there are several targets, the last block contains the mean over the targets. Below a
    model, two lines contain the ends of the 95 % interval of each score.

    Args:
        rows: dictionary from the label of each row to the statistics of a system (the result of `summarise`).
        protocol: record of the protocol, the result of `Protocol.record`.
        tracks: number of tracks.
        models: labels of the rows with models. The other rows (baselines) have no intervals.
        means: dictionary from the label of a row to its intervals of the mean over the targets (the result of
            `intervals_of_mean`).

    Returns:
        The table as text.
    """
    statistic = {"median": "median", "mean": "mean", "length_weighted": "mean weighted by length"}[protocol["tracks"]]
    windows = f", {protocol['frames']} of windows" if protocol["window_seconds"] else ""
    kind = f"{statistic} of {tracks} test tracks{windows}, {protocol.get('unit', 'dB')}"
    sources = list(dict.fromkeys(source for summary in rows.values() for source in summary))
    targets = [source for source in sources if source != protocol.get("rest")]
    blocks = [(f"{source} ({kind})", source, _cells(rows, source, protocol["tracks"])) for source in sources]
    if len(targets) > 1:
        blocks.append((f"mean of {len(targets)} targets", "", _mean_cells(rows, targets, protocol["tracks"])))
    width = max(len(text) for text in [*(heading for heading, *_ in blocks), *(f"  {label}" for label in rows)]) + 2
    prefix = "G" if protocol["tracks"] == "length_weighted" else ""  # usual names: GNSDR, GSIR, GSAR
    lines = []
    for heading, source, cells in blocks:
        measures = list(dict.fromkeys(m for row in cells.values() for m, (text, _) in row.items() if text != UNDEFINED))
        lines.append(f"{heading:<{width}}" + "".join(f"{prefix + measure:>9}" for measure in measures) + "  undefined")
        for label, row in cells.items():
            share = max((row[measure][1] for measure in measures if measure in row), default=1.0)
            texts = (row[measure][0] if measure in row else UNDEFINED for measure in measures)
            lines.append(f"{f'  {label}':<{width}}{''.join(f'{text:>9}' for text in texts)}{share:>11.1%}")
            if label in models:
                ends = rows[label].get(source, {}) if source else (means or {}).get(label, {})
                lines += interval_lines(ends, measures, width, 9)
    return "\n".join(lines)


def interval_lines(
    scores: Mapping[str, Mapping[str, Any]], measures: Sequence[str], width: int, column: int, digits: int = 2
) -> list[str]:
    """Return two lines of a table with the ends of the 95 % intervals. Without an interval, the result is empty.

    Args:
        scores: dictionary from measure to statistics, such as the result of `statistics_of`.
        measures: measures of the columns.
        width: width of the first column in characters.
        column: width of each other column in characters.
        digits: number of decimals.

    Returns:
        The lines.
    """
    lines = []
    for key, name in (("low", "95 % from"), ("high", "to")):
        ends = [scores.get(measure, {}).get(key) for measure in measures]
        if any(end is not None for end in ends):
            lines.append(f"{f'{name:>13}':<{width}}" + "".join(f"{_text(end, 0, digits):>{column}}" for end in ends))
    return lines


def _cells(rows: Mapping[str, Summary], source: str, statistic: str) -> Cells:
    """Return the table cells of one source, by row and measure. A cell contains a text and the share of undefined windows."""
    return {
        label: {
            measure: (_text(values[statistic], values.get("infinite") or 0), float(values["undefined"] or 0))
            for measure, values in summary[source].items()
        }
        for label, summary in rows.items()
        if source in summary
    }


def _mean_cells(rows: Mapping[str, Summary], targets: Sequence[str], statistic: str) -> Cells:
    """Return the table cells with the mean over the targets, by row and measure.

    The mean is undefined if the score of one target is undefined or infinite.
    """
    cells: Cells = {}
    for label, summary in rows.items():
        if all(target in summary for target in targets):
            cells[label] = {}
            for measure in summary[targets[0]]:
                values = [summary[target].get(measure, {}) for target in targets]
                scores = [value.get(statistic) for value in values]
                mean = None if None in scores else statistics.fmean(score for score in scores if score is not None)
                cells[label][measure] = (_text(mean, 0), max(float(value.get("undefined") or 0) for value in values))
    return cells


def _text(value: float | None, infinite: float, digits: int = 2) -> str:
    """Return a score as text.

    If the score is None, return `inf` if some windows have an infinite score, otherwise `-`.
    """
    if value is None:
        return "inf" if infinite else UNDEFINED
    return f"{value:.{digits}f}"
