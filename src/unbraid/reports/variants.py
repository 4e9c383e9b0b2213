"""Read the scores in run folders for a report, and group runs that differ only in the seed into one variant."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from unbraid.reports.naming import told_apart, variant_names
from unbraid.runs.config import config_tree, flat
from unbraid.runs.errors import InputError
from unbraid.runs.files import below, refuse_missing
from unbraid.runs.locks import is_held
from unbraid.runs.metrics_reader import epoch_numbers, epochs
from unbraid.runs.records import digest, read_record, strip_launch_keys
from unbraid.runs.scores import read_scores, separates
from unbraid.scoring.tables import refuse_mixed

IGNORED_KEYS = ("seed", "name")  # config keys that differ between the runs of a variant; `name` ends with the seed
Wanted = Callable[[Mapping[str, Any]], bool]
FILES = ("run.json", "config.yaml", "scores.json", "metrics.csv")  # files of a run folder that a report reads


@dataclass(frozen=True)
class RunScores:
    """Store the config and the scores of one training run.

    Args:
        folder: absolute path of the run folder.
        words: command-line overrides with which the run was started, such as `model=unet`.
        model: name of the model config, such as `unet`.
        data: name of the data config, such as `musdb`.
        config: complete config of the run, without paths, as a mapping from dotted key to value.
        missing: reason why the run lacks scores; None if the run has scores.
        scores: content of the file `scores.json`; empty if the run lacks scores.
        tags: words that the user has recorded with the run.
        notes: text that the user has recorded with the run.
    """

    folder: Path
    words: tuple[str, ...]
    model: str
    data: str
    config: Mapping[str, Any]
    missing: str | None
    scores: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    notes: str = ""

    @property
    def seed(self) -> Any:
        """Value of the key `seed` in the config of the run."""
        return self.config.get("seed")

    @cached_property
    def epochs(self) -> list[dict[str, float]]:
        """Logged values of each epoch, read from `metrics.csv` in the run folder. A damaged file raises InputError."""
        return epoch_numbers(self.folder)

    @property
    def seconds(self) -> float | None:
        """Training time of the run in seconds; None if the time was not recorded."""
        return sum(row.get("seconds", 0.0) for row in self.epochs) or None


@dataclass(frozen=True)
class Spread:
    """Store the mean and standard deviation of a value, such as a score, over the seeds of a variant.

    Args:
        mean: mean over the seeds.
        deviation: sample standard deviation over the seeds; None if there is only one seed.
        seeds: number of seeds.
    """

    mean: float
    deviation: float | None
    seeds: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        """Compute mean and standard deviation of the values. Ignore values that are None. If all are None, return None."""
        defined = [value for value in values if value is not None]
        if not defined:
            return None
        return cls(fmean(defined), stdev(defined) if len(defined) > 1 else None, len(defined))


@dataclass(frozen=True)
class Variant:
    """Store a variant: all runs whose configs differ only in the seed.

    Args:
        name: name of the variant; all variants of a report have different names.
        runs: runs with scores, in the order of the sweep.
        without: runs without scores.
    """

    name: str
    runs: Sequence[RunScores]
    without: Sequence[RunScores] = ()

    @property
    def first(self) -> RunScores:
        """The first run with scores. If no run has scores, the first run."""
        return [*self.runs, *self.without][0]

    def of_tracks(self, target: str, measure: str, tracks: Sequence[str]) -> np.ndarray:
        """Return the score of each run on each track, as an array [runs, tracks]. An undefined score is NaN."""
        scores = [[run.scores["tracks"][track].get(target, {}).get(measure) for track in tracks] for run in self.runs]
        return np.array(scores, dtype=float)

    def summary(self, target: str, measure: str) -> Spread | None:
        """Return the score of a target as mean and standard deviation over seeds; None if no seed has a defined score.

        The score of one seed is an average over the tracks, such as the median. The protocol defines this average.
        """
        statistic = self.runs[0].scores["protocol"]["tracks"]
        return Spread.of([run.scores["summary"].get(target, {}).get(measure, {}).get(statistic) for run in self.runs])

    def cost(self, key: str) -> Spread | None:
        """Return a cost of training as mean and standard deviation over seeds.

        Args:
            key: `parameters` (number of parameters), `memory` (peak memory in bytes) or `devices` (number of devices).

        Returns:
            Mean and standard deviation over seeds; None if no run has recorded this cost.
        """
        return Spread.of([run.scores.get("cost", {}).get(key) for run in self.runs])

    @property
    def seconds(self) -> Spread | None:
        """Training time in seconds: mean and standard deviation over seeds; None if no run has recorded the time."""
        return Spread.of([run.seconds for run in self.runs])

    @property
    def gpu_hours(self) -> Spread | None:
        """GPU hours: mean and standard deviation over seeds; None if no run has recorded the time. A CPU run has 0 hours."""
        return Spread.of([_gpu_hours(run) for run in self.runs])


def _gpu_hours(run: RunScores) -> float | None:
    cost = run.scores.get("cost")
    if cost is None or run.seconds is None:
        return None
    return 0.0 if cost["device"] == "cpu" else run.seconds * cost["devices"] / 3600


def runs_of(sweep: Path, key: str = "sweep") -> list[Path]:
    """List the run folders of a sweep (a group of training runs) in the order of the runs.

    Args:
        sweep: folder of the sweep.
        key: config key that contains the path `sweep`, for error messages.

    Returns:
        The run folders.

    Raises:
        InputError: the folder does not exist, is a single run, or contains no runs.
    """
    where, expected = f"{key}={sweep}", "the folder of a sweep"
    if not sweep.exists():
        refuse_missing(where, sweep, expected=expected)
    if not sweep.is_dir():
        raise InputError(where, "this path is a file", expected=expected)
    runs = [path.parent for path in sweep.glob("*/run.json")]
    if not runs:
        if (sweep / "run.json").is_file():
            hint = "To name single run folders, type runs=[FOLDER,…]" if key == "sweep" else ""
            raise InputError(where, "this folder is a single run", expected=expected, hint=hint)
        names = ", ".join(sorted(path.name for path in sweep.iterdir())[:5]) or None
        raise InputError(where, "this folder contains no run folders", found=names, expected=expected)
    return sorted(runs, key=_order)


def _order(run: Path) -> tuple[float, str]:
    number = run.name.split("-")[0]
    return (int(number) if number.isdecimal() else float("inf")), run.name


def read(folder: Path, protocol: str | None = None, wanted: Wanted = separates) -> RunScores:
    """Read the config and the scores of a run folder.

    Args:
        folder: folder of the run.
        protocol: name of the protocol whose scores are read; None: the protocol with which the run was scored after training.
        wanted: function from the content of `scores.json` to a bool. False: the report does not show these scores, and the
            run counts as a run without scores.

    Returns:
        The run. If `scores.json` is damaged, the field `missing` contains the reason.

    Raises:
        InputError: the folder is not a run folder, `run.json` or `config.yaml` is damaged, or a symbolic link leads out of the
            folder.
    """
    for name in FILES:
        below(folder, name)
    record = read_record(folder)
    if record is None:
        raise InputError(folder, "this folder contains no run.json", expected="the folder of a run")
    scores, damage = _scores(folder, protocol)
    missing = None if scores and wanted(scores) else damage or _reason_missing(folder, record, scores is not None)
    if missing and protocol is not None and record["state"] == "done" and damage is None:
        missing = f"has no scores of protocol {protocol}"
    choices = record["choices"]
    return RunScores(
        folder.resolve(),
        tuple(record["overrides"]),
        choices.get("model", "unknown"),
        choices.get("data", "unknown"),
        flat(strip_launch_keys(config_tree(folder / "config.yaml"))),
        missing,
        {} if missing else scores or {},
        tuple(record.get("tags", ())),
        record.get("notes", ""),
    )


def _scores(folder: Path, protocol: str | None) -> tuple[dict[str, Any] | None, str | None]:
    """Read the scores of a run for a protocol. Return the content of the scores file, and an error message.

    Missing file: returns None and None. Damaged file: None and the error message. Valid file: the content and None.
    """
    try:
        path = folder / "scores.json"
        own = read_scores(path, whole=True) if protocol is None or path.is_file() else {}
        if protocol is None or own.get("protocol", {}).get("name") == protocol:
            return own, None
        cost = {key: own[key] for key in ("cost",) if key in own}  # of the training
        return cost | read_scores(below(folder, "scores", protocol, "scores.json"), whole=True), None
    except FileNotFoundError:
        return None, None
    except InputError as error:  # the report shows the other runs
        return None, str(error).replace(f"{folder}/", "")


def _reason_missing(folder: Path, record: Mapping[str, Any], has_scores: bool) -> str:
    state = record["state"]
    if state == "failed":
        return f"failed: {record.get('error', 'without an error message')}"
    if state == "running":
        done = len(epochs(folder))
        return f"still running, {done} epoch{'s' * (done != 1)} done" if is_held(folder) else "was killed while it ran"
    if state == "done":
        return "has no scores of separated tracks" if has_scores else "is done, but its scores.json is missing"
    return {"queued": "has not started"}.get(state, str(state))


def variants_of(folders: Sequence[Path], protocol: str | None = None, wanted: Wanted = separates) -> list[Variant]:
    """Read run folders, and group the runs into variants. The runs of a variant differ only in the seed.

    Args:
        folders: run folders.
        protocol: name of the protocol whose scores are read; None: the protocol with which each run was scored after training.
        wanted: function from the content of `scores.json` to a bool; False: the report does not show these scores.

    Returns:
        The variants. Variants with scores come before variants without scores.

    Raises:
        InputError: no run has scores, the scores have different protocols or tracks, a run is given twice, or two runs of a
            variant have the same seed.
    """
    runs = [read(folder, protocol, wanted) for folder in folders]
    _refuse_duplicates(runs)
    scored = [run for run in runs if not run.missing]
    if not scored:
        reasons = "; ".join([f"{run.folder.name} {run.missing}" for run in runs[:5]] + ["…"] * (len(runs) > 5))
        raise InputError(f"{len(runs)} runs", f"none of the runs has scores: {reasons}")
    scored_names = told_apart([run.folder for run in scored])
    if wanted is separates:
        refuse_mixed({name: run.scores["protocol"] for name, run in zip(scored_names, scored, strict=True)})
    _refuse_different_tracks(scored, scored_names)
    variants = grouped(runs)
    for variant in variants:
        _refuse_equal_seeds(variant)
    return sorted(variants, key=lambda variant: not variant.runs)


def grouped(runs: Sequence[RunScores]) -> list[Variant]:
    """Group runs that differ only in the seed into variants, in the order of the runs."""
    groups: dict[str, list[RunScores]] = {}
    for run, config in zip(runs, configs_without_seed([run.config for run in runs]), strict=True):
        groups.setdefault(digest(config), []).append(run)
    firsts = [group[0] for group in groups.values()]
    names = variant_names([run.words for run in firsts], [run.model for run in firsts], [run.folder for run in firsts])
    return [
        Variant(name, [run for run in group if not run.missing], [run for run in group if run.missing])
        for name, group in zip(names, groups.values(), strict=True)
    ]


def _refuse_duplicates(runs: Sequence[RunScores]) -> None:
    seen: set[Path] = set()
    for run in runs:
        if run.folder in seen:
            raise InputError(run.folder, "this run folder is given twice", expected="each run folder once")
        seen.add(run.folder)


def _refuse_equal_seeds(variant: Variant) -> None:
    for run, other in combinations(variant.runs, 2):
        if run.seed == other.seed:
            where = " and ".join(told_apart([run.folder, other.folder]))
            problem, hint = "these two runs have the same config and the same seed", "Leave out one of the two runs."
            raise InputError(where, problem, found=run.seed, expected="a different seed for each run", hint=hint)


def _refuse_different_tracks(runs: Sequence[RunScores], names: Sequence[str]) -> None:
    first, *others = [(run.scores["tracks"], name) for run, name in zip(runs, names, strict=True)]
    for other in others:
        if different := {*first[0]} ^ {*other[0]}:
            track = min(different)
            name = first[1] if track in first[0] else other[1]
            counts = f"the track '{track}' only in {name}"
            problem = "the two runs were scored on different tracks, so their scores cannot be compared"
            raise InputError(f"{first[1]} and {other[1]}", problem, found=counts)


def configs_without_seed(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return flat configs of runs, but leave out `seed`, `name`, and the keys whose value is copied from `seed`.

    Args:
        configs: one mapping from dotted keys to values for each run.

    Returns:
        The configs without these keys. A key such as `data.layout.seed` is kept if it differs from `seed` in a run.
    """
    seed_keys = {key for config in configs for key in config if key.endswith(".seed")}
    copies = {key for key in seed_keys if all(config.get(key, config.get("seed")) == config.get("seed") for config in configs)}
    return [{k: v for k, v in config.items() if k not in IGNORED_KEYS and k not in copies} for config in configs]
