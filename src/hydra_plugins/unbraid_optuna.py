"""`sweeper=optuna`: a search on Optuna's ask and tell, whose trials the launcher of any sweep runs.

Hydra executes this file at every start, so Optuna and all that is heavy is imported when a search begins. (Annotations that are
strings break Hydra's scan of plugins with dataclasses.)
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
    _target_: str = "hydra_plugins.unbraid_optuna.SearchSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="unbraid_optuna", node=SearchConf, provider="unbraid")


class SearchSweeper(Sweeper):
    """Asks a study for trials, has the launcher run them, and tells the study what their folders say.

    Args:
        options: those of `unbraid.sweeps.search.options.Options`.
    """

    def __init__(self, **options: Any) -> None:
        self.options = Options(**options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader, self.master = hydra_context.config_loader, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until as many as asked for have begun.

        Raises:
            InputError: Optuna is missing, or what is asked for cannot be searched.
        """
        if self.master.hydra.job.config_name != "train":
            raise InputError("sweeper=optuna: searches with train.py only")
        self.options.check()
        try:
            from unbraid.sweeps.search.study import Search
            from unbraid.sweeps.search.trials import Trials
        except ModuleNotFoundError as error:
            if error.name != "optuna":
                raise
            raise InputError("sweeper=optuna needs the package optuna: pip install 'unbraid[optuna]'") from error
        from unbraid.commands.cli import failed_runs

        setup_globals()
        space, folder = self._space(arguments), Path(self.master.hydra.sweep.dir)
        example = [*space.fixed_overrides(), *space.example()]
        self._run(example, 0)  # what is wrong with all trials is said before there is a study
        if self.master.plan:
            self.launcher.launch([example], 0)
            return
        storage = Path(self.options.storage or folder / "study.journal")
        with Search(self.options, space, self.master.seed, storage) as search:
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self.master, folder / "multirun.yaml")  # as Hydra's own sweeps leave it
            failed_runs.extend(Trials(search, self.launcher.launch, self._run, folder).run())

    def _space(self, arguments: list[str]) -> "Space":
        from unbraid.sweeps.search.space import Space

        parser = OverridesParser.create(config_loader=self.loader)
        words = [*(f"{key}={value}" for key, value in self.options.params.items()), *arguments]
        return Space(parser.parse_overrides(words), self.options.conditions, parser)

    def _run(self, overrides: Sequence[str], number: int) -> "Run":
        """Of a trial, composed and checked."""
        from unbraid.commands.experiment import check_experiment
        from unbraid.commands.sweep import planned_run

        run = planned_run(self.master, self.loader, overrides, number).run
        check_experiment(run.config)
        return run
