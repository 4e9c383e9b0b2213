"""Read the ratings of a MUSHRA listening test, and compare them with the scores of the rated runs.

The files of the listeners come from other people's machines, so that size, types and values are checked. A file with an error
raises `InputError` with the key of the wrong value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unbraid.reports.mushra import ANCHOR, KEY, MADE_BY, MOST_SYSTEMS, REFERENCE, SYSTEM
from unbraid.runs.documents import parse_json, read_json, read_regular
from unbraid.runs.errors import InputError
from unbraid.runs.files import below
from unbraid.runs.scores import read_scores, separates
from unbraid.scoring.listening_tests import HIGHEST
from unbraid.scoring.tables import refuse_mixed

MOST_BYTES = 1 << 20  # size of the file of a listener
MOST_FILES = 1000
MOST_ITEMS = 1000
LONGEST_TEXT, LONGEST_PATH = 200, 4096  # characters of a name and of the path of a run


@dataclass(frozen=True)
class MushraKey:
    """Store the content of `key.json`, which assigns the stimuli of a test to systems.

    Args:
        folder: folder of the test.
        test: identifier of the test. The files of the listeners contain the same identifier.
        names: name of each condition. The first is the hidden reference.
        runs: dictionary from the number of each condition that is a system to the folder of its run.
        items: items of the test: number `item`, `track`, `target`, and `stimuli`, the random name of each condition.
    """

    folder: Path
    test: str
    names: Sequence[str]
    runs: Mapping[int, Path]
    items: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Listener:
    """Store the ratings of one listener.

    Args:
        file: path of the file.
        name: name that the listener has typed, which may be empty.
        ratings: ratings from 0 to 100 [items, conditions], in the order of the key.
    """

    file: Path
    name: str
    ratings: np.ndarray


def read_key(folder: Path) -> MushraKey:
    """Read and check `key.json` of a listening test.

    Args:
        folder: folder of the test.

    Returns:
        The key.

    Raises:
        InputError: the file does not exist or is damaged.
    """
    path = folder / KEY
    try:
        content = _marked(read_json(path), path)
    except FileNotFoundError as error:
        hint = "Type output=FOLDER with the folder that unbraid listening has made"
        raise InputError(path, "this file does not exist", expected="the key of a listening test", hint=hint) from error
    names, runs = _conditions(content, path)
    items = _list(content.get("items"), f"{path}, items", MOST_ITEMS)
    for number, item in enumerate(items):
        where = f"{path}, items.{number}"
        stimuli = _list(_mapping(item, where).get("stimuli"), f"{where}.stimuli", len(names))
        for text in [item.get("track"), item.get("target"), *stimuli]:
            _text(text, where)
        if len({*stimuli}) != len(names):
            raise InputError(f"{where}.stimuli", found=f"{len({*stimuli})} names", expected=f"{len(names)} different names")
        if item.get("item") != number + 1:
            raise InputError(f"{where}.item", found=repr(item.get("item"))[:80], expected=str(number + 1))
    return MushraKey(folder, _text(content.get("test"), f"{path}, test"), names, runs, items)


def _conditions(content: Mapping[str, Any], path: Path) -> tuple[list[str], dict[int, Path]]:
    """Return the names of all conditions, and the folder of the run of each condition that is a system."""
    names, runs = [], {}
    for number, entry in enumerate(_list(content.get("conditions"), f"{path}, conditions", MOST_SYSTEMS + 3)):
        where = f"{path}, conditions.{number}"
        kind, kinds = _mapping(entry, where).get("kind"), [SYSTEM, ANCHOR] if number else [REFERENCE]
        if kind not in kinds:
            raise InputError(f"{where}.kind", found=repr(kind)[:80], expected=" or ".join(kinds))
        names.append(_text(entry.get("name"), f"{where}.name"))
        if kind == SYSTEM:
            name = _text(entry.get("run"), f"{where}.run", LONGEST_PATH)
            try:
                runs[number] = (path.parent / name).resolve()
                runs[number].exists()  # raises OSError for a name that is too long
            except (OSError, ValueError, RuntimeError) as error:
                raise InputError(f"{where}.run", f"this path cannot be used ({error})"[:200], found=repr(name)[:80]) from error
    return names, runs


def read_listeners(files: Sequence[Path], key: MushraKey) -> list[Listener]:
    """Read and check the files of the listeners.

    Args:
        files: paths of the files.
        key: key of the test.

    Returns:
        The ratings of each listener, in the order of the files.

    Raises:
        InputError: too many files; a file does not exist, is larger than 1 MiB, belongs to another test or is damaged; a rating
            is missing or is not a number from 0 to 100; or two files are from the same session of the page.
    """
    if len(files) > MOST_FILES:
        raise InputError("results", "too many files", found=len(files), expected=f"at most {MOST_FILES}")
    sessions: dict[str, Path] = {}
    listeners = []
    for path in files:
        try:
            content = _marked(parse_json(read_regular(path, MOST_BYTES), path), path)
        except FileNotFoundError as error:
            raise InputError(f"results={path}", "this file does not exist", expected="ratings of a listening test") from error
        if (test := _text(content.get("test"), f"{path}, test")) != key.test:
            problem = "the ratings belong to another listening test"
            raise InputError(f"{path}, test", problem, found=repr(test), expected=repr(key.test))
        session = _text(content.get("session"), f"{path}, session")
        if session in sessions:
            problem = "the same ratings are given twice"
            raise InputError(path, problem, found=str(sessions[session]), expected="one file of each listener")
        sessions[session] = path
        listeners.append(Listener(path, _text(content.get("listener"), f"{path}, listener"), _ratings(content, key, path)))
    return listeners


def _ratings(content: Mapping[str, Any], key: MushraKey, path: Path) -> np.ndarray:
    """Return the ratings of a file. Shape: [items, conditions]."""
    ratings = np.full((len(key.items), len(key.names)), np.nan)
    for place, entry in enumerate(_list(content.get("items"), f"{path}, items", len(key.items))):
        where = f"{path}, items.{place}"
        number = _mapping(entry, where).get("item")
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(key.items):
            raise InputError(f"{where}.item", found=repr(number)[:80], expected=f"an integer in [1, {len(key.items)}]")
        if not np.isnan(ratings[number - 1, 0]):
            raise InputError(f"{where}.item", "this item is listed twice", found=number)
        rated = _mapping(entry.get("ratings"), f"{where}.ratings")
        stimuli = key.items[number - 1]["stimuli"]
        if {*rated} != {*stimuli}:
            problem = "the ratings are not those of the stimuli of this item"
            raise InputError(f"{where}.ratings", problem, found=f"{len(rated)} ratings", expected=f"{len(stimuli)} stimuli")
        for condition, stimulus in enumerate(stimuli):
            value = rated[stimulus]
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= HIGHEST:
                expected = f"a number in [0, {HIGHEST}]"
                raise InputError(f"{where}.ratings.{stimulus}", found=repr(value)[:80], expected=expected)
            ratings[number - 1, condition] = value
    if np.isnan(ratings).any():
        count = int((~np.isnan(ratings[:, 0])).sum())
        raise InputError(f"{path}, items", "items are missing", found=count, expected=f"{len(key.items)} items")
    return ratings


def scores_of_items(key: MushraKey) -> dict[str, np.ndarray]:
    """Read the scores of the rated runs under all protocols, for the tracks and targets of the test.

    If a run folder does not exist, a symbolic link leads out of it, or a file of scores is damaged, InputError is raised.

    Args:
        key: key of the test.

    Returns:
        Dictionary from each measure and protocol, such as `SDR (musdb18)`, to an array [items, systems]. An undefined score is
        NaN. Measures that a run lacks, and protocols under which the runs were scored with different options, are left out.
    """
    by_run = [_scores_of_run(run) for run in key.runs.values()]
    tables = {}
    for protocol in by_run[0] if by_run else ():
        scored = [scores[protocol] for scores in by_run if protocol in scores]
        try:
            refuse_mixed({str(number): scores["protocol"] for number, scores in enumerate(scored)})
        except InputError:
            continue
        if len(scored) < len(by_run):
            continue
        for measure in dict.fromkeys(name for target in scored[0]["summary"].values() for name in target):
            table = np.array([[_score(scores, item, measure) for scores in scored] for item in key.items], dtype=float)
            if np.isfinite(table).any(axis=0).all():
                tables[f"{measure} ({protocol})"] = table
    return tables


def _score(scores: Mapping[str, Any], item: Mapping[str, Any], measure: str) -> float | None:
    found: float | None = scores["tracks"].get(item["track"], {}).get(item["target"], {}).get(measure)
    return found


def _scores_of_run(run: Path) -> dict[str, Mapping[str, Any]]:
    """Return the scores of a run for each protocol with which it was scored."""
    if not run.is_dir():
        raise InputError(run, "the folder of a rated run does not exist", hint="Move the run back, or correct key.json")
    found: dict[str, Mapping[str, Any]] = {}
    others = sorted(path.parent.name for path in (run / "scores").glob("*/scores.json"))
    for path in [below(run, "scores.json"), *(below(run, "scores", name, "scores.json") for name in others)]:
        if path.is_file() and separates(scores := read_scores(path, whole=True)):
            found[str(scores["protocol"]["name"])] = scores
    return found


def _marked(content: Any, path: Path) -> dict[str, Any]:
    """Check that a JSON document is a mapping that was made by `unbraid listening`."""
    found = content.get("made_by") if isinstance(content, dict) else None
    if not isinstance(content, dict) or found != MADE_BY:
        raise InputError(f"{path}, made_by", "this file is not from a listening test", found=repr(found)[:80], expected=MADE_BY)
    return content


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(where, "this value has the wrong type", found=repr(value)[:80], expected="a mapping")
    return value


def _list(value: Any, where: str, most: int) -> list[Any]:
    if not isinstance(value, list) or not 0 < len(value) <= most:
        found = f"a list of {len(value)}" if isinstance(value, list) else repr(value)[:80]
        raise InputError(where, "this value has the wrong type or length", found=found, expected=f"a list of 1 to {most}")
    return value


def _text(value: Any, where: str, longest: int = LONGEST_TEXT) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise InputError(where, found=repr(value)[:80], expected=f"a text of at most {longest} characters")
    return value
