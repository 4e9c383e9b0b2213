"""What is done when a sweep has ended."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from unbraid.runs.errors import InputError
from unbraid.runs.text import echo
from unbraid.sweeps.ledger import sweep_of


class ReportAtEnd(Callback):
    """Leaves the report of a sweep of separators in its folder, and prints its table."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        if sweep_of(folder) is None:  # only planned, or several calls of another script
            return
        from unbraid.reports.making import report_after_sweep  # heavy, and Hydra reads this file at every start

        try:
            report_after_sweep(folder)
        except InputError as error:  # the runs are what they are
            echo(f"\nno report: {error}")
