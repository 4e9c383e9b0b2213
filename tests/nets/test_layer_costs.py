"""Tests of the counts of parameters and operations, against formulas of textbooks and torch's own counter."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from unbraid.nets import layer_costs as module
from unbraid.nets.layer_costs import layer_costs


class Attention(nn.Module):
    """Attend with functions, without parameters."""

    def forward(self, x):
        return functional.scaled_dot_product_attention(x, x, x) + torch.einsum("b i d, b j d -> b i j", x, x) @ x


def costs(net, *inputs):
    return layer_costs(net.eval(), lambda: net(*inputs))


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Conv1d(4, 6, 3, stride=2, groups=2), (2, 4, 17)),
        (nn.Conv2d(3, 8, (3, 5), padding=1), (2, 3, 9, 11)),
        (nn.ConvTranspose2d(8, 4, 5, stride=2), (2, 8, 5, 7)),
        (nn.Linear(5, 7), (2, 3, 5)),
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 2, 3)), (1, 2, 20)),
    ],
)
def test_counts_equal_those_of_torch(net, shape):
    x = torch.randn(shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(x)
    rows = costs(net, x)
    assert 2 * sum(row.macs for row in rows) == counter.get_total_flops() > 0
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in net.parameters())


def test_attention_without_parameters_is_counted():
    """Torch 2.14 does not count `scaled_dot_product_attention` on the CPU."""
    (row,) = costs(Attention(), torch.randn(2, 6, 5))
    assert row.macs == 2 * 4 * 6 * 6 * 5 and row.parameters == 0


def test_recurrent_layers_count_their_matrices():
    lstm = nn.LSTM(5, 7, num_layers=2, bidirectional=True, batch_first=True)
    (row,) = costs(lstm, torch.randn(3, 10, 5))
    per_step = 2 * (4 * 7 * (5 + 7)) + 2 * (4 * 7 * (14 + 7))
    assert row.macs == 30 * per_step and row.kind == "LSTM"
    (row,) = costs(nn.GRU(5, 7), torch.randn(10, 3, 5))
    assert row.macs == 30 * 3 * 7 * (5 + 7)


@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention_is_one_layer(batch_first):
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
    x = torch.randn((3, 5, 8) if batch_first else (5, 3, 8))
    (row,) = costs(attention, x, x, x)
    assert row.macs == 15 * 4 * 8 * 8 + 2 * 3 * 5 * 5 * 8
    assert row.parameters == sum(p.numel() for p in attention.parameters())


def test_many_layers_are_summed(monkeypatch):
    net = nn.Sequential(*(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)) for _ in range(4)))
    x = torch.randn(5, 2)
    whole = costs(net, x)
    monkeypatch.setattr(module, "MOST_ROWS", 4)
    few = costs(net, x)
    assert [row.name for row in few] == ["0", "1", "2", "3"] and len(whole) == 8
    assert sum(row.macs for row in few) == sum(row.macs for row in whole) == 4 * 5 * 12
    assert sum(row.parameters for row in few) == sum(row.parameters for row in whole)


def test_a_layer_that_runs_twice_counts_twice():
    layer = nn.Linear(2, 2)
    (row,) = costs(nn.Sequential(layer, layer), torch.randn(1, 2))
    assert (row.macs, row.parameters) == (8, 6)
