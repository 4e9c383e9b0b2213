"""Buffers are those of the first process when validation begins, on every process."""

import os
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from unbraid.tasks.task import Task


class Buffered(nn.Module):
    """A module with one value per process, also in a buffer with gaps in memory."""

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
    task._trainer = SimpleNamespace(model=model)
    with torch.no_grad():
        task.on_validation_start()
    torch.save([buffer.clone() for buffer in model.module.buffers()], f"{folder}/{rank}.pt")
    assert not model.will_sync_module_buffers()
    os._exit(0)  # torch 2.11 may deadlock where it deletes the group: that waits for a thread which waits for the interpreter


def test_every_process_validates_with_the_buffers_of_the_first(tmp_path):
    torch.multiprocessing.spawn(validate, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        for buffer in torch.load(tmp_path / f"{rank}.pt", weights_only=True):
            assert (buffer == 1).all()
