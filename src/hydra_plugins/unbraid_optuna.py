"""Hydra sweeper for `sweeper=optuna`: search hyperparameters with Optuna, and train one run for each trial.

Hydra imports this module at every start. Therefore Optuna and other large modules are imported only when a search begins. `from
__future__ import annotations` must not be used here, because with this import, Hydra cannot load a plugin that contains a
dataclass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from unbraid.runs.errors import InputError
from unbraid.sweeps.search.options import Options

if TYPE_CHECKING:
    from unbraid.runs.records import Run
    from unbraid.sweeps.search.space import Space


@dataclass
class SearchConf(Options):
    """Config node of the class `SearchSweeper`. The keys of the node are the options of a hyperparameter search."""

    _target_: str = "hydra_plugins.unbraid_optuna.SearchSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="unbraid_optuna", node=SearchConf, provider="unbraid")


class SearchSweeper(Sweeper):
    """Take trials (sets of hyperparameters) from an Optuna study, train one run for each trial, and record the runs' scores.

    Args:
        **options: options of the search, see `unbraid.sweeps.search.options.Options`.
    """

    def __init__(self, **options: Any) -> None:
        self.options = Options(**options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the config and create the launcher that runs the trials."""
        self.loader, self.master = hydra_context.config_loader, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Train runs of the search until the Optuna study contains `n_trials` trials.

        Args:
            arguments: overrides of the command line.

        Raises:
            ModuleNotFoundError: a required Python package other than Optuna is missing.
            InputError: the script is not `train.py`, Optuna is not installed, or an option, the search space or a run is
                invalid.
        """
        if self.master.hydra.job.config_name != "train":
            raise InputError("sweeper=optuna", "this sweeper only works with train.py", hint="Remove sweeper=optuna")
        self.options.check()
        try:
            from unbraid.sweeps.search.study import Search
            from unbraid.sweeps.search.trials import Trials
        except ModuleNotFoundError as error:
            if error.name != "optuna":
                raise
            raise InputError(
                "optuna", "this Python package is not installed", hint="Run pip install 'unbraid[optuna]'"
            ) from error
        from unbraid.commands.cli import failed_runs

        setup_globals()
        space, folder = self._space(arguments), Path(self.master.hydra.sweep.dir)
        example = [*space.fixed_overrides(), *space.example()]
        self._run(example, 0)  # raises errors of all trials before the study exists
        if self.master.plan:
            self.launcher.launch([example], 0)
            return
        storage = Path(self.options.storage or folder / "study.journal")
        with Search(self.options, space, self.master.seed, storage) as search:
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self.master, folder / "multirun.yaml")  # as Hydra's own sweepers do
            failed_runs.extend(Trials(search, self.launcher.launch, self._run, folder).run())

    def _space(self, arguments: list[str]) -> "Space":
        from unbraid.sweeps.search.space import Space

        parser = OverridesParser.create(config_loader=self.loader)
        words = [*(f"{key}={value}" for key, value in self.options.params.items()), *arguments]
        return Space(parser.parse_overrides(words), self.options.conditions, parser)

    def _run(self, overrides: Sequence[str], number: int) -> "Run":
        """Compose and check the config of a trial. Return the run of the trial without starting the run."""
        from unbraid.commands.experiment import check_experiment
        from unbraid.commands.sweep import planned_run

        run = planned_run(self.master, self.loader, overrides, number).run
        check_experiment(run.config)
        return run
