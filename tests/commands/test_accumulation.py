"""Gradient accumulation makes the same update as one large batch."""

import pytest
import torch

from tests.commands.test_continue import weights

WORDS = [
    "model=scnet_small", "model.separator.chunk_seconds=1", "model.separator.net.channels=[4,4,4]",
    "model.separator.net.layers=2", "data.layout.train=3",
    "data.layout.valid=1", "data.layout.test=1", "data.layout.seconds=6", "data.chunks_per_track=16",
    "data.sampling.remix=0.5", "trainer=cpu", "trainer.max_epochs=1", "test=false", "optim.optimizer._target_=torch.optim.SGD",
    "optim.optimizer.lr=1", "~optim.optimizer.fused", "optim.scheduler=null",
]  # fmt: skip


@pytest.mark.slow
def test_four_batches_of_four_chunks_equal_one_batch_of_sixteen(cli, tmp_path):
    tensors = {}
    for batch, accumulate in ((16, 1), (4, 4), (4, 1)):
        run = tmp_path / f"run-{batch}-{accumulate}"
        words = [f"data.batch_size={batch}", f"trainer.accumulate_grad_batches={accumulate}", f"hydra.run.dir={run}"]
        status, _, error = cli(*WORDS, *words, f"trainer.max_steps={3 if batch * accumulate == 16 else 1}")
        assert status == 0, error
        tensors[batch, accumulate] = weights(run)
    large, small = tensors[16, 1], tensors[4, 4]
    # With SGD and a learning rate of 1, the weights change by the gradients.
    assert max((large[name] - small[name]).abs().max().item() for name in large) <= 1e-6
    assert any(not torch.allclose(large[name], tensors[4, 1][name], atol=1e-4) for name in large)
