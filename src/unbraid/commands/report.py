"""Write the report of a sweep: the table of its variants, significance of the differences, plots and a listening page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from unbraid.commands.keys import check_range
from unbraid.reports.errors import report_errors
from unbraid.reports.making import FOLDER, kinds_of, make, report_of
from unbraid.reports.variants import runs_of
from unbraid.runs.config import check
from unbraid.runs.errors import InputError


@dataclass
class ReportConfig:
    """Config of `scripts/report.py`.

    Args:
        sweep: folder of a sweep, whose runs are reported.
        runs: run folders, instead of a sweep.
        output: output folder; None: `report` in the sweep folder or in the working directory.
        baseline: variant that the others are compared with; None: the first.
        measure: measure that ranks the variants; None: the first of NSDR, SDR, uSDRi, … in the protocol.
        songs: largest number of test tracks on the listening page.
        protocol: protocol whose scores are reported, see `evaluate`; None: that of the training.
    """

    sweep: str | None
    runs: list[str]
    output: str | None
    baseline: str | None
    measure: str | None
    songs: int
    protocol: Mapping[str, Any] | None


def report(config: DictConfig) -> None:
    """Write the report folder and print the table; of autoencoders and instruments a table of errors.

    Args:
        config: composed config, see `ReportConfig`.

    Raises:
        InputError: there are no runs with scores, the scores have different protocols, or the baseline or the measure is
            unknown.
    """
    check(config, ReportConfig)
    check_range(config, "songs", 0, float("inf"))
    if (config.sweep is None) != bool(config.runs):
        problem = "one of these keys must be given"
        raise InputError("sweep, runs", problem, hint="Type sweep=FOLDER or 'runs=[FOLDER,FOLDER]'")
    sweep = None if config.sweep is None else Path(config.sweep).expanduser()
    if sweep is None:
        folders, title = [Path(run).expanduser() for run in config.runs], f"{len(config.runs)} runs"
    else:
        folders, title = runs_of(sweep), sweep.resolve().name
    protocol = None if config.protocol is None else str(config.protocol.name)
    if config.output is not None:
        output = Path(config.output).expanduser()
    else:
        output = Path(FOLDER) if sweep is None else report_of(sweep, protocol)
    if kinds_of(folders) == {False}:
        report_errors(folders, output)
    else:
        make(folders, output, title, config.baseline, config.measure, config.songs, protocol)
