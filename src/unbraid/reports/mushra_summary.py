"""Summarise a MUSHRA listening test: excluded listeners, mean ratings, and the measures that agree with the listeners."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from unbraid.reports.mushra_results import Listener, MushraKey, read_key, read_listeners, scores_of_items
from unbraid.runs.errors import InputError
from unbraid.runs.files import write_json
from unbraid.runs.text import echo, one_line
from unbraid.scoring.listening_tests import (
    LOWEST_REFERENCE,
    Agreement,
    MeanRating,
    agreements,
    failed_items,
    is_excluded,
    mean_rating,
)

SUMMARY = "summary.json"


def summarise_test(output: Path, files: Sequence[Path]) -> None:
    """Print the results of a listening test, and write them to `summary.json` in the folder of the test.

    Args:
        output: folder of the test, with `key.json`.
        files: files of the listeners.

    Raises:
        InputError: a file is damaged (see `unbraid.reports.mushra_results`), or all listeners are excluded.
    """
    key = read_key(output)
    listeners = read_listeners(files, key)
    items = len(key.items)
    failed = failed_items(np.stack([listener.ratings[:, 0] for listener in listeners]))
    excluded = {
        listener.file: int(count) for listener, count in zip(listeners, failed, strict=True) if is_excluded(int(count), items)
    }
    kept = [listener for listener in listeners if listener.file not in excluded]
    if not kept:
        problem = f"all {len(listeners)} listeners are excluded: they rated the hidden reference below {LOWEST_REFERENCE}"
        raise InputError("results", problem, expected="at most 15 % of the items below this rating")
    ratings = np.stack([listener.ratings for listener in kept])
    means = {name: mean_rating(ratings[:, :, number]) for number, name in enumerate(key.names)}
    measures = agreements(ratings[:, :, [*key.runs]], scores_of_items(key))
    names = {listener.file: one_line(f"{listener.file.name} ({listener.name or 'without a name'})") for listener in listeners}
    echo(f"listeners  {len(kept)} of {len(listeners)} kept, {items} items")
    for path, count in excluded.items():
        echo(f"excluded   {names[path]}: hidden reference below {LOWEST_REFERENCE} in {count} of {items} items")
    echo(f"\n{_rating_table(means)}\n")
    echo(_measure_table(measures) if measures else "No measure is compared: the runs share no scores of the rated tracks.")
    record = _record(key, kept, {names[path]: count for path, count in excluded.items()}, means, measures)
    write_json(output / SUMMARY, record)
    echo(f"\nsummary    {output / SUMMARY}")


def _rating_table(means: dict[str, MeanRating]) -> str:
    width = max(map(len, ["rating", *means]))
    rows = [f"{'rating':<{width}}   mean  95 % interval"]
    for name, rating in means.items():
        rows.append(f"{name:<{width}}  {rating.mean:5.1f}  {_interval(rating.low, rating.high, '5.1f')}".rstrip())
    return "\n".join(rows)


def _measure_table(measures: Sequence[Agreement]) -> str:
    """Return the table of measures, and sentences about the measure that agrees best with the listeners."""
    width = max(len("measure"), *(len(one_line(result.measure)) for result in measures))
    rows = [f"{'measure':<{width}}  Somers' D  95 % interval   of the means"]
    for result in measures:
        means = "" if result.means is None else f"{result.means:5.2f}"
        interval = _interval(result.low, result.high, "5.2f")
        rows.append(f"{one_line(result.measure):<{width}}  {result.items:9.2f}  {interval:14} {means}".rstrip())
    best, *others = measures
    if best.low is None or best.low <= 0:
        rows.append("\nNo measure is shown to rank the systems as the listeners did: no 95 % interval is above 0.")
        return "\n".join(rows)
    rows.append(f"\nThe order of the systems by {one_line(best.measure)} agrees best with the listeners.")
    if equal := [one_line(result.measure) for result in others if not result.worse]:
        rows.append(f"The test does not show a difference to {', '.join(equal)}.")
    elif others:
        rows.append("All other measures agree less: the 95 % interval of each difference excludes 0.")
    return "\n".join(rows)


def _interval(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None or high is None else f"{low:{form}} to {high:{form}}"


def _record(
    key: MushraKey,
    kept: Sequence[Listener],
    excluded: dict[str, int],
    means: dict[str, MeanRating],
    measures: Sequence[Agreement],
) -> dict[str, Any]:
    """Return the content of `summary.json`."""
    return {
        "test": key.test,
        "items": len(key.items),
        "listeners": len(kept),
        "excluded": excluded,
        "ratings": {name: asdict(rating) for name, rating in means.items()},
        "measures": [asdict(result) for result in measures],
    }
