"""Recognise whether a run failed because of a defective GPU, and not because of a wrong config or wrong data.

The process of a failed run calls `is_gpu_fault` and writes the result to `run.json`. The launcher `local` reads the result.
After two faults of a GPU, the launcher starts no more runs on this GPU.
"""

import os
from collections.abc import Iterator

import torch


def is_gpu_fault(error: BaseException) -> bool:
    """Return whether an exception, or one of its causes, shows a fault of a GPU.

    An `AcceleratorError` of torch always shows a fault. A `RuntimeError` can have other causes, such as an error in the config.
    After a `RuntimeError`, this function therefore computes a small sum on each visible GPU. After a fault, this sum fails,
    because all later GPU calls of the process fail. `OutOfMemoryError` (too little GPU memory) is not a fault.

    Args:
        error: exception that ended the run.

    Returns:
        True for a fault of a GPU.
    """
    causes = [*_chain(error)]
    if any(isinstance(cause, torch.OutOfMemoryError) for cause in causes):
        return False
    if any(isinstance(cause, torch.AcceleratorError | torch.cuda.DeferredCudaCallError) for cause in causes):
        return True
    return any(isinstance(cause, RuntimeError) for cause in causes) and not _visible_gpus_compute()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _visible_gpus_compute() -> bool:
    gpus = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu not in ("", "-1")]
    if not torch.backends.cuda.is_built():
        return True
    try:
        for index in range(len(gpus)):
            torch.ones(2, device=f"cuda:{index}").sum().item()
    except RuntimeError:
        return False
    return True
