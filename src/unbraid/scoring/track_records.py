"""Scores of one track on disk, in museval's own format, which its `EvalStore` reads as it reads its own.

Undefined is NaN here and only here, because that format has it so.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write, below, check_name
from unbraid.runs.scores import LARGEST
from unbraid.scoring.protocols import Frames


@dataclass(frozen=True)
class TrackScores:
    """Of one track.

    Args:
        frames: the scores.
        samples: length of the track, at the protocol's rate.
        silent: sources whose reference is silent throughout.
    """

    frames: Frames
    samples: int
    silent: tuple[str, ...]


def record_path(folder: Path, row: str, track: str) -> Path:
    """Return the path of a track's scores, as museval looks for them: `<row>/test/<track>.json`.

    Raises:
        InputError: a file cannot have the name of the track, or a link leads out of the folder.
    """
    check_name(f"scores of {track}", track)
    return below(folder, row, "test", f"{track}.json")


def write_track(
    path: Path, scores: TrackScores, protocol: dict[str, Any], origin: str, versions: Mapping[str, str]
) -> None:  # fmt: skip
    """File the scores; `origin` says whose estimates they are of, `versions` of which packages they depend on."""
    whole = scores.samples / protocol["sample_rate"]
    duration = min(protocol["window_seconds"] or whole, whole)
    hop = protocol["hop_seconds"] or duration
    targets = [
        {
            "name": source,
            "frames": [{"time": i * hop, "duration": duration, "metrics": metrics} for i, metrics in _by_window(rows)],
        }
        for source, rows in scores.frames.items()
    ]
    record = {
        "targets": targets, "protocol": protocol, "origin": origin, "samples": scores.samples, "silent": scores.silent,
        "versions": versions,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def _by_window(measures: dict[str, list[float | None]]) -> list[tuple[int, dict[str, float]]]:
    windows = zip(*measures.values(), strict=True)
    return [
        (number, {m: math.nan if value is None else value for m, value in zip(measures, values, strict=True)})
        for number, values in enumerate(windows)
    ]


def read_track(path: Path, protocol: dict[str, Any], origin: str) -> TrackScores | None:
    """Return the scores of a file; None if it is missing or damaged, or of another protocol or other estimates."""
    try:
        record = read_json(path, finite=False)
    except (OSError, InputError):  # it is written anew
        return None
    if not isinstance(record, dict) or record.get("protocol") != protocol or record.get("origin") != origin:
        return None
    try:
        return TrackScores(_frames(record["targets"]), int(record["samples"]), tuple(map(str, record["silent"])))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _frames(targets: Any) -> Frames:
    found: Frames = {}
    for target in targets:
        rows = [frame["metrics"] for frame in target["frames"]]
        found[target["name"]] = {m: [_defined(row[m]) for row in rows] for m in rows[0]}
    return found


def _defined(score: float) -> float | None:
    if abs(score) > LARGEST:
        raise ValueError("a score that is far too large")
    return None if math.isnan(score) else score
