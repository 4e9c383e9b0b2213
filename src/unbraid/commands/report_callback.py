"""Hydra callback that writes the report at the end of a sweep."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from unbraid.runs.errors import InputError
from unbraid.runs.text import echo
from unbraid.sweeps.ledger import sweep_of


class ReportAtEnd(Callback):
    """Write the report of a sweep of separators into the sweep folder, and print the table of variants."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Write the report of the finished sweep, or print why a report is not possible."""
        folder = Path(config.hydra.sweep.dir)
        if sweep_of(folder) is None:  # a dry run, or another script with -m
            return
        from unbraid.reports.making import report_after_sweep  # heavy import, and Hydra imports this file at every start

        try:
            report_after_sweep(folder)
        except InputError as error:  # an error of the report must not fail the sweep
            echo(f"\nno report: {error}")
