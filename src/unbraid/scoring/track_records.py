"""Store the scores of one track in a JSON file. The class `EvalStore` of the package museval can also read the file.

In these files, undefined scores are NaN, as museval requires. In unbraid, undefined scores are None.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write, below, check_name
from unbraid.runs.scores import LARGEST
from unbraid.runs.source_version import source_hash
from unbraid.scoring.protocols import Frames


@dataclass(frozen=True)
class TrackScores:
    """Store the scores of one track.

    Args:
        frames: scores of each source, measure and window.
        samples: length of the track in samples at the sample rate of the protocol.
        silent: names of the sources whose reference is silent in the whole track.
        silent_estimates: names of the sources whose estimate is silent in the whole track. Sources in `silent` are left out.
        unknown: names of the sources whose true waveform is unknown. All scores of these sources are None.
    """

    frames: Frames
    samples: int
    silent: tuple[str, ...]
    silent_estimates: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def record_path(folder: Path, row: str, track: str) -> Path:
    """Return the path of the file with the scores of a track: `<row>/test/<track>.json`, as in museval.

    InputError is raised if the track name is not valid as a file name, or if a link leads out of the folder.

    Args:
        folder: folder of all scores.
        row: name of the separator or oracle whose scores are stored.
        track: name of the track.

    Returns:
        The path in `folder`.
    """
    check_name(f"scores of {track}", track)
    return below(folder, row, "test", f"{track}.json")


def write_track(
    path: Path, scores: TrackScores, protocol: dict[str, Any], origin: str, versions: Mapping[str, str]
) -> None:  # fmt: skip
    """Write the scores of a track to a JSON file in the format of museval.

    Args:
        path: path of the file, see `record_path`.
        scores: scores of the track.
        protocol: record of the protocol, the result of `Protocol.record`.
        origin: text that identifies how the estimates were computed, for example with the name of the checkpoint.
        versions: versions of the packages that influence the scores.
    """
    whole = scores.samples / protocol["sample_rate"]
    duration = min(protocol["window_seconds"] or whole, whole)
    hop = protocol["hop_seconds"] or duration
    targets = [
        {
            "name": source,
            "frames": [{"time": i * hop, "duration": duration} | window for i, window in _by_window(rows)],
        }
        for source, rows in scores.frames.items()
    ]
    record = {
        "targets": targets, "protocol": protocol, "origin": origin, "samples": scores.samples, "silent": scores.silent,
        "silent_estimates": scores.silent_estimates, "unknown": scores.unknown, "versions": versions,
        "code": scoring_code(),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def _by_window(measures: dict[str, list[float | None]]) -> list[tuple[int, dict[str, Any]]]:
    """Return the number and the scores of each window, in the format of museval.

    In the entry `metrics`, an infinite score is NaN, as in museval. The entry `infinite` contains the sign of each infinite
    score.
    """
    windows = []
    for number, values in enumerate(zip(*measures.values(), strict=True)):
        scores = {measure: math.nan if value is None else value for measure, value in zip(measures, values, strict=True)}
        infinite = {measure: math.copysign(1, value) for measure, value in scores.items() if math.isinf(value)}
        metrics = {measure: math.nan if measure in infinite else value for measure, value in scores.items()}
        windows.append((number, {"metrics": metrics} | ({"infinite": infinite} if infinite else {})))
    return windows


@cache
def scoring_code() -> str:
    """Return a hash of the Python files of `unbraid.scoring`. If the hash has changed, stored scores are computed again."""
    return source_hash([Path(__file__).parent])


def read_track(path: Path, protocol: dict[str, Any], origin: str, measures: Sequence[str]) -> TrackScores | None:
    """Read the scores of a track from its JSON file, if the scores are still valid.

    Args:
        path: path of the file, see `record_path`.
        protocol: expected record of the protocol, the result of `Protocol.record`.
        origin: expected origin of the estimates, see `write_track`.
        measures: names of the expected measures.

    Returns:
        The scores. None if the file is missing or damaged, or if its protocol, origin, measures or hash of the scoring code
        differ from the expected values.
    """
    try:
        record = read_json(path, finite=False)
    except (OSError, InputError):  # missing or damaged: the track is scored again
        return None
    expected = {"protocol": protocol, "origin": origin, "code": scoring_code()}
    if not isinstance(record, dict) or any(record.get(key) != value for key, value in expected.items()):
        return None
    try:
        silent, silent_estimates, unknown = (tuple(map(str, record[key])) for key in ("silent", "silent_estimates", "unknown"))
        frames = _frames(record["targets"])
        if any({*scores} != {*measures} for scores in frames.values()):
            return None
        return TrackScores(frames, int(record["samples"]), silent, silent_estimates, unknown)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _frames(targets: Any) -> Frames:
    frames: Frames = {}
    for target in targets:
        rows = [frame["metrics"] for frame in target["frames"]]
        scores = {m: [_defined(row[m]) for row in rows] for m in rows[0]}
        for number, frame in enumerate(target["frames"]):
            for measure, sign in frame.get("infinite", {}).items():
                scores[measure][number] = math.copysign(math.inf, sign)
        frames[target["name"]] = scores
    return frames


def _defined(score: float) -> float | None:
    if abs(score) > LARGEST:
        raise ValueError(f"score: the magnitude is too large, found {score}, expected at most {LARGEST}")
    return None if math.isnan(score) else score
