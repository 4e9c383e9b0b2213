"""Exchange of Python objects between the processes of a run."""

from typing import Any

import torch


def raise_in_all(error: Exception | None, world_size: int) -> None:
    """Raise the error of the first failed process in all processes, since the others would wait for that process forever."""
    for process_error in gather(error, world_size):
        if process_error:
            raise process_error


def gather(value: Any, world_size: int) -> list[Any]:
    """Return the values of all processes, in order of rank. Every process must call this function.

    Args:
        value: value of this process, which can be pickled.
        world_size: number of processes.

    Returns:
        One value per process, the same list in each process.
    """
    if world_size == 1:
        return [value]
    values: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(values, value)
    return values
