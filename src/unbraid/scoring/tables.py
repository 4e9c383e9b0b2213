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
Cells = dict[str, dict[str, str]]  # row: measure: text of the cell
UNDEFINED = "-"
LARGEST_DB = 200.0  # a ratio of energies above this limit depends on rounding errors
# Statistics in the lines below a row, with their names in the table: shares of the windows that averages leave out
LEFT_OUT = {"undefined": "undefined", "infinite": "+inf", "negative_infinite": "-inf"}
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
        Nested dictionaries by source and measure. They contain the statistics over all tracks with a finite score, and the
        shares of windows with an undefined score (`undefined`), the score infinity (`infinite`) and the score minus infinity
        (`negative_infinite`). `low` and `high` are the ends of the 95 % interval of the average that the protocol defines, see
        `unbraid.scoring.bootstrap`. Tracks in which a source is unknown are left out.
    """
    values, samples = [of_track(track.frames, protocol) for track in tracks], [track.samples for track in tracks]
    summary: Summary = {}
    for source, measures in tracks[0].frames.items() if tracks else ():
        summary[source] = {}
        for measure in measures:
            of_tracks = [value[source][measure] for value in values]
            windows = [value for track in tracks if source not in track.unknown for value in track.frames[source][measure]]
            found = summary[source][measure] = statistics_of(of_tracks, samples, protocol.tracks)
            for key, value in {"undefined": None, "infinite": math.inf, "negative_infinite": -math.inf}.items():
                found[key] = windows.count(value) / max(1, len(windows))
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
        ends `low` and `high` of the interval, see `unbraid.scoring.bootstrap`. If `n` is 0, all of these except `n` are None.
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
    average over the tracks (mean or median, see the protocol). It is `-` if all scores are undefined, and `inf` or `-inf` if
    all defined scores are infinite. Measures without any score are left out. If there are several targets, the last block
    contains the mean over the targets. Below a row, lines contain the ends of the 95 % interval of each score (models only),
    the shares of windows that the average leaves out, and the number of averaged tracks if it is below the number of test
    tracks.

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
    unit = protocol.get("unit", "dB")
    kind = f"{statistic} of {tracks} test tracks{windows}, {unit}"
    sources = list(dict.fromkeys(source for summary in rows.values() for source in summary))
    targets = [source for source in sources if source != protocol.get("rest")]
    blocks = [(f"{source} ({kind})", source, _cells(rows, source, protocol["tracks"], unit)) for source in sources]
    if len(targets) > 1:
        blocks.append((f"mean of {len(targets)} targets", "", _mean_cells(rows, targets, protocol["tracks"], unit)))
    width = max(len(text) for text in [*(heading for heading, *_ in blocks), *(f"  {label}" for label in rows)]) + 2
    prefix = "G" if protocol["tracks"] == "length_weighted" else ""  # usual names: GNSDR, GSIR, GSAR
    lines = []
    for heading, source, cells in blocks:
        measures = list(dict.fromkeys(m for row in cells.values() for m, text in row.items() if text != UNDEFINED))
        lines.append(f"{heading:<{width}}" + "".join(f"{prefix + measure:>9}" for measure in measures))
        for label, row in cells.items():
            lines.append(f"{f'  {label}':<{width}}" + "".join(f"{row.get(measure, UNDEFINED):>9}" for measure in measures))
            own = rows[label].get(source, {})
            if label in models:
                lines += interval_lines(own if source else (means or {}).get(label, {}), measures, width, 9, unit=unit)
            lines += _left_out_lines([own.get(measure, {}) for measure in measures], protocol["tracks"], tracks, width)
    return "\n".join(lines)


def _left_out_lines(columns: Sequence[Mapping[str, Any]], statistic: str, tracks: int, width: int) -> list[str]:
    """Return lines with the shares of windows that the averages leave out, and with the numbers of averaged tracks."""
    averages = [column if column.get(statistic) is not None else {} for column in columns]
    rows = {}
    for key, name in LEFT_OUT.items():
        rows[name] = [f"{share:.1%}" if (share := column.get(key)) else "" for column in averages]
    rows["tracks"] = [f"{count}" if (count := column.get("n") or tracks) < tracks else "" for column in averages]
    lines = [f"{f'{name:>13}':<{width}}" + "".join(f"{text:>9}" for text in row) for name, row in rows.items() if any(row)]
    return [line.rstrip() for line in lines]


def interval_lines(
    scores: Mapping[str, Mapping[str, Any]], measures: Sequence[str], width: int, column: int, digits: int = 2, unit: str = ""
) -> list[str]:
    """Return two lines of a table with the ends of the 95 % intervals. Without an interval, the result is empty.

    Args:
        scores: dictionary from measure to statistics, such as the result of `statistics_of`.
        measures: measures of the columns.
        width: width of the first column in characters.
        column: width of each other column in characters.
        digits: number of decimals.
        unit: unit of the scores. Only the ends in dB are limited, see `LARGEST_DB`.

    Returns:
        The lines.
    """
    lines = []
    for key, name in (("low", "95 % from"), ("high", "to")):
        ends = [scores.get(measure, {}).get(key) for measure in measures]
        if any(end is not None for end in ends):
            texts = [UNDEFINED if end is None else _text(end, unit, digits) for end in ends]
            lines.append(f"{f'{name:>13}':<{width}}" + "".join(f"{text:>{column}}" for text in texts))
    return lines


def _cells(rows: Mapping[str, Summary], source: str, statistic: str, unit: str) -> Cells:
    """Return the texts of the table cells of one source, by row and measure."""
    return {
        label: {measure: _text(_value(values, statistic), unit) for measure, values in summary[source].items()}
        for label, summary in rows.items()
        if source in summary
    }


def _mean_cells(rows: Mapping[str, Summary], targets: Sequence[str], statistic: str, unit: str) -> Cells:
    """Return the texts of the table cells with the mean over the targets, by row and measure."""
    cells: Cells = {}
    for label, summary in rows.items():
        if all(target in summary for target in targets):
            cells[label] = {}
            for measure in summary[targets[0]]:
                values = [_value(summary[target].get(measure, {}), statistic) for target in targets]
                cells[label][measure] = _text(sum(values) / len(values), unit)
    return cells


def _value(values: Mapping[str, float | int | None], statistic: str) -> float:
    """Return the average of the finite scores. Without finite scores, return infinity with its sign, or NaN if undefined."""
    if (average := values.get(statistic)) is not None:
        return average
    infinite = [value for key, value in (("infinite", math.inf), ("negative_infinite", -math.inf)) if values.get(key)]
    return infinite[0] if len(infinite) == 1 else math.nan


def _text(value: float, unit: str, digits: int = 2) -> str:
    """Return a score as text. A score in dB beyond `LARGEST_DB` is only compared with this limit."""
    if math.isnan(value):
        return UNDEFINED
    if unit == "dB" and LARGEST_DB < abs(value) < math.inf:
        return f"> {LARGEST_DB:.0f}" if value > 0 else f"< -{LARGEST_DB:.0f}"
    return f"{value:.{digits}f}"
