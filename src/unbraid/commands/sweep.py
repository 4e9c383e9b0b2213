"""Run a sweep (a series of runs with different overrides). Each sweep has its own folder.

The config of each run is written into the folder of the run. A launcher starts the runs. The ledger (`ledger.jsonl` in the
sweep folder) records the state of each run. If the user repeats the command, the command finds the sweep folder again, skips
finished runs, resumes interrupted runs and repeats failed runs.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from unbraid.commands.cli import failed_runs, remove_if_empty, user_tracebacks
from unbraid.commands.experiment import check_experiment, choices_of
from unbraid.commands.overrides import as_typed
from unbraid.commands.plan import plan
from unbraid.commands.sweep_folder import identity_of, tree_of
from unbraid.interop.initial import with_hash
from unbraid.runs import plugins
from unbraid.runs.config import build_kind
from unbraid.runs.errors import InputError
from unbraid.runs.records import (
    ENDED,
    Run,
    launch_overrides,
    read_record,
    run_overrides,
)
from unbraid.runs.source_version import code
from unbraid.runs.text import echo
from unbraid.sweeps.launchers.jobs import Job, Launcher
from unbraid.sweeps.ledger import Ledger, read
from unbraid.sweeps.progress import ProgressTable, main_score
from unbraid.sweeps.run_names import run_name
from unbraid.training.interruption import RESUMES, interruptible


@dataclass
class PlannedRun:
    """Store a run that is not started yet. The config of the run is already composed.

    Args:
        run: run with its folder, its config and its overrides.
        result: object that Hydra's sweepers expect as the result of a run.
        number: index of the run in the sweep.
    """

    run: Run
    result: JobReturn
    number: int

    @property
    def job(self) -> Job:
        """The job of the run for a launcher: run folder, devices and number of machines.

        An invalid `trainer.devices` raises InputError.
        """
        trainer = self.run.config.trainer
        on_gpu = {"cpu": False, "gpu": True, "cuda": True}.get(str(trainer.accelerator))
        return Job(self.number, self.run.folder, _processes(trainer.devices), int(trainer.num_nodes), on_gpu)


def launch(config: DictConfig, loader: ConfigLoader, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Train the runs of a sweep with the launcher of the config. All runs are checked before the first run starts.

    InputError is raised if a run is invalid, the launcher cannot start a run, or the sweep folder contains another sweep. A
    failed run does not end the sweep. The name of the failed run is added to `cli.failed_runs`, and the `run.json` of the run
    contains the error.

    Args:
        config: composed config of the sweep, with its `hydra` node.
        loader: config loader of Hydra.
        job_overrides: for each run, the list of its overrides.
        first: index, in the sweep, of the first run in `job_overrides`.

    Returns:
        One result for each run, in the form that Hydra's sweepers expect.
    """
    folder = Path(config.hydra.sweep.dir)
    with _clean_up(folder):
        _check_overrides(job_overrides)
        planned_runs = [planned_run(config, loader, words, number) for number, words in enumerate(job_overrides, first)]
        launcher = _checked(config, planned_runs)
    if config.plan:
        plan([planned.run for planned in planned_runs])
        return [planned.result for planned in planned_runs]
    ledger = Ledger(folder, identity_of(config))
    ledger.open()
    done, remaining = list[PlannedRun](), list[PlannedRun]()
    for planned in planned_runs:
        (done if _is_done(planned.run) else remaining).append(planned)
    _catch_up(ledger, [planned.run.folder for planned in done])
    for planned in remaining:
        planned.run.freeze()
    echo(_introduction(folder, launcher, done, remaining))
    if remaining:
        watched = [(planned.job, planned.run) for planned in remaining]
        with (
            interruptible(RESUMES.format("sweep") if config.resume == "auto" else None),
            user_tracebacks(),
            ProgressTable(watched, ledger) as table,
        ):
            launcher.run([planned.job for planned in remaining], table)
    failed_runs.extend(
        planned.run.folder.name for planned in remaining if (read_record(planned.run.folder) or {}).get("state") not in ENDED
    )
    return [planned.result for planned in planned_runs]


@contextmanager
def _clean_up(folder: Path) -> Iterator[None]:
    """If the `with` block raises an InputError, remove a sweep folder that contains only Hydra's file `multirun.yaml`."""
    try:
        yield
    except InputError:
        if {path.name for path in folder.glob("*")} == {"multirun.yaml"}:
            (folder / "multirun.yaml").unlink()
            remove_if_empty(folder.absolute())
        raise


def _check_overrides(job_overrides: Sequence[Sequence[str]]) -> None:
    """Check that the sweep has at least one run and that all runs have the same launcher options."""
    if not job_overrides:
        problem = "the sweep contains no runs, because an override lists no values"
        raise InputError("sweep", problem, hint="Add a value to this override")
    first, *others = (launch_overrides(words) for words in job_overrides)
    for other in others:
        if different := sorted(first ^ other):
            raise InputError(
                different[0], "this option must be the same for all runs of a sweep", found=" and ".join(different)
            )


def planned_run(config: DictConfig, loader: ConfigLoader, words: Sequence[str], number: int) -> PlannedRun:
    """Compose the config of one run of a sweep, in the same way as Hydra's own launcher.

    Args:
        config: composed config of the sweep, with its `hydra` node.
        loader: config loader of Hydra.
        words: overrides of the run.
        number: index of the run in the sweep.

    Returns:
        The composed run, which is not started.
    """
    composed = loader.load_sweep_config(config, list(words))
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    with read_write(composed.hydra):
        composed.hydra.job.override_dirname = _name(composed, words, _swept(config, loader))
    HydraConfig.instance().set_config(composed)
    folder = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir)
    tree = tree_of(composed)
    del tree["hydra"]
    run_config = OmegaConf.create(tree)
    with_hash(run_config)
    OmegaConf.resolve(run_config)  # now, because `${hydra:…}` refers to the run that was composed last
    run = Run(folder, run_config, [as_typed(word) for word in run_overrides(words)], choices_of(composed.hydra))
    result = JobReturn(list(words), run_config, composed, str(folder))
    result.status = JobStatus.COMPLETED
    result.return_value = None
    return PlannedRun(run, result, number)


def _name(composed: DictConfig, words: Sequence[str], swept: frozenset[str]) -> str:
    """Return the last part of the name of a run folder: the swept keys and values of the run.

    If an override sets the config key `name`, or if no key is swept, the value of the key `name` is returned.
    """
    typed = any(word.startswith("name=") for word in words)
    return str(composed.name) if typed else run_name([as_typed(word) for word in words], swept) or str(composed.name)


def _swept(config: DictConfig, loader: ConfigLoader) -> frozenset[str]:
    """Return the swept keys: config keys with several values on the command line or in the chosen experiment."""
    params = tree_of(config.hydra.sweeper).get("params") or {}
    words = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    overrides = {word.key_or_group: word for word in OverridesParser.create(config_loader=loader).parse_overrides(words)}
    return frozenset(key for key, override in overrides.items() if override.is_sweep_override())


def _processes(devices: Any) -> int | None:
    """Return the number of processes that Lightning starts. `devices` is the value of `trainer.devices`.

    The result is None if Lightning starts one process for each visible device.
    """
    if OmegaConf.is_list(devices):
        return len(devices)
    if devices == "auto" or str(devices) == "-1":
        return None
    if not re.fullmatch(r"\d+(,\d+)*,?", str(devices)):
        raise InputError("trainer.devices", found=devices, expected="auto, a number, or a list of device ids")
    return len(str(devices).strip(",").split(",")) if "," in str(devices) else int(devices)


def _checked(config: DictConfig, planned_runs: Sequence[PlannedRun]) -> Launcher:
    """Check the folder and config of each run. Check that the launcher has enough devices for each run. Return the launcher."""
    folders = [planned.run.folder for planned in planned_runs]
    if len({*folders}) < len(folders):
        problem = "several runs of the sweep get the same folder from this pattern"
        hint = "Add ${hydra:job.num} to the pattern"
        raise InputError("hydra.sweep.subdir", problem, found=config.hydra.sweep.subdir, hint=hint)
    jobs = list[Job]()
    for planned in planned_runs:
        try:
            check_experiment(planned.run.config)
            jobs.append(planned.job)
        except InputError as error:
            problem = f"the config of this run is invalid ({error})"
            raise InputError(planned.run.folder.name, problem, hint="No run of the sweep was started") from error
    launcher: Launcher = build_kind(config.launcher, Launcher)
    for job in jobs:
        if refusal := launcher.refusal(job):
            raise InputError(
                job.folder.name, f"the launcher cannot start this run ({refusal})", hint="No run of the sweep was started"
            )
    return launcher


def _catch_up(ledger: Ledger, done: Sequence[Path]) -> None:
    """Add the finished runs that are missing in the ledger.

    A finished run is missing if an earlier sweep command was killed before the run ended.
    """
    recorded = {line["run"] for line in read(ledger.folder)[1:] if line["state"] in ENDED}
    for folder in done:
        if folder.name not in recorded and (record := read_record(folder)):
            ledger.record(folder, record, score=main_score(folder))


def _is_done(run: Run) -> bool:
    """Return True if the folder of the run contains an earlier run with the same config and with the state done or pruned."""
    record = read_record(run.folder)
    return record is not None and record["identity"] == run.identity and record["state"] in ENDED


def _introduction(folder: Path, launcher: Launcher, done: Sequence[PlannedRun], remaining: Sequence[PlannedRun]) -> str:
    """Return the text that is printed when a sweep starts: folder, number of runs, launcher, finished runs."""
    places = f", {launcher.introduction([planned.job for planned in remaining])}" if remaining else ""
    runs = len(done) + len(remaining)
    lines = f"sweep   {folder}: {runs} run{'s' if runs > 1 else ''}{places}"
    if done:
        records = [read_record(planned.run.folder) or {} for planned in done]
        others = sum(record.get("code") != code() for record in records)
        source = f", {others} of them with other source code" if others else ""
        lines += f"\n        {len(done)} already finished{source}. resume=never starts a new sweep"
        now = plugins.used([OmegaConf.to_container(planned.run.config, resolve=True) for planned in done])
        texts = dict.fromkeys(text for record in records for text in plugins.changes(record.get("plugins"), now))
        lines += "".join(f"\n        {text}" for text in texts)
    return lines
