"""Run folders read as arms: the runs of an arm differ in nothing but the seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from unbraid.runs.config import config_tree
from unbraid.runs.errors import InputError
from unbraid.runs.files import below
from unbraid.runs.metrics_reader import epoch_numbers, epochs
from unbraid.runs.records import PATH_KEYS, digest, is_held, read_record, strip_launch_keys
from unbraid.runs.scores import read_scores, separates
from unbraid.scoring.tables import refuse_mixed

NAMELESS = ("seed", "name")  # what runs of one arm differ in; `name` ends with the seed
NOT_OF_AN_ARM = (*NAMELESS, "experiment")
FILES = ("run.json", "config.yaml", "scores.json", "metrics.csv")  # of a run, which are read


@dataclass(frozen=True)
class RunScores:
    """A run, as its folder says.

    Args:
        folder: of the run, absolute.
        words: the overrides that it was started with.
        model: which model was chosen, by name.
        data: which data.
        config: the resolved config, flat: each value by its dotted key; without paths.
        missing: why it has no scores; None where it has some.
        scores: what `scores.json` holds; empty where it has none.
    """

    folder: Path
    words: tuple[str, ...]
    model: str
    data: str
    config: Mapping[str, Any]
    missing: str | None
    scores: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> Any:
        """As the config has it."""
        return self.config.get("seed")

    @cached_property
    def epochs(self) -> list[dict[str, float]]:
        """The numbers of `metrics.csv`."""
        return epoch_numbers(self.folder)

    @property
    def seconds(self) -> float | None:
        """Of training; None where nothing says."""
        return sum(row.get("seconds", 0.0) for row in self.epochs) or None


@dataclass(frozen=True)
class Variant:
    """Runs that differ in nothing but the seed.

    Args:
        name: what tells it from the other arms.
        runs: those with scores, in the order of the sweep.
        without: those without.
    """

    name: str
    runs: Sequence[RunScores]
    without: Sequence[RunScores] = ()

    @property
    def first(self) -> RunScores:
        """One of its runs."""
        return [*self.runs, *self.without][0]

    def of_tracks(self, target: str, measure: str, tracks: Sequence[str]) -> np.ndarray:
        """Scores of each track by each run, NaN where undefined. Shape: [seeds, tracks]."""
        found = [[run.scores["tracks"][track].get(target, {}).get(measure) for track in tracks] for run in self.runs]
        return np.array(found, dtype=float)

    def summary(self, target: str, measure: str) -> "Spread | None":
        """The figure of the protocol, over the seeds; None where it is undefined in all of them."""
        statistic = self.runs[0].scores["protocol"]["tracks"]
        values = [run.scores["summary"].get(target, {}).get(measure, {}).get(statistic) for run in self.runs]
        return Spread.of(values)

    def cost(self, key: str) -> "Spread | None":
        """Of training: `parameters`, `memory` in bytes, `devices`; None where the runs have no such record."""
        return Spread.of([run.scores.get("cost", {}).get(key) for run in self.runs])

    @property
    def seconds(self) -> "Spread | None":
        """Of training."""
        return Spread.of([run.seconds for run in self.runs])

    @property
    def gpu_hours(self) -> "Spread | None":
        """Of training, over all GPUs; 0 where it ran on none."""
        return Spread.of([_gpu_hours(run) for run in self.runs])


@dataclass(frozen=True)
class Spread:
    """A mean over seeds.

    Args:
        mean: of them.
        deviation: the standard deviation of a sample; None of a single seed.
        seeds: how many there are.
    """

    mean: float
    deviation: float | None
    seeds: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        """Of those that are defined."""
        defined = [value for value in values if value is not None]
        if not defined:
            return None
        return cls(fmean(defined), stdev(defined) if len(defined) > 1 else None, len(defined))


def _gpu_hours(run: RunScores) -> float | None:
    cost = run.scores.get("cost")
    if cost is None or run.seconds is None:
        return None
    return 0.0 if cost["device"] == "cpu" else run.seconds * cost["devices"] / 3600


def runs_of(sweep: Path, key: str = "sweep") -> list[Path]:
    """List the run folders of a sweep in the order of the runs.

    Args:
        sweep: folder of the sweep.
        key: key that the user gave the folder with.

    Raises:
        InputError: the folder is missing or holds no runs.
    """
    where, expected = f"{key}={sweep}", "the folder of a sweep"
    if not sweep.is_dir():
        raise InputError(where, "is a file" if sweep.exists() else "no such folder", expected=expected)
    found = [path.parent for path in sweep.glob("*/run.json")]
    if not found:
        if (sweep / "run.json").is_file():
            hint = "For some runs type runs=[…]" if key == "sweep" else ""
            raise InputError(where, "is a single run", expected=expected, hint=hint)
        names = ", ".join(sorted(path.name for path in sweep.iterdir())[:5]) or "nothing"
        raise InputError(where, "has no runs", found=names, expected=expected)
    return sorted(found, key=_order)


def _order(run: Path) -> tuple[float, str]:
    number = run.name.split("-")[0]
    return (int(number) if number.isdecimal() else float("inf")), run.name


def read(folder: Path) -> RunScores:
    """Read a run folder.

    Raises:
        InputError: the folder is not that of a run, its record or its config is damaged, or a link leads out of it.
    """
    for name in FILES:
        below(folder, name)
    record = read_record(folder)
    if record is None:
        raise InputError(f"{folder}: has no run.json, expected the folder of a run")
    found, damage = _scores(folder)
    missing = None if found and separates(found) else damage or _why_missing(folder, record, found is not None)
    choices = record["choices"]
    return RunScores(
        folder.resolve(),
        tuple(record["overrides"]),
        choices.get("model", "unknown"),
        choices.get("data", "unknown"),
        _flat(strip_launch_keys(config_tree(folder / "config.yaml"))),
        missing,
        {} if missing else found or {},
    )


def _scores(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Return the scores of a run, or the reason why they cannot be read; neither without a `scores.json`."""
    try:
        return read_scores(folder / "scores.json", whole=True), None
    except FileNotFoundError:
        return None, None
    except InputError as error:  # the other runs of the sweep have their report
        return None, str(error).replace(f"{folder}/", "")


def _why_missing(folder: Path, record: Mapping[str, Any], has_scores: bool) -> str:
    state = record["state"]
    if state == "failed":
        return f"failed: {record.get('error', 'without a word')}"
    if state == "running":
        done = len(epochs(folder))
        return f"still running, {done} epoch{'s' * (done != 1)} done" if is_held(folder) else "was cut off while it ran"
    if state == "done":
        return "has no scores of separated tracks" if has_scores else "is done, and its scores.json is missing"
    return {"queued": "has not started"}.get(state, str(state))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def variants_of(folders: Sequence[Path]) -> list[Variant]:
    """Arms with scores first come first, then those without.

    Raises:
        InputError: no run has scores, scores do not compare (other protocols or other tracks), or a run or a seed of an arm
            is there twice.
    """
    results = [read(folder) for folder in folders]
    _refuse_twice(results)
    scored = [run for run in results if not run.missing]
    if not scored:
        cell_text = "; ".join(f"{run.folder.name} {run.missing}" for run in results[:5]) + ("; …" if len(results) > 5 else "")
        raise InputError(f"none of {len(results)} runs has scores: {cell_text}")
    short = told_apart([run.folder for run in scored])
    refuse_mixed({name: run.scores["protocol"] for name, run in zip(short, scored, strict=True)})
    _refuse_other_tracks(scored, short)
    groups: dict[str, list[RunScores]] = {}
    for run, own in zip(results, _what_is_no_seed(results), strict=True):
        groups.setdefault(digest(own), []).append(run)
    names = _names([runs[0] for runs in groups.values()])
    variants = [
        Variant(name, [run for run in runs if not run.missing], [run for run in runs if run.missing])
        for name, runs in zip(names, groups.values(), strict=True)
    ]
    for variant in variants:
        _refuse_one_seed(variant)
    return sorted(variants, key=lambda variant: not variant.runs)


def told_apart(folders: Sequence[Path]) -> list[str]:
    """The ends of paths, as short as tells all of them apart: runs of two sweeps can have one name."""
    longest = max((len(folder.parts) for folder in folders), default=0)
    ends = ([str(Path(*folder.parts[-depth:])) for folder in folders] for depth in range(1, longest + 1))
    return next((names for names in ends if len({*names}) == len(names)), [])


def _refuse_twice(results: Sequence[RunScores]) -> None:
    seen: set[Path] = set()
    for run in results:
        if run.folder in seen:
            raise InputError(f"{run.folder}: this run is given twice, and would count as two seeds; expected each run once")
        seen.add(run.folder)


def _refuse_one_seed(variant: Variant) -> None:
    for one, other in combinations(variant.runs, 2):
        if one.seed == other.seed:
            first, second = told_apart([one.folder, other.folder])
            raise InputError(
                f"{first} and {second} are runs of one arm with one seed, {one.seed}, and would count as two; leave one out"
            )


def _refuse_other_tracks(scored: Sequence[RunScores], names: Sequence[str]) -> None:
    first, *others = [(run.scores["tracks"], name) for run, name in zip(scored, names, strict=True)]
    for other in others:
        if differ := {*first[0]} ^ {*other[0]}:
            where = first if min(differ) in first[0] else other
            raise InputError(
                f"scores of other tracks do not compare: {first[1]} has {len(first[0])} and "
                f"{other[1]} {len(other[0])}; '{min(differ)}' is one of {where[1]} only"
            )


def _what_is_no_seed(results: Sequence[RunScores]) -> list[dict[str, Any]]:
    """Of each run: its config without the seed, and without what follows the seed in all of them."""
    keys = {key for run in results for key in run.config if key.endswith(".seed")}
    follow = {key for key in keys if all(run.config.get(key, run.seed) == run.seed for run in results)}
    return [{k: v for k, v in run.config.items() if k not in NAMELESS and k not in follow} for run in results]


def _names(firsts: Sequence[RunScores]) -> list[str]:
    """What was typed for each and not for all of them; `unet` and `lr=1e-3` do, where all were told one thing."""
    typed = [[word for word in run.words if _key(word) not in NOT_OF_AN_ARM] for run in firsts]
    common = set.intersection(*map(set, typed)) if len(typed) > 1 else set(typed[0]) - {f"model={firsts[0].model}"}
    own = [[word for word in words if word not in common and _key(word).split(".")[-1] not in PATH_KEYS] for words in typed]
    if all(len(words) == 1 for words in own) and len({_key(words[0]) for words in own}) == 1:
        own = [[_short(words[0])] for words in own]
    names = [" ".join(words) or run.model for words, run in zip(own, firsts, strict=True)]
    ends = told_apart([run.folder for run in firsts])
    return [name if names.count(name) == 1 else f"{name} ({end})" for name, end in zip(names, ends, strict=True)]


def _short(word: str) -> str:
    """The value of a choice; of a dotted key its last name too."""
    key, equals, value = word.partition("=")
    if not equals:
        return word
    return value if "." not in key else f"{key.rpartition('.')[2]}={value}"


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def differences(variants: Sequence[Variant]) -> dict[str, list[Any]]:
    """Keys of the config whose values differ between arms, and the value of each arm; None where an arm lacks the key."""
    kept = _what_is_no_seed([variant.first for variant in variants])
    keys = dict.fromkeys(key for config in kept for key in config)
    rows = {key: [config.get(key) for config in kept] for key in keys}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}
