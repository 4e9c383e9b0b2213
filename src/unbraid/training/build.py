"""Build the workflow of a run from its config: data, model, Trainer and loggers."""

import psutil

from unbraid.data.digits import Digits
from unbraid.data.module import MultitrackData
from unbraid.runs.config import build, build_kind
from unbraid.runs.records import Run
from unbraid.runs.weights import limited_size
from unbraid.tasks.reconstruction import ReconstructionTask
from unbraid.tasks.separation import SeparationTask
from unbraid.tasks.synthesis import SynthesisTask
from unbraid.tasks.task import Task
from unbraid.training.adaptation import choose_parameters
from unbraid.training.base import Workflow
from unbraid.training.chosen_checkpoint import use_checkpoint
from unbraid.training.compilation import compile_networks
from unbraid.training.initial import use_initial_weights
from unbraid.training.loggers import Loggers
from unbraid.training.reconstruction import ReconstructionWorkflow
from unbraid.training.separation import SeparationWorkflow
from unbraid.training.synthesis import SynthesisWorkflow
from unbraid.training.trainer import build_trainer, check_clipping, set_up_process

WORKFLOWS: dict[type[Task], type[Workflow]] = {
    SeparationTask: SeparationWorkflow,
    SynthesisTask: SynthesisWorkflow,
    ReconstructionTask: ReconstructionWorkflow,
}


def build_workflow(run: Run) -> Workflow:
    """Build the workflow of a run (data, model, Trainer and loggers), and prepare the workflow for training.

    A config that cannot be trained or scored raises InputError.

    Args:
        run: config and folder of the run.

    Returns:
        Workflow that is ready to train.
    """
    config, folder = run.config, run.folder.absolute()
    set_up_process(config.seed, config.get("tf32", False))
    with limited_size("model", psutil.virtual_memory().total):
        task: Task = build_kind(config.model, *WORKFLOWS)
    task.configure_optimizers()  # raises its errors before the run folder exists
    data: MultitrackData | Digits = build_kind(config.data, MultitrackData, Digits)
    loggers = Loggers.of(build(config.logger) if config.get("logger") else {})
    data.trainer = trainer = build_trainer(config, loggers, folder)
    check_clipping(config, trainer)
    if trainer.is_global_zero:
        loggers.check()
    workflow_class = next(workflow for task_class, workflow in WORKFLOWS.items() if isinstance(task, task_class))
    workflow = workflow_class(config, run.choices, trainer, task, data, loggers, folder)
    workflow.started = use_initial_weights(config, task, folder)
    workflow.prepare()
    workflow.trained = choose_parameters(config, task)
    use_checkpoint(config, task, trainer)
    if config.get("compile"):
        compile_networks(task)
    return workflow
