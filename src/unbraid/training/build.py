"""Build the workflow of a run from its config."""

import psutil

from unbraid.data.digits import Digits
from unbraid.data.module import MultitrackData
from unbraid.runs.config import build
from unbraid.runs.records import Run
from unbraid.runs.weights import limited_size
from unbraid.tasks.reconstruction import ReconstructionTask
from unbraid.tasks.separation import SeparationTask
from unbraid.tasks.synthesis import SynthesisTask
from unbraid.training.base import Workflow
from unbraid.training.loggers import Loggers
from unbraid.training.reconstruction import ReconstructionWorkflow
from unbraid.training.separation import SeparationWorkflow
from unbraid.training.synthesis import SynthesisWorkflow
from unbraid.training.trainer import build_trainer, check_clipping, set_up_process


def build_workflow(run: Run) -> Workflow:
    """Build data, model, Trainer and loggers of a run, and prepare them for training.

    Raises:
        InputError: something cannot be trained or scored.
    """
    config, folder = run.config, run.folder.absolute()
    set_up_process(config.seed)
    task: SeparationTask | ReconstructionTask | SynthesisTask
    with limited_size("model", psutil.virtual_memory().total):
        task = build(config.model)
    data: MultitrackData | Digits = build(config.data)
    loggers = Loggers.of(build(config.logger) if config.get("logger") else {})
    data.trainer = trainer = build_trainer(config, loggers, folder)
    check_clipping(config, trainer)
    if trainer.is_global_zero:
        loggers.check()
    workflow: Workflow
    if isinstance(task, SeparationTask):
        workflow = SeparationWorkflow(config, run.choices, trainer, task, data, loggers, folder)
    elif isinstance(task, SynthesisTask):
        workflow = SynthesisWorkflow(config, run.choices, trainer, task, data, loggers, folder)
    else:
        workflow = ReconstructionWorkflow(config, run.choices, trainer, task, data, loggers, folder)
    workflow.prepare()
    return workflow
