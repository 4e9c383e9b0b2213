"""Compile the networks of a task with `torch.compile`, as the config key `compile` describes.

A network with repeated blocks, such as the layers of a transformer, is compiled block by block (regional compilation). PyTorch
compiles equal blocks once, which takes less time than the compilation of the whole network. The names of the weights do not
change.
"""

from collections import defaultdict
from collections.abc import Iterator

from torch import nn

from unbraid.tasks.separation import SeparationTask
from unbraid.tasks.task import Task


def compile_networks(task: Task, backend: str = "inductor") -> list[str]:
    """Mark the networks of a task for compilation. PyTorch compiles them in the first training step.

    Args:
        task: task of the run, which is changed in place.
        backend: compiler of PyTorch.

    Returns:
        Names of the compiled modules in the task.
    """
    names = {module: name for name, module in task.named_modules()}
    compiled = [part for network in _networks(task) for part in compiled_parts(network)]
    for module in compiled:
        module.compile(backend=backend)
    return [names[module] for module in compiled]


def _networks(task: Task) -> Iterator[nn.Module]:
    """Yield the networks of a separator, or the modules with parameters of another task."""
    for part in (task.separator if isinstance(task, SeparationTask) else task).children():
        for network in part if isinstance(part, nn.ModuleList) else [part]:
            if _size(network):
                yield network


def compiled_parts(network: nn.Module) -> list[nn.Module]:
    """Choose the parts of a network that are compiled.

    Args:
        network: network of a task.

    Returns:
        The repeated blocks of the network, if they have at least a quarter of its parameters; otherwise the network itself.
    """
    blocks = _repeated_blocks(network)
    return blocks if 4 * sum(map(_size, blocks)) >= _size(network) else [network]


def _repeated_blocks(module: nn.Module) -> list[nn.Module]:
    """Find modules that have the list, class and parameter shapes in common. Modules of `torch.nn` are left out."""
    found: list[nn.Module] = []
    for child in module.children():
        groups = defaultdict(list)
        if isinstance(child, nn.ModuleList):
            for block in child:
                if not type(block).__module__.startswith("torch.nn."):
                    groups[type(block), tuple(parameter.shape for parameter in block.parameters())].append(block)
        blocks = [block for group in groups.values() if len(group) > 1 for block in group]
        found += blocks or _repeated_blocks(child)
    return found


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
