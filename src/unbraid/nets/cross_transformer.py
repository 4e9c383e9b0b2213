"""Cross-domain transformer of Hybrid Transformer Demucs (Rouard, Massa & Défossez, ICASSP 2023).

One transformer processes the encoded waveform, a second transformer the encoded spectrogram. Layers with self-attention and
layers with cross-attention alternate. In a layer with cross-attention, each transformer reads the output of the other
transformer. The computing time grows with the square of the number of positions (frames times bins), so use chunks of some
seconds.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.nets.gradient_checkpointing import run_block

MAX_PERIOD = 10000.0  # longest period of the sines of the position embeddings, in positions, divided by 2 pi
LAYER_SCALE = 1e-4  # initial scale of the outputs of attention and feed-forward network


class CrossTransformer(nn.Module):
    """Process an encoded spectrogram and an encoded waveform by two transformers with cross-attention.

    Args:
        channels: number of channels C, a multiple of 4 and of `heads`.
        layers: number of layers of each transformer. Layers 1, 3, 5, … have self-attention, layers 2, 4, … cross-attention.
        heads: number of attention heads.
        hidden: number of values in the hidden layer of the feed-forward networks.
        dropout: dropout probability.
        gradient_checkpointing: whether the backward pass computes layers again, to save memory.

    Shape:
        spectrogram [B, C, F, T], waveform [B, C, N] -> the same shapes. B: batch, F: bins, T: frames, N: samples.
    """

    def __init__(
        self, channels: int, layers: int, heads: int, hidden: int, dropout: float, gradient_checkpointing: bool
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        self.spectral_norm, self.waveform_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        options = channels, heads, hidden, dropout
        self.spectral_layers = nn.ModuleList(TransformerLayer(*options, cross=bool(n % 2)) for n in range(layers))
        self.waveform_layers = nn.ModuleList(TransformerLayer(*options, cross=bool(n % 2)) for n in range(layers))

    def forward(self, spectrogram: Tensor, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Apply both transformers, and return spectrogram and waveform. Shape: [B, C, F, T], [B, C, N] -> the same shapes."""
        # b batch, c channel, f bin, t frame, n sample
        channels, bins, frames = spectrogram.shape[1:]
        x = self.spectral_norm(spectrogram.permute(0, 3, 2, 1).flatten(1, 2))  # b (t f) c
        x = x + embed_grid(frames, bins, channels, x.device)
        y = self.waveform_norm(waveform.transpose(1, 2))  # b n c
        y = y + embed_line(y.shape[1], channels, y.device)
        for number, (spectral, temporal) in enumerate(zip(self.spectral_layers, self.waveform_layers, strict=True)):
            others = (y, x) if number % 2 else (None, None)
            x, y = (
                run_block(layer, own, other, checkpointing=self.gradient_checkpointing)
                for layer, own, other in zip((spectral, temporal), (x, y), others, strict=True)
            )
        return x.unflatten(1, (frames, bins)).permute(0, 3, 2, 1), y.transpose(1, 2)


class TransformerLayer(nn.Module):
    """Apply attention and a feed-forward network, each with a residual connection. Then normalise the whole sequence.

    Args:
        channels: number of channels C.
        heads: number of attention heads.
        hidden: number of values in the hidden layer of the feed-forward network.
        dropout: dropout probability.
        cross: whether the layer attends to another sequence.

    Shape:
        sequence [B, N, C], other [B, M, C] -> [B, N, C]. B: batch, N and M: positions.
    """

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float, cross: bool) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.other_norm = nn.LayerNorm(channels) if cross else None
        self.attention = Attention(channels, heads, dropout)
        self.feed = nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, channels), nn.Dropout(dropout)
        )
        self.dropout = nn.Dropout(dropout)
        self.attention_scale = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.feed_scale = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, sequence: Tensor, other: Tensor | None) -> Tensor:
        """Apply the layer to a sequence. The sequence attends to the sequence `other`, or to itself if `other` is None."""
        if self.other_norm is not None and other is not None:
            other = self.other_norm(other)
        attended = self.attention(self.attention_norm(sequence), other)
        x = sequence + self.attention_scale * self.dropout(attended)
        x = x + self.feed_scale * self.feed(self.feed_norm(x))
        # Equals self.norm with transposed axes: mean and variance over positions and channels.
        return functional.layer_norm(x, x.shape[1:], eps=self.norm.eps) * self.norm.weight + self.norm.bias


class Attention(nn.Module):
    """Apply multi-head attention: a sequence attends to another sequence or to itself (Vaswani et al., NeurIPS 2017).

    Args:
        channels: number of channels C, a multiple of `heads`.
        heads: number of attention heads.
        dropout: dropout probability of the attention weights.

    Shape:
        sequence [B, N, C], other [B, M, C] -> [B, N, C].
    """

    direct_layers: ClassVar = ("inputs",)

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.heads, self.dropout = channels, heads, dropout
        self.inputs = nn.Linear(channels, 3 * channels)  # queries, keys, values
        self.output = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.inputs.weight)
        nn.init.zeros_(self.inputs.bias)
        nn.init.zeros_(self.output.bias)

    def forward(self, sequence: Tensor, other: Tensor | None) -> Tensor:
        """Apply attention. The queries are from `sequence`, the keys and values are from `other`.

        If `other` is None, the keys and values are from `sequence`, too.
        """
        if other is None:
            queries, keys, values = self.inputs(sequence).chunk(3, dim=-1)
        else:
            sizes = [self.channels, 2 * self.channels]
            (query_weight, weight), (query_bias, bias) = self.inputs.weight.split(sizes), self.inputs.bias.split(sizes)
            queries = functional.linear(sequence, query_weight, query_bias)
            keys, values = functional.linear(other, weight, bias).chunk(2, dim=-1)
        queries, keys, values = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (queries, keys, values))
        dropout = self.dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
        return self.output(attended.transpose(1, 2).flatten(2))


def embed_line(length: int, channels: int, device: torch.device) -> Tensor:
    """Compute the position embedding of a sequence: cosines in the first half of the channels, sines in the second half.

    Args:
        length: number of positions N.
        channels: number of channels C, an even number above 2.
        device: device of the result.

    Shape:
        [N, C].

    Returns:
        Embedding of each position.
    """
    exponents = torch.arange(channels // 2, device=device) / (channels // 2 - 1)
    angles = torch.arange(length, device=device)[:, None] / MAX_PERIOD**exponents
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def embed_grid(frames: int, bins: int, channels: int, device: torch.device) -> Tensor:
    """Compute the position embedding of a spectrogram.

    The first half of the channels encodes the number of the frame. The second half encodes the number of the bin. Sines and
    cosines alternate in each half.

    Args:
        frames: number of frames T.
        bins: number of bins F.
        channels: number of channels C, a multiple of 4.
        device: device of the result.

    Shape:
        [T * F, C]; the bins of a frame are adjacent.

    Returns:
        Embedding of each position.
    """
    half = channels // 2
    frequencies = torch.exp(torch.arange(0, half, 2, device=device) * (-math.log(MAX_PERIOD) / half))
    by_frame, by_bin = (
        torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        for angles in (torch.arange(size, device=device)[:, None] * frequencies for size in (frames, bins))
    )
    grid = by_frame[:, None].expand(-1, bins, -1), by_bin[None].expand(frames, -1, -1)
    return torch.cat(grid, dim=-1).flatten(0, 1)
