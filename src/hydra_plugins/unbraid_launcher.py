"""Hydra plugin that starts the runs of the sweep `python train.py -m`.

The key `launcher` of the config chooses how the runs are started, for example as Slurm jobs.

Each run is trained in new processes. Hydra imports this module at every start, so large modules are imported only when a sweep
begins.
"""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from unbraid.runs.text import echo


class SweepLauncher(BasicLauncher):
    """Start the runs of a sweep. The runs of `train.py` start in new processes.

    The runs of all other scripts are executed one by one in this process.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the arguments. For `train.py`, also write the path of the sweep folder into the config."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.trains = config.hydra.job.config_name == "train"
        if self.trains:
            from unbraid.commands.sweep_folder import settle

            settle(config)  # in place, because the sweeper reads the same object

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Start one run for each list of overrides, wait until all runs have ended, and return the result of each run."""
        assert self.config is not None and self.hydra_context is not None
        if not self.trains:
            return super().launch(job_overrides, initial_job_idx)
        if initial_job_idx == 0:  # the imports take seconds; a search calls this method several times
            place = "" if self.config.plan else f" in {self.config.hydra.sweep.dir}"
            runs = "1 run" if len(job_overrides) == 1 else f"{len(job_overrides)} runs"
            echo(f"sweep   checking {runs}{place}", flush=True)
        from unbraid.commands.sweep import launch

        setup_globals()
        return launch(self.config, self.hydra_context.config_loader, job_overrides, initial_job_idx)
