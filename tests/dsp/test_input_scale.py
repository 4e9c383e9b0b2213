"""Mean and standard deviation of a signal, computed block by block."""

import pytest
import torch

from unbraid.dsp.input_scale import InputScale


@pytest.mark.parametrize("sizes", [[5000], [1, 4999], [1000] * 5, [0, 2500, 0, 2500]])
def test_scale_does_not_depend_on_the_blocks(sizes):
    signal = 100 + 0.01 * torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)).double()
    scale, mono = InputScale.of(signal.split(sizes, dim=-1)), signal.mean(dim=0)
    assert scale.mean == pytest.approx(mono.mean().item(), rel=1e-12)
    assert scale.deviation == pytest.approx(mono.std().item(), rel=1e-5)


def test_restore_inverts_normalise():
    signal = 3 + torch.randn(2, 1000)
    scale = InputScale.of([signal])
    mono = scale.normalise(signal).mean(dim=0)
    torch.testing.assert_close(torch.stack([mono.mean(), mono.std()]), torch.tensor([0.0, 1]), rtol=0, atol=1e-5)
    torch.testing.assert_close(scale.restore(scale.normalise(signal)), signal, rtol=0, atol=1e-5)


@pytest.mark.parametrize("blocks", [[], [torch.zeros(1, 100)], [torch.full((2, 1), 0.5)]])
def test_silence_and_single_samples_are_finite(blocks):
    scale = InputScale.of(blocks)
    assert scale.deviation == pytest.approx(1e-8) and all(scale.normalise(block).isfinite().all() for block in blocks)
