"""Optimizers in addition to those of `torch.optim`: Muon for matrices, and optimizers of optional packages.

- Muon: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
- Prodigy: Mishchenko & Defazio, "Prodigy: An expeditiously adaptive parameter-free learner", ICML 2024.
- Schedule-free AdamW: Defazio et al., "The road less scheduled", NeurIPS 2024.

Prodigy and schedule-free AdamW need no learning-rate schedule. The package of an optimizer is imported only if the optimizer is
used.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from unbraid.runs.errors import InputError, unknown

Parameters = Iterable[nn.Parameter]


class MuonWithAdamW(Optimizer):
    """Update matrices by Muon, and all other parameters (biases, norms, convolutions) by AdamW.

    A learning-rate schedule changes the learning rates of both Muon and AdamW.

    Args:
        params: parameters of the network.
        lr: learning rate of the matrices. Muon's updates are scaled to the typical size of AdamW's updates, so usual learning
            rates of AdamW can be used.
        weight_decay: weight decay of the matrices.
        momentum: momentum of Muon.
        adamw_lr: learning rate of all other parameters.
        adamw_weight_decay: weight decay of all other parameters.
    """

    def __init__(
        self, params: Parameters, lr: float, weight_decay: float, momentum: float, adamw_lr: float, adamw_weight_decay: float
    ) -> None:
        parameters = list(params)
        matrices = [parameter for parameter in parameters if parameter.ndim == 2]
        others = [parameter for parameter in parameters if parameter.ndim != 2]
        self.parts: list[Optimizer] = []
        if matrices:
            muon = torch.optim.Muon(matrices, lr, weight_decay, momentum, adjust_lr_fn="match_rms_adamw")
            self.parts.append(muon)
        if others or not matrices:  # without parameters AdamW raises its error
            self.parts.append(AdamW(others, adamw_lr, weight_decay=adamw_weight_decay))
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        """Use the parameter groups of Muon and AdamW in this optimizer, so that a schedule changes both learning rates."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters.

        Args:
            closure: function that computes the gradients and returns the loss; None: the present gradients are used.

        Returns:
            The loss that the closure has returned; None without a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both optimizers, Muon and AdamW."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states of both optimizers, Muon and AdamW."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()


@dataclass(frozen=True)
class Group:
    """Describe a group of parameters of the network. For this group, the optimizer uses the options `options`.

    Args:
        pattern: regular expression, such as `norm` or `separator.net.encoder`. The name of each parameter in the group contains
            a match of this expression.
        options: options of the optimizer for the parameters of the group, such as `{lr: 1e-4}`.
        max_ndim: largest number of dimensions of a parameter in the group; null: any number. The parameters of norms and
            biases have one dimension.
    """

    pattern: str
    options: Mapping[str, Any]
    max_ndim: int | None = None

    def fits(self, name: str, parameter: nn.Parameter) -> bool:
        """Return True if a parameter belongs to the group."""
        return bool(re.search(self.pattern, name)) and (self.max_ndim is None or parameter.ndim <= self.max_ndim)


class GroupedOptimizer:
    """Create an optimizer with different options for groups of parameters, for example without weight decay for norms.

    Args:
        params: names and parameters of the network.
        optimizer: function from parameter groups to an optimizer.
        groups: groups of parameters, each described by the arguments of `Group`. If a parameter fits several groups, it belongs
            to the first of these groups. If a parameter fits no group, it gets the options of `optimizer`.
    """

    takes_names = True

    def __new__(
        cls, params: Iterable[tuple[str, nn.Parameter]], optimizer: Callable[[Any], Optimizer],
        groups: Sequence[Mapping[str, Any]],
    ) -> Any:  # fmt: skip
        """Return an optimizer with one parameter group for each entry of `groups`, and one for all other parameters.

        If a group is invalid or contains no parameters, InputError is raised.
        """
        members: list[list[nn.Parameter]] = [[] for _ in groups]
        others: list[nn.Parameter] = []
        rules = [_group(number, group) for number, group in enumerate(groups)]
        for name, parameter in params:
            number = next((number for number, rule in enumerate(rules) if rule.fits(name, parameter)), None)
            (others if number is None else members[number]).append(parameter)
        for number, parameters in enumerate(members):
            if not parameters:
                problem = f"the group {dict(groups[number])} contains no parameter of the network"
                hint = "Correct the conditions of the group, or remove the group"
                raise InputError(f"optim.optimizer.groups[{number}]", problem, hint=hint)
        parts = [{"params": parameters, **rule.options} for parameters, rule in zip(members, rules, strict=True)]
        built = optimizer([{"params": others}, *parts] if others else parts)
        for number, rule in enumerate(rules):
            for key in sorted(rule.options.keys() - built.defaults.keys()):
                where = f"optim.optimizer.groups[{number}].options.{key}"
                raise InputError(where, "the optimizer has no such option", hint=unknown(key, built.defaults))
        return built


def _group(number: int, group: Mapping[str, Any]) -> Group:
    """Convert a group from the config to a `Group`. Unknown keys and an invalid pattern raise InputError."""
    where = f"optim.optimizer.groups[{number}]"
    try:
        re.compile(group.get("pattern", ""))
        return Group(**group)
    except TypeError as error:
        raise InputError(
            where, found=dict(group), expected="the keys 'pattern' and 'options', and optionally 'max_ndim'"
        ) from error
    except re.error as error:
        raise InputError(f"{where}.pattern", f"invalid regular expression ({error})", found=group["pattern"]) from error


class Prodigy:
    """Create the optimizer Prodigy of the package prodigyopt. Prodigy estimates the learning rate itself.

    Args:
        params: parameters of the network.
        lr: factor by which the estimated learning rate is multiplied.
        weight_decay: decoupled weight decay.
        d_coef: factor by which the estimated distance to the solution is multiplied. The learning rate depends on this
            distance.
        safeguard_warmup: True for training with a warm-up of the learning rate.
    """

    def __new__(
        cls, params: Parameters, lr: float, weight_decay: float, d_coef: float, safeguard_warmup: bool
    ) -> Any:  # fmt: skip
        """Return an optimizer of the package prodigyopt. If the package is not installed, InputError is raised."""
        make = _imported("prodigyopt", "prodigy").Prodigy
        return make(params, lr=lr, weight_decay=weight_decay, d_coef=d_coef, safeguard_warmup=safeguard_warmup)


class ScheduleFreeAdamW:
    """Create the optimizer AdamWScheduleFree of the package schedulefree.

    The optimizer needs no learning-rate schedule. It keeps an average of the weights over the steps. Validation and
    checkpoints use the averaged weights.

    Args:
        params: parameters of the network.
        lr: learning rate after the warm-up.
        weight_decay: weight decay.
        warmup_steps: number of steps of the warm-up, in which the learning rate increases.
    """

    def __new__(cls, params: Parameters, lr: float, weight_decay: float, warmup_steps: int) -> Any:
        """Return an optimizer of the package schedulefree. If the package is not installed, InputError is raised."""
        make = _imported("schedulefree", "schedule_free").AdamWScheduleFree
        return make(params, lr=lr, weight_decay=weight_decay, warmup_steps=warmup_steps)


def _imported(package: str, extra: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        hint = f"Run pip install 'unbraid[{extra}]'"
        raise InputError(package, "the package is not installed", hint=hint) from error
