"""How `python train.py -m` runs what it is asked for: each run in fresh processes, by the launcher that the config chooses.

Hydra executes this file at every start, so all that is heavy is imported when a sweep begins.
"""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SweepLauncher(BasicLauncher):
    """Of train.py; the other scripts run what they sweep over one after the other, in their own process."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.trains = config.hydra.job.config_name == "train"
        if self.trains:
            from unbraid.commands.sweep import settle

            settle(config)  # the sweeper reads the same object

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        assert self.config is not None and self.hydra_context is not None
        if not self.trains:
            return super().launch(job_overrides, initial_job_idx)
        from unbraid.commands.sweep import launch

        setup_globals()
        return launch(self.config, self.hydra_context.config_loader, job_overrides, initial_job_idx)
