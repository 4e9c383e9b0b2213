"""Count the parameters and multiply-accumulate operations (MACs) of the layers of a network in one forward pass.

Counted layers: convolutions, linear layers, LSTM, GRU and plain recurrent layers, `nn.MultiheadAttention`. Counted functions,
if the network calls them directly: matrix products, `einsum` and scaled dot-product attention.

Not counted: normalization, activations, pooling, element-wise operations, biases, embeddings, Fourier transforms, and
operations outside of the network, such as the loss. A training step costs about three times as much as a forward pass.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

MOST_ROWS = 60
PRODUCTS = (torch.matmul, torch.bmm, torch.mm, Tensor.matmul, Tensor.__matmul__, Tensor.bmm, Tensor.mm)
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


@dataclass(frozen=True)
class LayerCost:
    """Store the cost of one module of a network.

    Args:
        name: name of the module in the network; empty for the whole network.
        kind: class of the module.
        parameters: number of parameters.
        macs: number of multiply-accumulate operations of one forward pass.
    """

    name: str
    kind: str
    parameters: int
    macs: int


def layer_costs(net: nn.Module, forward: Callable[[], object]) -> list[LayerCost]:
    """Count the parameters and multiply-accumulate operations of each layer of a network.

    Args:
        net: network whose layers are counted.
        forward: function that runs the network once.

    Returns:
        One cost for each module that has parameters or operations of its own, in the order of the modules in the network. If
        the list is longer than `MOST_ROWS`, the costs of inner modules are added to the outer modules.
    """
    names = {module: name for name, module in net.named_modules()}
    counter = _Counter()
    with ExitStack() as stack:
        for module in names:
            stack.callback(module.register_forward_pre_hook(counter.enter, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(counter.leave, with_kwargs=True).remove)
        with torch.random.fork_rng(devices=[]), torch.no_grad(), counter:
            forward()
    rows = [
        (LayerCost(name, type(module).__name__, sum(p.numel() for p in module.parameters(_is_leaf(module))), macs), module)
        for module, name in names.items()
        if (macs := counter.macs.get(module, 0)) or next(module.parameters(_is_leaf(module)), None) is not None
    ]
    inside = {part for module in names if _is_leaf(module) for part in module.modules() if part is not module}
    costs = [cost for cost, module in rows if module not in inside]  # such as the projections of attention
    return _summed(costs, {name: module for module, name in names.items()})


def _is_leaf(module: nn.Module) -> bool:
    """Return whether one formula counts all operations of a module, as for `nn.LSTM`. Inner modules are then not counted."""
    return isinstance(module, Convolution | Transposed | nn.Linear | nn.RNNBase | nn.MultiheadAttention)


def _summed(costs: list[LayerCost], modules: Mapping[str, nn.Module]) -> list[LayerCost]:
    """Add the costs of inner modules to the outer modules, until at most `MOST_ROWS` costs are left."""
    depth = max((cost.name.count(".") for cost in costs), default=0)
    while len(costs) > MOST_ROWS and depth >= 0:
        rows: dict[str, LayerCost] = {}
        for cost in costs:
            name = ".".join(cost.name.split(".")[: max(depth, 1)])
            row = rows.get(name, LayerCost(name, type(modules[name]).__name__, 0, 0))
            rows[name] = replace(row, parameters=row.parameters + cost.parameters, macs=row.macs + cost.macs)
        costs, depth = [*rows.values()], depth - 1
    return costs


class _Counter(TorchFunctionMode):
    """Count the multiply-accumulate operations of layers and of torch functions during a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.macs: dict[nn.Module, int] = {}
        self.running: list[nn.Module] = []

    def enter(self, module: nn.Module, inputs: Any, options: Any) -> None:
        self.running.append(module)

    def leave(self, module: nn.Module, inputs: Any, options: Any, output: Any) -> None:
        self.running.pop()
        self._add(module, _of_module(module, [*inputs, *options.values()], output))

    def _add(self, module: nn.Module, macs: int) -> None:
        self.macs[module] = self.macs.get(module, 0) + macs

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.running and not any(_is_leaf(module) for module in self.running):
            self._add(self.running[-1], _of_function(func, [*args, *(kwargs or {}).values()], result))
        return result


def _of_module(module: nn.Module, inputs: list[Any], output: Any) -> int:
    """Return the multiply-accumulate operations of a layer with a known formula, such as `nn.Linear`; 0 for other modules."""
    if isinstance(module, Convolution):
        return output[:, 0].numel() * module.weight.numel()
    if isinstance(module, Transposed):
        first = inputs[0] if isinstance(inputs[0], Tensor) else inputs[0][0]  # a list of maps is joined by channels
        return int(first[:, 0].numel() * module.weight.numel())
    if isinstance(module, nn.Linear):
        return inputs[0].numel() // module.in_features * module.weight.numel()
    if isinstance(module, nn.RNNBase):
        items = inputs[0].data if isinstance(inputs[0], nn.utils.rnn.PackedSequence) else inputs[0]
        return items.numel() // items.shape[-1] * sum(p.numel() for p in module.parameters() if p.dim() == 2)
    if isinstance(module, nn.MultiheadAttention):
        query, key = inputs[:2]
        time = -2 if module.batch_first or query.dim() == 2 else 0
        rows, other = query.numel() // query.shape[-1], key.numel() // key.shape[-1]
        width = module.embed_dim
        projections = 2 * rows * width**2 + other * width * ((module.kdim or width) + (module.vdim or width))
        return int(projections + 2 * rows * key.shape[time] * width)
    return 0


def _of_function(func: Any, inputs: list[Any], result: Any) -> int:
    """Return the multiply-accumulate operations of a torch function that multiplies tensors; 0 for other functions."""
    if func is functional.linear:
        return inputs[0].numel() // inputs[1].shape[-1] * inputs[1].numel()
    if func in PRODUCTS:
        return int(result.numel() * inputs[0].shape[-1])
    if func is functional.scaled_dot_product_attention:
        query, key, value = inputs[:3]
        return query[..., 0].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    if func is torch.einsum and isinstance(inputs[0], str):
        return _of_einsum(inputs[0], inputs[1] if isinstance(inputs[1], list | tuple) else inputs[1:])
    return 0


def _of_einsum(equation: str, operands: Any) -> int:
    """Return the multiply-accumulate operations of `einsum`: the product of the sizes of all indices.

    The dots `...` in `equation` count as one index. The size of this index is the product of the sizes of the dimensions for
    which the dots stand. If the operands differ in these dimensions, the largest product is used.
    """
    sizes: dict[str, int] = {}
    for term, operand in zip(equation.replace(" ", "").split("->")[0].split(","), operands, strict=False):
        front, dots, back = term.partition("...")
        shape = list(operand.shape)
        sizes |= dict(zip(front, shape, strict=False)) | dict(zip(back[::-1], shape[::-1], strict=False))
        if dots:
            rest = math.prod(shape[len(front) : len(shape) - len(back)])
            sizes["..."] = max(sizes.get("...", 1), rest)
    return math.prod(sizes.values())
