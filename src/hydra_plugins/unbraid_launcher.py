"""Hydra launcher of `python train.py -m`: pass the runs of a sweep to the launcher of unbraid that the config chooses.

Each run is trained in new processes. Hydra imports this module at every start, so large modules are imported only when a sweep
begins.
"""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SweepLauncher(BasicLauncher):
    """Start the runs of a sweep: for `train.py` in new processes, for all other scripts one after the other in this process."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the arguments. For `train.py`, also set the sweep folder in the config for Hydra's sweeper."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.trains = config.hydra.job.config_name == "train"
        if self.trains:
            from unbraid.commands.sweep import settle

            settle(config)  # in place, because the sweeper reads the same object

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Start one run for each list of overrides, wait until all runs have ended, and return the result of each run."""
        assert self.config is not None and self.hydra_context is not None
        if not self.trains:
            return super().launch(job_overrides, initial_job_idx)
        from unbraid.commands.sweep import launch

        setup_globals()
        return launch(self.config, self.hydra_context.config_loader, job_overrides, initial_job_idx)
