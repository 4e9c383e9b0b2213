"""Command `report`: compare the variants of a sweep in a table with significance tests, plots and a listening page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from unbraid.commands.keys import check_range, check_sweep_or_runs
from unbraid.reports.errors import report_errors
from unbraid.reports.making import FOLDER, kinds_of, make, report_of
from unbraid.reports.variants import runs_of
from unbraid.runs.config import check


@dataclass
class ReportConfig:
    """Command-line keys of `scripts/report.py`.

    Args:
        sweep: folder of a sweep. The runs in this folder are compared.
        runs: folders of the runs that are compared, if `sweep` is not given.
        output: output folder; None: `report` in the sweep folder, or in the working directory if only `runs` are given.
        baseline: name of the variant that all other variants are compared with; None: the first variant.
        measure: measure by which the variants are ranked. None: the first measure in `unbraid.reports.tables.ORDER` that the
            protocol has.
        songs: largest number of test tracks on the listening page, where the stems of all variants can be played.
        labels: names of the variants, in the order of the table; empty: names made from the overrides of the runs.
        protocol: config of the protocol whose scores are shown; None: the protocol that scored the runs after training.
        plugins: packages that contain the config of `protocol`, see `unbraid.runs.plugins`.
    """

    sweep: str | None
    runs: list[str]
    output: str | None
    baseline: str | None
    measure: str | None
    songs: int
    labels: list[str]
    protocol: Mapping[str, Any] | None
    plugins: list[str]


def report(config: DictConfig) -> None:
    """Write the report folder of a sweep or of several runs, and print the table of variants.

    For autoencoders and DDSP synthesizers, print a table of the reconstruction errors on the test data instead. Write this
    table to `errors.csv`.

    InputError is raised if no run has scores, the scores have different protocols, or the baseline or the measure is unknown.

    Args:
        config: composed config, see `ReportConfig`.
    """
    check(config, ReportConfig)
    check_range(config, "songs", 0, float("inf"))
    check_sweep_or_runs(config)
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
        make(folders, output, title, config.baseline, config.measure, config.songs, protocol, list(config.labels))
