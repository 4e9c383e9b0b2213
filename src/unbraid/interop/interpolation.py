"""Compute a weighted mean of the weights before and after a fine-tuning.

Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022. On the data of the first training, the mean is
often better than the fine-tuned weights alone. The network must be the same before and after the fine-tuning.
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
        interpolate: factor A of the fine-tuned weights. The weights in `start` have the factor 1 - A. None: only the fine-tuned
            weights are used.
        start: path of the weights before the fine-tuning.

    Raises:
        InputError: only one of the two keys is given, or `interpolate` is outside [0, 1].
    """
    if (interpolate is None) != (start is None):
        missing, given = ("start", "interpolate") if start is None else ("interpolate", "start")
        raise InputError(missing, f"this key is required together with {given}", hint=f"Add {missing}=…")
    if interpolate is not None and not 0 <= interpolate <= 1:
        raise InputError(
            "interpolate",
            found=interpolate,
            expected="a number from 0 (only the weights of start) to 1 (only the weights of run)",
        )


@torch.no_grad()
def interpolated(separator: Separator, config: DictConfig | None, start: str, share: float) -> str:
    """Replace the weights of a fine-tuned separator by a weighted mean of the weights before and after the fine-tuning.

    Args:
        separator: fine-tuned separator, which is changed in place.
        config: config of the fine-tuning. If `config` contains the hash of the initial weights, `start` must have this hash.
        start: run folder or file with the weights before the fine-tuning, as the user has typed it.
        share: factor A of the fine-tuned weights. The weights of `start` have the factor 1 - A.

    Returns:
        A text that contains the factor A and the hash of the weights in `start`.

    Raises:
        InputError: the names, shapes or targets of the weights differ, or the fine-tuning has started from other weights.
    """
    init = Init.of(None if config is None else node_at(config, "init"))
    origin = find_origin(Path(start).expanduser(), init.weights)
    found = sha256_of(origin.file)
    if init.sha256 not in (None, found):
        problem = "the fine-tuning has not started from these weights, because their hash differs from init.sha256 of the run"
        raise InputError(f"start={start}", problem, found=found, expected=str(init.sha256))
    before, after = origin.tensors("separator"), separator.state_dict()
    if wrong := misfits(before, after):
        refuse_misfits(f"start={start}", "the weights of start and run are not of the same network", wrong)
    if origin.targets not in (None, separator.targets):
        problem, expected = "the weights of start and run estimate different targets", ", ".join(separator.targets)
        raise InputError(f"start={start}", problem, found=", ".join(origin.targets or ()), expected=expected)
    for name, tensor in after.items():
        if tensor.is_floating_point():
            tensor.lerp_(before[name].to(tensor), 1 - share)
    return f"{share:g} of the change since {found[:16]}"
