"""Test that all processes validate with the buffers of the first process."""

import os
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from unbraid.tasks.task import Task


class Buffered(nn.Module):
    """Module with the same value in all buffers. One buffer is not contiguous."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("mean", torch.full((2, 3), value))
        self.register_buffer("sparse", torch.full((2, 6), value)[:, ::2])


def validate(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    model = DistributedDataParallel(Buffered(0.0), init_sync=False)
    for buffer in model.module.buffers():
        buffer.fill_(float(rank + 1))
    task = Task(None, None)
    task._trainer = SimpleNamespace(model=model, optimizers=[])
    with torch.no_grad():
        task.on_validation_start()
    torch.save([buffer.clone() for buffer in model.module.buffers()], f"{folder}/{rank}.pt")
    assert not model.will_sync_module_buffers()
    os._exit(0)  # destroying the process group can deadlock in torch 2.11


@pytest.mark.slow
def test_buffers_are_copied_before_validation(tmp_path):
    torch.multiprocessing.spawn(validate, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        for buffer in torch.load(tmp_path / f"{rank}.pt", weights_only=True):
            assert (buffer == 1).all()
