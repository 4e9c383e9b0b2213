"""Tests of the types of exceptions that count as a fault of a GPU."""

import pytest
import torch

from unbraid.runs.errors import InputError
from unbraid.sweeps.launchers.gpu_faults import is_gpu_fault


def caused_by(cause):
    try:
        raise InputError("model", str(cause)) from cause
    except InputError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [torch.AcceleratorError("x"), caused_by(torch.AcceleratorError("x")), torch.cuda.DeferredCudaCallError("x")],
)
def test_errors_of_the_accelerator_are_faults(error):
    assert is_gpu_fault(error)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("x"), ValueError("CUDA error"), InputError("data", "CUDA error")])
def test_other_errors_are_not_faults(error, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert not is_gpu_fault(error)


@pytest.mark.parametrize(("gpus", "fault"), [(",".join(map(str, range(99))), True), ("", False), ("-1", False)])
def test_after_a_runtime_error_visible_gpus_are_tested(gpus, fault, monkeypatch):
    """A machine has fewer than 99 GPUs, so the test of the last one fails."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert is_gpu_fault(RuntimeError("cuBLAS")) is fault
