"""Memory that `scripts/bench/memory.py` counts without computing: equal to the memory of computed tensors."""

import importlib.util
import sys

import pytest
import torch

from tests.conftest import PROJECT
from tests.test_configs import compose

SCNET = ["model=scnet_small", "model.separator.chunk_seconds=1"]
CHECKPOINTING = "model.separator.net.gradient_checkpointing=true"


@pytest.fixture(scope="module")
def memory():
    spec = importlib.util.spec_from_file_location("bench_memory", PROJECT / "scripts/bench/memory.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("train", [False, True])
def test_counted_memory_equals_memory_of_computed_tensors(memory, train):
    config = compose(*SCNET)
    counted = memory.peak(config, train)
    assert counted == pytest.approx(memory.peak(config, train, fake=False), rel=0.01)
    parameters = sum(parameter.numel() for parameter in memory.build(config.model).parameters())
    assert counted > 4 * parameters * (4 if train else 1)  # weights, gradients, and two moments of the optimizer


def test_gradient_checkpointing_needs_less_memory(memory):
    assert memory.peak(compose(*SCNET, CHECKPOINTING), train=True) < 0.8 * memory.peak(compose(*SCNET), train=True)


def test_the_inverse_stft_has_the_shape_of_torch(memory):
    window = torch.ones(16)
    spectrum = torch.stft(torch.randn(3, 100), 16, 4, window=window, return_complex=True)
    for length in (None, 90):
        expected = torch.istft(spectrum, 16, 4, window=window, length=length)
        found = memory.inverse_stft(spectrum, 16, 4, window=window, length=length)
        assert found.shape == expected.shape
        assert found[:, 16:64] / 4 == pytest.approx(expected[:, 16:64], abs=1e-5)  # four windows overlap


def test_unknown_words_are_refused(memory, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["memory.py", "model=scnet"])
    with pytest.raises(SystemExit) as error:
        memory.main()
    assert str(error.value).startswith("error: ")
