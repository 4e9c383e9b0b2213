"""Compiled networks: which parts are compiled, and equal results with and without compilation."""

import pytest
import torch

from tests.conftest import NARROW
from tests.test_configs import compose
from tests.training.test_adaptation import step
from unbraid.runs.config import build
from unbraid.training import build as building
from unbraid.training.compilation import compile_networks
from unbraid.training.trainer import set_up_process

SCNET = ["model=scnet", "model.separator.net.channels=[4,6,8]", "model.separator.net.layers=4"]


def task_of(*words):
    torch.manual_seed(0)
    return build(compose(*words).model)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([NARROW], ["separator.nets.0"]),
        ([NARROW, "targets=vocals_accompaniment"], ["separator.nets.0", "separator.nets.1"]),
        (SCNET, [f"separator.net.separation.{number}" for number in range(4)]),
        (["model=mdx23c_small"], ["separator.net"]),  # no block is repeated
        (["model=ae", "data=digits"], ["net"]),
    ],
)
def test_repeated_blocks_or_whole_networks_are_compiled(words, expected):
    assert sorted(compile_networks(task_of(*words), "eager")) == expected


@pytest.mark.parametrize("words", [[NARROW, "model.separator.net.dropout=0"], SCNET])
def test_compilation_by_blocks_changes_neither_names_nor_results(words):
    plain, compiled = task_of(*words), task_of(*words)
    compile_networks(compiled, "eager")
    for task in (plain, compiled):
        step(task)
    expected, found = plain.state_dict(), compiled.state_dict()
    assert [*found] == [*expected]
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=2e-4, msg=name)


@pytest.mark.slow
def test_compiled_code_equals_the_network():
    words = [NARROW, "model.separator.net.dropout=0"]
    plain, compiled = task_of(*words), task_of(*words)
    compile_networks(compiled)
    mixture = torch.randn(2, plain.separator.channels, plain.separator.chunk_samples)
    torch.testing.assert_close(compiled.separator(mixture).sources, plain.separator(mixture).sources, rtol=0, atol=1e-5)


def test_the_keys_reach_the_training(cli, songs, monkeypatch):
    compiled, modes = [], []
    monkeypatch.setattr(building, "compile_networks", compiled.append)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", modes.append)
    words = ["model=unet", NARROW, "data=musdb", f"data.root={songs}", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    for more in (["compile=true", "tf32=true"], ["seed=1"]):
        status, _, err = cli(*words, *more, "+trainer.limit_train_batches=1", "test=false")
        assert status == 0, err
    assert len(compiled) == 1 and modes == ["high", "highest"]


def test_tf32_is_a_mode_of_the_process():
    before = torch.get_float32_matmul_precision()
    set_up_process(0, tf32=True)
    assert torch.get_float32_matmul_precision() == "high"
    set_up_process(0)
    assert torch.get_float32_matmul_precision() == "highest"
    torch.set_float32_matmul_precision(before)
