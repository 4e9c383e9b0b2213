"""Replace each LSTM of a network by the LSTM operator of ONNX, so that the ONNX file accepts any number of frames.

Without this replacement, PyTorch's exporter would write the operations of each frame separately. The export would take minutes,
and the ONNX file would accept only one number of frames.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.onnx import ops


class GraphLSTM(nn.Module):
    """Module that replaces an `nn.LSTM` during an export, and writes the LSTM operator of ONNX.

    The module only describes the operator. It does not compute the output of the LSTM.

    Args:
        lstm: LSTM whose weights are written. It must not use projections (`proj_size`).

    Shape:
        x [T, B, I] -> [T, B, D * H]; if `lstm.batch_first`, x [B, T, I] -> [B, T, D * H]. T is the number of frames, I the
        input size, H the hidden size, and D the number of directions: 2 for a bidirectional LSTM, else 1.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        assert not lstm.proj_size
        self.hidden, self.batch_first, self.directions = lstm.hidden_size, lstm.batch_first, 2 if lstm.bidirectional else 1
        self.weights = nn.ParameterList()
        for layer in range(lstm.num_layers):
            suffixes = [f"l{layer}", f"l{layer}_reverse"][: self.directions]
            for kinds in (["weight_ih"], ["weight_hh"], *([["bias_ih", "bias_hh"]] if lstm.bias else [])):
                rows = [torch.cat([_reordered(getattr(lstm, f"{kind}_{suffix}")) for kind in kinds]) for suffix in suffixes]
                self.weights.append(nn.Parameter(torch.stack(rows), requires_grad=False))
        self.per_layer = len(self.weights) // lstm.num_layers

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return a pair: the output of the last layer, and None. `nn.LSTM` returns the final state in place of None."""
        x = x.transpose(0, 1) if self.batch_first else x
        for first in range(0, len(self.weights), self.per_layer):
            y = ops.symbolic(
                "LSTM",
                [x, *self.weights[first : first + self.per_layer]],
                {"hidden_size": self.hidden, "direction": "bidirectional" if self.directions == 2 else "forward"},
                dtype=x.dtype, shape=(x.shape[0], self.directions, x.shape[1], self.hidden), version=14,
            )  # fmt: skip
            x = y.transpose(1, 2).flatten(2)
        return (x.transpose(0, 1) if self.batch_first else x), None


def _reordered(weights: Tensor) -> Tensor:
    """Reorder the gates of an LSTM weight from PyTorch (input, forget, cell, output) to ONNX (input, output, forget, cell)."""
    i, f, c, o = weights.detach().chunk(4)
    return torch.cat([i, o, f, c])


def with_graph_lstms(module: nn.Module) -> nn.Module:
    """Replace each LSTM in a copy of a network by a `GraphLSTM`, which writes the LSTM operator of ONNX.

    Args:
        module: network to export.

    Returns:
        The changed copy. If the network contains no LSTM, the network itself.
    """
    if not any(isinstance(child, nn.LSTM) for child in module.modules()):
        return module
    copied = deepcopy(module)
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.LSTM):
                setattr(parent, name, GraphLSTM(child))
    return copied
