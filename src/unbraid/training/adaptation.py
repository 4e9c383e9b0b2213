"""Freeze parameters of a model, or add the matrices of LoRA, as the config keys `freeze` and `lora` describe."""

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

    A frozen module computes in training as in evaluation: the statistics of batch norm do not change, and dropout is off.

    Args:
        config: config of the run. If the run does not train (`train=false`), or if neither key is set, nothing changes.
        task: task of the run, which is changed in place.

    Returns:
        Text that describes which parameters are trained; empty if nothing was changed.

    Raises:
        InputError: a prefix in `freeze` fits no parameter, or all parameters are frozen.
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
        raise InputError("freeze", "all parameters of the model are frozen", found=", ".join(freeze), hint="Remove a prefix")
    task.train()
    warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode", module="pytorch_lightning")  # frozen modules
    share = trained / sum(parameter.numel() for parameter in task.parameters())
    return f"{'; '.join(words)}; {trained:,} parameters are trained ({100 * share:.3g} %)"


def _freeze(model: nn.Module, prefixes: list[str], task: Task) -> None:
    parameters = dict(model.named_parameters())
    for name in below(parameters, prefixes, "freeze"):
        parameters[name].requires_grad_(False)
    patterns = [pattern_of(prefix) for prefix in prefixes]
    task.fixed += [module for name, module in model.named_modules() if any(pattern.match(name) for pattern in patterns)]
