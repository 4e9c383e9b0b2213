"""Choose which parameters are trained: `freeze=[PREFIX]` and `lora=default`."""

import warnings

from omegaconf import DictConfig
from torch import nn

from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.runs.names import below, pattern_of
from unbraid.tasks.lora import NORMS, Lora
from unbraid.tasks.separation import SeparationTask
from unbraid.tasks.task import Task


def choose_parameters(config: DictConfig, task: Task) -> str:
    """Freeze parameters, and add the matrices of LoRA, as the keys `freeze` and `lora` describe.

    A frozen part computes as in evaluation: its statistics of batch norm do not change, and its dropout is off.

    Args:
        config: config of the run. Nothing changes if it has neither key, or if nothing is trained.
        task: task of the run, which is changed in place.

    Returns:
        Text that describes which parameters are trained; empty if all are.

    Raises:
        InputError: a prefix fits no parameter, or nothing is left to train.
    """
    freeze, lora = [*config.get("freeze", [])], config.get("lora")
    if not config.get("train", True) or not (freeze or lora):
        return ""
    model: nn.Module = task.separator if isinstance(task, SeparationTask) else task
    words = []
    if lora:
        adaptation: Lora = build(lora)
        words.append(f"LoRA of {len(adaptation.adapt(model))} layers")
        task.lora = {"rank": float(adaptation.rank), "alpha": float(adaptation.alpha)}
        task.fixed += [module for module in model.modules() if isinstance(module, NORMS)]
    if freeze:
        _freeze(model, freeze, task)
        words.append(f"{', '.join(freeze)} frozen")
    trained = sum(parameter.numel() for parameter in task.parameters() if parameter.requires_grad)
    if not trained:
        hint = "Remove a name from 'freeze'"
        raise InputError("freeze", "every parameter of the model is frozen", found=", ".join(freeze), hint=hint)
    task.train()
    warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode", module="pytorch_lightning")  # the frozen ones
    share = trained / sum(parameter.numel() for parameter in task.parameters())
    return f"{'; '.join(words)}; {trained:,} parameters are trained ({100 * share:.3g} %)"


def _freeze(model: nn.Module, prefixes: list[str], task: Task) -> None:
    parameters = dict(model.named_parameters())
    for name in below(parameters, prefixes, "freeze"):
        parameters[name].requires_grad_(False)
    patterns = [pattern_of(prefix) for prefix in prefixes]
    task.fixed += [module for name, module in model.named_modules() if any(pattern.match(name) for pattern in patterns)]
