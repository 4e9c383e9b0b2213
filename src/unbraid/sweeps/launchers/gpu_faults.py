"""Recognise whether a run failed because of a defective GPU, and not because of its config or data.

The process of a run calls `is_gpu_fault` for the exception that ended the run, and writes the result to `run.json`. The
launcher `local` reads the result, and starts no more runs on a GPU after two such failures.
"""

import os
from collections.abc import Iterator

import torch


def is_gpu_fault(error: BaseException) -> bool:
    """Decide whether an exception, or an exception that caused it, shows a fault of a GPU.

    An `AcceleratorError` of torch always shows a fault. For errors of the driver, cuBLAS, cuDNN and NVML, torch raises a plain
    `RuntimeError`. Many errors in a config also raise `RuntimeError`. After a `RuntimeError`, this function therefore computes
    a small sum on each GPU in `CUDA_VISIBLE_DEVICES`. The GPU has a fault if the sum fails, because a GPU fault makes all later
    GPU calls of the process fail. `OutOfMemoryError` (too little GPU memory) is not a fault.

    Args:
        error: exception that ended the run.

    Returns:
        True if a GPU has a fault.
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
