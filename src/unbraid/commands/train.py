"""Command `train`: train one experiment, in one process or in several.

The config of the experiment comes from the command line or from a run folder.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGINT

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from unbraid.commands.cli import error_message, frozen
from unbraid.commands.experiment import check_experiment, choices_of
from unbraid.commands.memory_plan import fit_memory
from unbraid.commands.overrides import as_typed, named
from unbraid.commands.plan import plan
from unbraid.interop.initial import with_hash
from unbraid.runs.errors import InputError
from unbraid.runs.records import Run, State, run_overrides
from unbraid.runs.resume import settled
from unbraid.runs.text import one_line
from unbraid.sweeps.launchers.gpu_faults import is_gpu_fault
from unbraid.sweeps.launchers.processes import live_with_parent, start
from unbraid.training.base import Workflow
from unbraid.training.build import build_workflow
from unbraid.training.callbacks.last_checkpoint import LAST
from unbraid.training.interruption import RESUMES, STARTS_AGAIN, interruptible


def train(config: DictConfig) -> None:
    """Train one experiment in a run folder, or resume an interrupted run of the same experiment.

    Args:
        config: composed config of the experiment.

    Raises:
        InputError: the config is invalid, or the command line contains an option that only applies to sweeps.
    """
    with interruptible():
        check_experiment(config)
        with_hash(config)
        chosen = HydraConfig.get()
        words = [as_typed(word) for word in chosen.overrides.task]
        if typed := next((word for word in words if word.startswith(("launcher", "sweeper"))), None):
            raise InputError(typed, "this option only applies to sweeps", hint="Add -m: python train.py -m …")
        if typed := named(chosen, "hydra.sweep.dir"):
            raise InputError(
                typed, "this key only applies to sweeps", hint="Set the folder of a single run with hydra.run.dir=FOLDER"
            )
        run = Run(Path(chosen.runtime.output_dir), config, run_overrides(words), choices_of(chosen))
        if config.plan == "fit":
            fit_memory(run)
        elif config.plan:
            plan([run])
        else:
            _train(run, named(chosen, "hydra.run.dir") is not None)


def _train(new: Run, pinned: bool) -> None:
    """Train a run in this process, or in new processes. `pinned` is True if the user has typed the path of the run folder."""
    with settled(new, pinned) as run:
        workflow = build_workflow(run)  # raises its errors before anything is recorded
        if workflow.starts_processes:
            _start_processes(run)
            return
        if workflow.trainer.world_size > 1 and not pinned:
            problem = "this key is required if another program, such as srun or torchrun, starts the processes of a run"
            raise InputError("hydra.run.dir", problem, hint="Type hydra.run.dir=FOLDER")
        if not workflow.trainer.is_global_zero:
            workflow.run()
            return
        run.freeze()
        _recorded(run, lambda: _run(run, workflow))


def train_frozen(folder: Path) -> None:
    """Train the experiment in a run folder that already contains its config. Every process of the run calls this function.

    If the folder contains the checkpoint `last`, training resumes from this checkpoint.

    Args:
        folder: run folder with `config.yaml` and `run.json`. A missing file or an invalid config raises InputError.
    """
    run = Run.frozen(folder)
    with interruptible():
        if rank_zero_only.rank:  # type: ignore[attr-defined]  # Lightning reads it from the environment
            build_workflow(run).run()
        else:
            _recorded(run, lambda: _run(run, _checked(run)))


def _checked(run: Run) -> Workflow:
    check_experiment(run.config)
    return build_workflow(run)


def _run(run: Run, workflow: Workflow) -> State:
    run.add(workflow.layers() | workflow.start())
    return workflow.run()


def _recorded(run: Run, work: Callable[[], State]) -> None:
    """Lock the run folder, train the run by calling `work`, and write the final state (done, failed, …) to `run.json`."""
    with run.held():
        run.mark("running")
        try:
            state = work()
        except BaseException as error:
            with suppress(OSError):  # a full disk must not hide its own message
                if isinstance(error, KeyboardInterrupt):
                    if run.config.resume == "auto":
                        has_checkpoint = (run.folder / "checkpoints" / LAST).is_file()
                        error.add_note(RESUMES.format("run") if has_checkpoint else STARTS_AGAIN)
                    run.mark("interrupted")
                else:
                    run.mark("failed", _reason(error, run.folder), gpu_fault=is_gpu_fault(error))
            raise
        run.mark(state)


def _reason(error: BaseException, folder: Path) -> str:
    return error_message(error, "config", folder) or f"{type(error).__name__}: {one_line(str(error))[:500]}"


def _start_processes(run: Run) -> None:
    """Train a run in several processes: start the first process, and wait until the first process ends.

    The first process starts the remaining processes. All processes read `config.yaml` in the run folder.
    """
    run.freeze()
    process = start(run.folder)
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt as error:  # the process ends itself after the signal
            process.send_signal(getattr(error, "signum", SIGINT))
    if status:
        sys.exit(status if status > 0 else 128 - status)


def main() -> None:
    """Train the run in the folder on the command line: `python -m unbraid.commands.train FOLDER`."""
    live_with_parent(sys.argv)
    frozen(train_frozen, sys.argv[1])


if __name__ == "__main__":
    main()
