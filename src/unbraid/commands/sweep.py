"""A sweep: its runs frozen in their folders, handed to a launcher, and written into the ledger.

The same command again finds the same sweep: it skips what is done, goes on with what was cut off and tries again what failed.
"""

import atexit
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict

from unbraid.commands.cli import as_asked, failed_runs, remove_if_empty
from unbraid.commands.experiment import check_experiment, choices_of, named
from unbraid.commands.overrides import as_typed, quoted
from unbraid.commands.plan import plan
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.runs.records import (
    ENDED,
    LEDGER,
    Run,
    code,
    digest,
    launch_overrides,
    read_record,
    run_overrides,
    strip_launch_keys,
    sweep_overrides,
)
from unbraid.runs.text import echo
from unbraid.sweeps.launchers.jobs import Job, Launcher
from unbraid.sweeps.ledger import Ledger, read, sweep_of
from unbraid.sweeps.progress import ProgressTable, main_score

NOT_OF_A_SWEEP = ("n_trials", "n_jobs", "storage")  # of a sweeper: how far and where, not what


def identity_of(config: DictConfig) -> str:
    """Of a sweep: what its runs have in common and what they are swept over, without paths and without how they are started."""
    common = {key: value for key, value in _tree(config).items() if key != "hydra"}
    sweeper = {key: value for key, value in _tree(config.hydra.sweeper).items() if key not in NOT_OF_A_SWEEP}
    return digest([strip_launch_keys(common), sweep_overrides(config.hydra.overrides.task), sweeper])


def _tree(config: DictConfig) -> dict[str, Any]:
    tree: Any = OmegaConf.to_container(config, resolve=False)
    return dict(tree)


def settle(config: DictConfig) -> None:
    """Lead a sweep to the folder that it has already, where it was begun before and no other folder is named.

    One that is only planned gets none.
    """
    if word := named(config.hydra, "hydra.run.dir"):
        raise InputError(f"{word}: is for a single run; the folder of a sweep is hydra.sweep.dir=…")
    if config.plan:
        scratch = tempfile.mkdtemp()  # for what Hydra leaves
        atexit.register(shutil.rmtree, scratch)
        _lead(config, Path(scratch))
    elif config.resume == "auto" and not named(config.hydra, "hydra.sweep.dir"):
        own, folder = identity_of(config), Path(config.hydra.sweep.dir)
        found = [path for path in folder.parent.parent.glob(f"*/*/{LEDGER}") if sweep_of(path.parent) == own]
        if found:
            _lead(config, max(found, key=lambda path: path.stat().st_mtime).parent)


def _lead(config: DictConfig, folder: Path) -> None:
    """The sweeper reads it here; what Hydra composes for each run starts from the overrides."""
    with open_dict(config):
        config.hydra.sweep.dir = str(folder)
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")


@dataclass
class PlannedRun:
    """What Hydra and we call a run."""

    run: Run
    result: JobReturn
    number: int

    @property
    def job(self) -> Job:
        """What a launcher must know of it.

        Raises:
            InputError: `trainer.devices` says nothing.
        """
        trainer = self.run.config.trainer
        on_gpu = {"cpu": False, "gpu": True, "cuda": True}.get(str(trainer.accelerator))
        return Job(self.number, self.run.folder, _processes(trainer.devices), int(trainer.num_nodes), on_gpu)


def launch(config: DictConfig, loader: ConfigLoader, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Run these, numbered from `first`; what is wrong with any of them is said before one starts.

    A run that fails does not end the sweep: it is in `cli.failed_runs`, and the folder says why.

    Raises:
        InputError: a run cannot be, or not by this launcher; or the folder is that of another sweep.
    """
    folder = Path(config.hydra.sweep.dir)
    with _nothing_left(folder):
        _same_for_all(job_overrides)
        planned_runs = [planned_run(config, loader, words, number) for number, words in enumerate(job_overrides, first)]
        launcher = _checked(config, planned_runs)
    if config.plan:
        plan([planned.run for planned in planned_runs])
        return [planned.result for planned in planned_runs]
    ledger = Ledger(folder, identity_of(config))
    ledger.open()
    done, left = list[PlannedRun](), list[PlannedRun]()
    for planned in planned_runs:
        (done if _is_done(planned.run) else left).append(planned)
    _catch_up(ledger, [planned.run.folder for planned in done])
    for planned in left:
        planned.run.freeze()
    echo(_introduction(folder, launcher, done, left))
    if left:
        with as_asked(), ProgressTable([(planned.job, planned.run) for planned in left], ledger) as board:
            launcher.run([planned.job for planned in left], board)
    failed_runs.extend(
        planned.run.folder.name for planned in left if (read_record(planned.run.folder) or {}).get("state") not in ENDED
    )
    return [planned.result for planned in planned_runs]


@contextmanager
def _nothing_left(folder: Path) -> Iterator[None]:
    """Of a sweep that is refused: Hydra has made a folder for it a moment ago, with a file of its own."""
    try:
        yield
    except InputError:
        if {path.name for path in folder.glob("*")} == {"multirun.yaml"}:
            (folder / "multirun.yaml").unlink()
            remove_if_empty(folder.absolute())
        raise


def _same_for_all(job_overrides: Sequence[Sequence[str]]) -> None:
    """See that there are runs, and that they differ in what they are only."""
    if not job_overrides:
        raise InputError("the sweep has no runs: one of its overrides sweeps over nothing")
    first, *others = (launch_overrides(words) for words in job_overrides)
    for other in others:
        if different := sorted(first ^ other):
            found, too = different[0], ", ".join(different[1:])
            raise InputError(f"{found}: is how the runs of a sweep are started, the same for all; found {too} too")


def planned_run(config: DictConfig, loader: ConfigLoader, words: Sequence[str], number: int) -> PlannedRun:
    """Compose one, as Hydra does."""
    composed = loader.load_sweep_config(config, list(words))
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    folder = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir)
    tree = _tree(composed)
    del tree["hydra"]
    own = OmegaConf.create(tree)
    OmegaConf.resolve(own)  # `hydra:` means this job now, and the next one soon
    run = Run(folder, own, [as_typed(word) for word in run_overrides(words)], choices_of(composed.hydra))
    result = JobReturn(overrides=list(words), cfg=own, hydra_cfg=composed, working_dir=str(folder), status=JobStatus.COMPLETED)
    result.return_value = None
    return PlannedRun(run, result, number)


def _processes(devices: Any) -> int | None:
    """How many Lightning makes of `trainer.devices`; None: as many as it is given."""
    if OmegaConf.is_list(devices):
        return len(devices)
    if devices == "auto" or str(devices) == "-1":
        return None
    if not re.fullmatch(r"\d+(,\d+)*,?", str(devices)):
        raise InputError(f"trainer.devices: found {devices}, expected auto, how many, or a list of ids")
    return len(str(devices).strip(",").split(",")) if "," in str(devices) else int(devices)


def _checked(config: DictConfig, planned_runs: Sequence[PlannedRun]) -> Launcher:
    """What runs them."""
    folders = [planned.run.folder for planned in planned_runs]
    if len({*folders}) < len(folders):
        raise InputError(
            f"hydra.sweep.subdir: found {config.hydra.sweep.subdir}, which is the same for several runs of the sweep"
        )
    jobs = list[Job]()
    for planned in planned_runs:
        try:
            check_experiment(planned.run.config)
            jobs.append(planned.job)
        except InputError as error:
            raise InputError(f"{planned.run.folder.name}: {error}; nothing was started") from error
    launcher: Launcher = build(config.launcher)
    for job in jobs:
        if refusal := launcher.refusal(job):
            raise InputError(f"{job.folder.name}: {refusal}; nothing was started")
    return launcher


def _catch_up(ledger: Ledger, done: Sequence[Path]) -> None:
    """Note what has been done while the command that started it was dead."""
    noted = {line["run"] for line in read(ledger.folder)[1:] if line["state"] in ENDED}
    for folder in done:
        if folder.name not in noted and (record := read_record(folder)):
            ledger.record(folder, record, score=main_score(folder))


def _is_done(run: Run) -> bool:
    """Whether the folder holds this run at its end; where it holds another one, `Run.freeze` says so."""
    record = read_record(run.folder)
    return record is not None and record["identity"] == run.identity and record["state"] in ENDED


def _introduction(folder: Path, launcher: Launcher, done: Sequence[PlannedRun], left: Sequence[PlannedRun]) -> str:
    places = f", {launcher.introduction([planned.job for planned in left])}" if left else ""
    count = len(done) + len(left)
    said = f"sweep   {folder}: {count} run{'s' if count > 1 else ''}{places}"
    if done:
        others = sum((read_record(planned.run.folder) or {}).get("code") != code() for planned in done)
        source = f", {others} of them with other source code than this" if others else ""
        said += f"\n        {len(done)} done before{source}; resume=never starts anew"
    return said
