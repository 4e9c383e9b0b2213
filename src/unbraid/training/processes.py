"""Exchange Python objects between the processes of one training run."""

from typing import Any

import torch


def raise_in_all(error: Exception | None, world_size: int) -> None:
    """If one process of the run has an error, raise this error in all processes.

    Without this function, the processes without an error would wait forever.
    """
    for process_error in gather(error, world_size):
        if process_error:
            raise process_error


def gather(value: Any, world_size: int) -> list[Any]:
    """Collect one value from each process of the run. Every process must call this function.

    Args:
        value: value of this process; any object that can be pickled.
        world_size: number of processes of the run.

    Returns:
        One value per process, in order of rank. The list is the same in each process.
    """
    if world_size == 1:
        return [value]
    values: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(values, value)
    return values
