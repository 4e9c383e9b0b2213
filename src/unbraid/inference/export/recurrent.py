"""LSTMs as ONNX's own operator, for any number of frames and any batch.

Torch's exporter would run through an LSTM frame by frame while it traces, which takes minutes, and would fix their number.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.onnx import ops


class GraphLSTM(nn.Module):
    """Stands for an `nn.LSTM` while a graph is traced; it computes nothing by itself.

    Args:
        lstm: whose layers these are; without projections.

    Shape:
        [T, B, I] -> [T, B, directions * H], or, `batch_first`, with B before T.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        assert not lstm.proj_size
        self.hidden, self.batch_first, self.directions = lstm.hidden_size, lstm.batch_first, 2 if lstm.bidirectional else 1
        self.layers = nn.ParameterList()
        for layer in range(lstm.num_layers):
            suffixes = [f"l{layer}", f"l{layer}_reverse"][: self.directions]
            for kinds in (["weight_ih"], ["weight_hh"], ["bias_ih", "bias_hh"] if lstm.bias else []):
                rows = [
                    torch.cat([_reordered(getattr(lstm, f"{kind}_{suffix}")) for kind in kinds]) for suffix in suffixes if kinds
                ]
                if rows:
                    self.layers.append(nn.Parameter(torch.stack(rows), requires_grad=False))
        self.each = len(self.layers) // lstm.num_layers

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        x = x.transpose(0, 1) if self.batch_first else x
        for first in range(0, len(self.layers), self.each):
            y = ops.symbolic(
                "LSTM",
                [x, *self.layers[first : first + self.each]],
                {"hidden_size": self.hidden, "direction": "bidirectional" if self.directions == 2 else "forward"},
                dtype=x.dtype, shape=(x.shape[0], self.directions, x.shape[1], self.hidden), version=14,
            )  # fmt: skip
            x = y.transpose(1, 2).flatten(2)
        return (x.transpose(0, 1) if self.batch_first else x), None


def _reordered(weights: Tensor) -> Tensor:
    """Rows of the input, forget, cell and output gates as ONNX has them: input, output, forget, cell."""
    i, f, c, o = weights.detach().chunk(4)
    return torch.cat([i, o, f, c])


def with_graph_lstms(module: nn.Module) -> nn.Module:
    """A copy of a network, its LSTMs being operators of ONNX; the network itself where it has none."""
    if not any(isinstance(one, nn.LSTM) for one in module.modules()):
        return module
    copied = deepcopy(module)
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.LSTM):
                setattr(parent, name, GraphLSTM(child))
    return copied
