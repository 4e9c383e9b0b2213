"""Compare weights by logged values, and read the moving averages (EMA) that `callbacks=ema` stores in checkpoints."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from unbraid.runs.errors import InputError, unknown

EMA, PREFIX = "ema", "ema_"  # the best average, and the beginning of the name of each average
CALLBACK = "WeightAverages"  # key of the callback in a checkpoint
NONE_STORED = "Choose best or last, or train with callbacks=ema"


def is_average(checkpoint: str) -> bool:
    """Return whether a name of weights, such as `best` or `ema_0.999_step`, is the name of an average of the weights."""
    return checkpoint == EMA or (checkpoint.startswith(PREFIX) and not checkpoint.endswith(".ckpt"))


def mode_of(monitor: str, mode: Literal["min", "max"] | None, where: str) -> Literal["min", "max"]:
    """Return whether smaller (`min`) or larger values (`max`) of a logged value are better.

    Args:
        monitor: name of the logged value, such as `valid/loss`.
        mode: mode that the user has chosen; None: `min` for losses, `max` for scores such as `valid/uSDR/mean`.
        where: config key of the mode, for the error message.

    Returns:
        The given mode, or the mode that follows from the name.

    Raises:
        InputError: `mode` is None, and the value is neither a loss nor a score.
    """
    if mode is not None:
        return mode
    match monitor.split("/"):
        case ["train" | "valid", "loss", *_]:
            return "min"
        case ["valid", _, _]:
            return "max"
    problem = "choose whether smaller or larger values are better, because the value is neither a loss nor a score"
    raise InputError(where, problem, found=monitor, expected="min or max")


def average_in(content: Any, asked: str, where: object, monitor: str, mode: str) -> Mapping[str, Any]:
    """Return an average of the weights in a checkpoint.

    Args:
        content: content of the checkpoint.
        asked: name of an average, such as `ema_0.999_step`; `ema`: the average with the best value in the latest validation.
        where: file of the checkpoint, for error messages.
        monitor: name of the value by which averages are compared, such as `valid/loss`.
        mode: `min` if smaller values are better, `max` if larger values are better.

    Returns:
        A dictionary from the name of each tensor of the task to the tensor.

    Raises:
        InputError: the checkpoint contains no averages, no average of this name, or several averages without validation.
    """
    callbacks = content.get("callbacks") if isinstance(content, Mapping) else None
    stored = callbacks.get(CALLBACK) if isinstance(callbacks, Mapping) else None
    averages = stored.get("averages") if isinstance(stored, Mapping) else None
    filled = {name: state for name, state in averages.items() if state} if isinstance(averages, Mapping) else {}
    if not isinstance(stored, Mapping) or not filled or not all(isinstance(state, Mapping) for state in filled.values()):
        raise InputError(where, "the run has no averages of the weights (EMA)", found=asked, hint=NONE_STORED)
    name = _best(filled, stored.get("values"), monitor, mode) if asked == EMA else asked
    if name is None:
        problem, names = f"the averages cannot be compared, because the checkpoint lacks their {monitor}", ", ".join(filled)
        raise InputError(where, problem, found=names, hint=f"Type the name of an average, such as {next(iter(filled))}")
    if name not in filled:
        raise InputError(where, "the run has no average of this name", found=name, hint=unknown(name, [EMA, *filled]))
    average: Mapping[str, Any] = filled[name]
    return average


def _best(averages: Mapping[str, Any], values: Any, monitor: str, mode: str) -> str | None:
    """Return the name of the average with the best validation value. A single average needs no value. None: no values."""
    if len(averages) == 1:
        return next(iter(averages))
    found = {name: values[name].get(monitor) for name in averages if isinstance(values, Mapping) and name in values}
    finite = {name: value for name, value in found.items() if isinstance(value, float) and math.isfinite(value)}
    return min(finite, key=lambda name: finite[name] if mode == "min" else -finite[name]) if finite else None
