"""Train: one experiment, in this process, in several, or from a folder that holds it already."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGINT

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from unbraid.commands.cli import frozen, sentence
from unbraid.commands.experiment import check_experiment, choices_of, named
from unbraid.commands.overrides import as_typed
from unbraid.commands.plan import plan
from unbraid.runs.errors import InputError
from unbraid.runs.records import Run, State, run_overrides
from unbraid.runs.resume import resumed_or_new
from unbraid.runs.text import one_line
from unbraid.sweeps.launchers.gpu_faults import is_gpu_fault
from unbraid.sweeps.launchers.processes import live_with_parent, start
from unbraid.training.base import Workflow
from unbraid.training.build import build_workflow
from unbraid.training.interruption import interruptible


def train(config: DictConfig) -> None:
    """Run one experiment in the folder that Hydra has chosen for it, or in that of the same one that was cut off."""
    with interruptible():
        check_experiment(config)
        chosen = HydraConfig.get()
        words = [as_typed(word) for word in chosen.overrides.task]
        if typed := next((word for word in words if word.startswith(("launcher", "sweeper"))), None):
            raise InputError(f"{typed}: is for sweeps, of one run too; add -m, as in: python train.py -m …")
        if typed := named(chosen, "hydra.sweep.dir"):
            raise InputError(f"{typed}: is for sweeps; the folder of a single run is hydra.run.dir=…")
        run = Run(Path(chosen.runtime.output_dir), config, run_overrides(words), choices_of(chosen))
        if config.plan:
            plan([run])
        else:
            _train(run, named(chosen, "hydra.run.dir") is not None)


def _train(run: Run, pinned: bool) -> None:
    """In this process and those it starts; `pinned`: the folder was named, and is no other's."""
    run = resumed_or_new(run, pinned)
    workflow = build_workflow(run)  # what cannot be trained or scored is said before the run has a folder
    if workflow.starts_processes:
        _in_processes_of_its_own(run)
        return
    if workflow.trainer.world_size > 1 and not pinned:
        raise InputError(
            "hydra.run.dir: processes that another program starts, such as srun or torchrun, need one folder; name it"
        )
    if not workflow.trainer.is_global_zero:
        workflow.run()
        return
    run.freeze()
    _recorded(run, workflow.run)


def train_frozen(folder: Path) -> None:
    """Run the experiment that a folder holds, from where it is; on each process of it."""
    run = Run.frozen(folder)
    with interruptible():
        if rank_zero_only.rank:  # type: ignore[attr-defined]  # Lightning knows it from the environment
            build_workflow(run).run()
        else:
            _recorded(run, lambda: _checked(run).run())


def _checked(run: Run) -> Workflow:
    check_experiment(run.config)
    return build_workflow(run)


def _recorded(run: Run, work: Callable[[], State]) -> None:
    """Nobody else is at the run meanwhile, and its record says how it ended."""
    with run.held():
        run.mark("running")
        try:
            state = work()
        except BaseException as error:
            with suppress(OSError):  # a full disk must not hide its own message
                if isinstance(error, KeyboardInterrupt):
                    run.mark("interrupted")
                else:
                    run.mark("failed", _reason(error, run.folder), gpu_fault=is_gpu_fault(error))
            raise
        run.mark(state)


def _reason(error: BaseException, folder: Path) -> str:
    return sentence(error, "config", folder) or f"{type(error).__name__}: {one_line(str(error))[:500]}"


def _in_processes_of_its_own(run: Run) -> None:
    """Each process reads the frozen config; none composes one of its own from the command line, the clock and a sweeper."""
    run.freeze()
    process = start(run.folder)
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt as error:  # it ends in its own way
            process.send_signal(getattr(error, "signum", SIGINT))
    if status:
        sys.exit(status if status > 0 else 128 - status)


def main() -> None:
    """`python -m unbraid.commands.train FOLDER`: go on with a frozen run."""
    live_with_parent(sys.argv)
    frozen(train_frozen, sys.argv[1])


if __name__ == "__main__":
    main()
