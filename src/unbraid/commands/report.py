"""Report: the ablation table of a sweep, what is luck in it, and pages to look at and to listen to."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from unbraid.reports.making import FOLDER, make, report_of
from unbraid.reports.variants import runs_of
from unbraid.runs.config import check
from unbraid.runs.errors import InputError


@dataclass
class ReportConfig:
    """What to report on.

    Args:
        sweep: folder of a sweep, all of whose runs are taken.
        runs: folders of runs, in place of a sweep.
        output: folder that is made; None: `report` in the sweep, or here.
        baseline: the arm that others are compared with; None: the first.
        measure: what arms are judged by; None: the first that the protocol has of NSDR, SDR, uSDRi and others.
        songs: how many test tracks can be heard at most.
    """

    sweep: str | None
    runs: list[str]
    output: str | None
    baseline: str | None
    measure: str | None
    songs: int


def report(config: DictConfig) -> None:
    """Write the folder and print the table.

    Raises:
        InputError: no runs, none with scores, scores that do not compare, an arm or measure that is not there.
    """
    check(config, ReportConfig)
    if config.songs < 0:
        raise InputError(f"songs must be at least 0, found {config.songs}")
    if (config.sweep is None) != bool(config.runs):
        raise InputError("sweep or runs must be given, one of them: sweep=FOLDER or 'runs=[FOLDER,FOLDER]'")
    sweep = None if config.sweep is None else Path(config.sweep).expanduser()
    if sweep is None:
        folders, title = [Path(run).expanduser() for run in config.runs], f"{len(config.runs)} runs"
    else:
        folders, title = runs_of(sweep), sweep.resolve().name
    if config.output is not None:
        output = Path(config.output).expanduser()
    else:
        output = Path(FOLDER) if sweep is None else report_of(sweep)
    make(folders, output, title, config.baseline, config.measure, config.songs)
