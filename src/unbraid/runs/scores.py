"""Read and check the file `scores.json` of a run. The file may come from an untrusted source.

The function `read_scores` checks the values that tables and reports use. A damaged file raises an error with the key of the
wrong value. Names of targets and tracks must be valid file names, because files are named after targets and tracks.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import check_name

LARGEST = 1e100  # so that the square of a score is finite
STATISTICS = ("mean", "median", "length_weighted")
COSTS = ("parameters", "memory", "devices")


def read_scores(path: Path, whole: bool = False) -> dict[str, Any]:
    """Read and check a file `scores.json`. A missing file raises `OSError`.

    Args:
        path: path of the file.
        whole: True to check also the values that only reports use: scores of single tracks, scores of oracles, and costs of the
            model such as its number of parameters.

    Returns:
        The content of the file.

    Raises:
        InputError: the file is damaged or does not contain the scores of a run.
    """
    scores = read_json(path)
    for key in ("protocol", "summary"):
        if not isinstance(scores, dict) or key not in scores:
            raise InputError(f"{path}, {key}", "this key is missing in the file", expected="the scores of a run")
    _check_table(scores["summary"], f"{path}, summary", depth=3)
    protocol = _mapping(scores["protocol"], f"{path}, protocol")
    _text(protocol.get("tracks", ""), f"{path}, protocol.tracks")
    if whole and separates(scores):
        _check_separated(scores, path)
    return scores


def separates(scores: Mapping[str, Any]) -> bool:
    """Return True if scores belong to a source separator; False for an autoencoder or a DDSP synthesizer."""
    return "tracks" in scores["protocol"]


def _check_separated(scores: Mapping[str, Any], path: Path) -> None:
    """Check the values that reports use in the `scores.json` of a separator."""
    protocol, where = scores["protocol"], f"{path}, protocol"
    if protocol["tracks"] not in STATISTICS:
        raise InputError(f"{where}.tracks", found=repr(protocol["tracks"])[:80], expected=", ".join(STATISTICS))
    for key in ("name", "frames"):
        _text(protocol.get(key), f"{where}.{key}")
    _text(protocol.get("unit", "dB"), f"{where}.unit")
    if protocol.get("rest") is not None:
        _text(protocol["rest"], f"{where}.rest")
    for key, depth in {"mixture": 3, "silence": 3, "tracks": 3, "oracle": 4}.items():
        _check_table(scores.get(key, {} if key == "silence" else None), f"{path}, {key}", depth)
    _check_table(scores.get("mean_over_targets", {}), f"{path}, mean_over_targets", depth=2)
    for track in scores["tracks"]:
        check_name(f"{path}, tracks", track)
    if not scores["summary"]:
        raise InputError(f"{path}, summary", "the summary is empty", expected="the scores of at least one target")
    for target in scores["summary"]:
        check_name(f"{path}, summary", target)
    if "cost" in scores:
        cost = _mapping(scores["cost"], f"{path}, cost")
        _text(cost.get("device"), f"{path}, cost.device")
        for key in COSTS:
            _number(cost.get(key), f"{path}, cost.{key}")
    _check_reference(_mapping(scores.get("reference", {}), f"{path}, reference"), f"{path}, reference")


def _check_reference(reference: Mapping[str, Any], where: str) -> None:
    if reference.get("distances") is not None:
        _check_table(reference["distances"], f"{where}.distances", depth=3)
        for key in ("model", "name"):
            _text(reference.get(key), f"{where}.{key}")


def _check_table(value: Any, where: str, depth: int) -> None:
    """Check that a value consists of `depth` levels of nested mappings, and contains a number or null at the lowest level."""
    if depth == 0:
        if value is not None:
            _number(value, where)
        return
    for name, item in _mapping(value, where).items():
        _check_table(item, f"{where}.{name[:80]}", depth - 1)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(
            where, "this value has the wrong type", found=repr(value)[:80], expected="a mapping of names to values"
        )
    return value


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise InputError(where, "this value has the wrong type", found=repr(value)[:80], expected="a text")


def _number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST:
        raise InputError(where, "this value is not a score", found=repr(value)[:80], expected="a finite number")
