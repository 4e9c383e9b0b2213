"""Mix the weights after a fine-tuning with the weights before it.

Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022. The mixture of both weights often keeps what the
first weights had learned. Only weights of the same network with a common start can be mixed.
"""

from pathlib import Path

import torch
from omegaconf import DictConfig

from unbraid.interop.initial import Init
from unbraid.interop.origins import find_origin, sha256_of
from unbraid.models.separators.base import Separator
from unbraid.runs.config import node_at
from unbraid.runs.errors import InputError
from unbraid.runs.weights import misfits, refuse_misfits


def check_interpolation(interpolate: float | None, start: str | None) -> None:
    """Check the keys `interpolate` and `start` of a command.

    Args:
        interpolate: share of the weights after the fine-tuning; None: they are not mixed.
        start: path of the weights before the fine-tuning.

    Raises:
        InputError: only one key is given, or the share is outside [0, 1].
    """
    if (interpolate is None) != (start is None):
        missing, given = ("start", "interpolate") if start is None else ("interpolate", "start")
        raise InputError(missing, f"this key is required together with {given}", hint=f"Add {missing}=…")
    if interpolate is not None and not 0 <= interpolate <= 1:
        raise InputError("interpolate", found=interpolate, expected="a share in [0, 1]")


@torch.no_grad()
def interpolated(separator: Separator, config: DictConfig | None, start: str, share: float) -> str:
    """Mix the weights of a separator with those from which its training started.

    Args:
        separator: separator after the fine-tuning, which is changed in place.
        config: config of its run. If it records the hash of the initial weights, `start` must have this hash.
        start: run folder or file with the weights before the fine-tuning, as the user has typed it.
        share: share of the weights after the fine-tuning.

    Returns:
        A text that identifies the mixture: the share and the hash of the start.

    Raises:
        InputError: the tensors differ in name or shape, or the run has started from other weights.
    """
    init = Init.of(None if config is None else node_at(config, "init"))
    origin = find_origin(Path(start).expanduser(), init.weights)
    found = sha256_of(origin.file)
    if init.sha256 not in (None, found):
        problem = "the run has started from weights with another hash"
        raise InputError(f"start={start}", problem, found=found, expected=str(init.sha256))
    before, after = origin.tensors("separator"), separator.state_dict()
    if wrong := misfits(before, after):
        refuse_misfits(f"start={start}", "the weights are not of the same network", wrong)
    if origin.targets not in (None, separator.targets):
        problem, expected = "these weights were trained for other targets", ", ".join(separator.targets)
        raise InputError(f"start={start}", problem, found=", ".join(origin.targets or ()), expected=expected)
    for name, tensor in after.items():
        if tensor.is_floating_point():
            tensor.lerp_(before[name].to(tensor), 1 - share)
    return f"{share:g} of the change since {found[:16]}"
