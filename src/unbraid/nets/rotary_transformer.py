"""Transformers with rotary positions over the two axes of a grid of frames and bands (Lu et al., ICASSP 2024).

A rotary transformer (RoFormer; Su et al., Neurocomputing 2024) rotates pairs of features of queries and keys by an angle that
grows with the position. The product of a query and a key then depends only on the distance between the two positions. A gate
scales the output of each attention head. The networks in `unbraid.nets.roformer` apply these transformers to audio. The cost of
attention over time grows with the square of the length of a chunk. For chunks of a minute, use a convolutional or recurrent
network.
"""

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.nets.gradient_checkpointing import run_block
from unbraid.runs.errors import InputError, check_counts

SMALLEST_NORM = 1e-12  # feature vectors with a smaller norm are not scaled to unit RMS


class RMSNorm(nn.RMSNorm):
    """Scale each vector to a root mean square of 1, and multiply each feature by a learned weight.

    The computation uses the dtype of the weight, also under autocast.

    Args:
        features: number of features.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, eps=SMALLEST_NORM**2 / features)

    def forward(self, x: Tensor) -> Tensor:
        """Scale vectors to a root mean square of 1, and apply the weights. Shape: [..., D] -> [..., D]."""
        return super().forward(x.to(self.weight.dtype))


def rotations(positions: int, features: int, like: Tensor) -> Tensor:
    """Compute the rotation of each pair of features at each position.

    Args:
        positions: number N of positions.
        features: number D of features, an even number. Pair i rotates by 10000^(-2 i / D) radians per position.
        like: tensor on the device of the result.

    Shape:
        complex [N, D / 2].

    Returns:
        Complex numbers of magnitude 1.
    """
    pairs = torch.arange(0, features, 2, device=like.device, dtype=torch.float32)
    angles = torch.arange(positions, device=like.device, dtype=torch.float32)[:, None] / 10000.0 ** (pairs / features)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(vectors: Tensor, rotation: Tensor) -> Tensor:
    """Rotate the first P pairs of adjacent features. Shape: vectors [..., N, D], rotation [N, P] -> [..., N, D]."""
    count = 2 * rotation.shape[-1]
    pairs = vectors[..., :count].to(torch.promote_types(vectors.dtype, torch.float32)).unflatten(-1, (-1, 2))
    rotated = torch.view_as_real(torch.view_as_complex(pairs) * rotation).flatten(-2).type_as(vectors)
    return torch.cat([rotated, vectors[..., count:]], dim=-1) if count < vectors.shape[-1] else rotated


class RotaryAttention(nn.Module):
    """Compute the attention between all positions of a sequence, with a gate for each head.

    Args:
        dim: number of features.
        heads: number of attention heads.
        dim_head: number of features of a head, an even number.
        dropout: dropout probability of the attention weights and of the output.

    Shape:
        x [B, N, D], rotation [N, P] -> [B, N, D], with N positions, D = `dim`, and P rotated pairs of features of a head.
    """

    def __init__(self, dim: int, heads: int, dim_head: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm = RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.gates = nn.Linear(dim, heads)
        self.out = nn.Linear(heads * dim_head, dim, bias=False)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        """Return the output of the attention for a sequence, without the residual connection."""
        # b batch, n position, h head, e feature of a head
        x = self.norm(x)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # b h n e
        q, k = rotate(q, rotation), rotate(k, rotation)
        attended = functional.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        gated = attended.transpose(1, 2) * self.gates(x).sigmoid().unsqueeze(-1)  # b n h e
        return functional.dropout(self.out(gated.flatten(2)), self.dropout, self.training)


class LinearAttention(nn.Module):
    """Compute the attention between the features of each head. The cost grows linearly with the length of a sequence.

    Source: El-Nouby et al., "XCiT: Cross-covariance image transformers", NeurIPS 2021.

    Args:
        dim: number of features.
        heads: number of attention heads.
        dim_head: number of features of a head.
        dropout: dropout probability of the attention weights.

    Shape:
        [B, N, D] -> [B, N, D], with N positions and D = `dim`.
    """

    def __init__(self, dim: int, heads: int, dim_head: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm = RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))  # the exponential of this value scales the queries
        self.out = nn.Linear(heads * dim_head, dim, bias=False)

    def forward(self, x: Tensor, _rotation: Tensor) -> Tensor:
        """Return the output of the attention for a sequence, without the residual connection. Positions are not used."""
        # b batch, n position, h head, e feature of a head
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 4, 1)  # b h e n
        q, k = functional.normalize(q, dim=-1) * self.temperature.exp(), functional.normalize(k, dim=-1)
        dropout = self.dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(q.type_as(v), k.type_as(v), v, dropout_p=dropout, scale=8.0)
        return self.out(attended.permute(0, 3, 1, 2).flatten(2))


class FeedForward(nn.Module):
    """Transform the features of each position by two linear layers with a GELU between them. Shape: [..., D] -> [..., D].

    Args:
        dim: number of features. The hidden layer has four times as many features.
        dropout: dropout probability of the outputs of both layers.
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = RMSNorm(dim)
        self.expand = nn.Linear(dim, 4 * dim)
        self.reduce = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed features, without the residual connection."""
        hidden = functional.dropout(functional.gelu(self.expand(self.norm(x))), self.dropout, self.training)
        return functional.dropout(self.reduce(hidden), self.dropout, self.training)


class Layer(nn.Module):
    """Add the output of an attention module to a sequence, and then add the output of a feed-forward module to the result.

    Args:
        attention: attention module.
        feed_forward: feed-forward module.
    """

    def __init__(self, attention: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        """Apply the layer to sequences. Shape: x [B, N, D], rotation [N, P] -> [B, N, D]."""
        x = x + self.attention(x, rotation)
        return x + self.feed_forward(x)


class Transformer(nn.Module):
    """Apply layers to sequences. Each layer consists of attention and a feed-forward network.

    Args:
        depth: number of layers.
        dim: number of features.
        heads: number of attention heads.
        dim_head: number of features of a head.
        attn_dropout: dropout probability of the attention.
        ff_dropout: dropout probability of the feed-forward networks.
        linear: whether the attention is between features (`LinearAttention`) instead of positions.
        norm_output: whether the output is normalised.
        rotary_dim: number of features of a head that are rotated by the position, an even number; None: `dim_head`.

    Shape:
        [B, N, D] -> [B, N, D], with N positions and D = `dim`.
    """

    def __init__(
        self,
        depth: int,
        dim: int,
        heads: int,
        dim_head: int,
        attn_dropout: float,
        ff_dropout: float,
        linear: bool,
        norm_output: bool,
        rotary_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.rotary_dim = rotary_dim or dim_head
        kind = LinearAttention if linear else RotaryAttention
        self.layers = nn.ModuleList(
            Layer(kind(dim, heads, dim_head, attn_dropout), FeedForward(dim, ff_dropout)) for _ in range(depth)
        )
        self.norm = RMSNorm(dim) if norm_output else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply all layers to a batch of sequences. Shape: [B, N, D] -> [B, N, D]."""
        rotation = rotations(x.shape[1], self.rotary_dim, x)
        for layer in self.layers:
            x = layer(x, rotation)
        return self.norm(x)


class AxialTransformer(nn.Module):
    """Apply blocks to a grid of frames and bands. A block is a transformer over the frames and a transformer over the bands.

    Args:
        dim: number of features of a band in a frame.
        depth: number of blocks.
        time_transformer_depth: number of layers of each transformer over frames.
        freq_transformer_depth: number of layers of each transformer over bands.
        linear_transformer_depth: number of layers of an additional transformer in each block, with linear attention over all
            frames and bands. 0: no additional transformer.
        dim_head: number of features of an attention head, an even number.
        heads: number of attention heads.
        attn_dropout: dropout probability of the attention.
        ff_dropout: dropout probability of the feed-forward networks.
        skip_connection: whether the outputs of all previous blocks are added to the input of a block.
        norm_each: whether the output of each transformer is normalised. Otherwise only the final output is normalised.
        gradient_checkpointing: whether the backward pass computes each transformer again, to save memory.

    Shape:
        [B, T, K, D] -> [B, T, K, D], with T frames, K bands and D = `dim`.

    Raises:
        InputError: `dim_head` is odd, a size is below 1, or a dropout probability is not in [0, 1).
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        time_transformer_depth: int,
        freq_transformer_depth: int,
        linear_transformer_depth: int,
        dim_head: int,
        heads: int,
        attn_dropout: float,
        ff_dropout: float,
        skip_connection: bool,
        norm_each: bool,
        gradient_checkpointing: bool,
    ) -> None:
        super().__init__()
        counts = {"dim": dim, "depth": depth, "dim_head": dim_head, "heads": heads}
        depths = {"time_transformer_depth": time_transformer_depth, "freq_transformer_depth": freq_transformer_depth}
        check_counts(**counts, **depths)
        if linear_transformer_depth < 0:
            raise InputError("linear_transformer_depth", found=linear_transformer_depth, expected="at least 0")
        if dim_head % 2:
            raise InputError("dim_head", found=dim_head, expected="an even number")
        for name, value in (("attn_dropout", attn_dropout), ("ff_dropout", ff_dropout)):
            if not 0 <= value < 1:
                raise InputError(name, found=value, expected="a probability in [0, 1)")

        def transformer(layers: int, linear: bool = False) -> Transformer:
            return Transformer(layers, dim, heads, dim_head, attn_dropout, ff_dropout, linear, norm_each)

        self.skip_connection, self.gradient_checkpointing = skip_connection, gradient_checkpointing
        self.blocks = nn.ModuleList()
        for _ in range(depth):
            linear = [transformer(linear_transformer_depth, linear=True)] if linear_transformer_depth else []
            over_axes = [transformer(time_transformer_depth), transformer(freq_transformer_depth)]
            self.blocks.append(nn.ModuleList([*linear, *over_axes]))
        self.norm = nn.Identity() if norm_each else RMSNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all blocks to a batch of grids. Shape: [B, T, K, D] -> [B, T, K, D]."""
        # b batch, t frame, k band, d feature
        b, t, k, _ = x.shape
        outputs: list[Tensor] = []
        run = partial(run_block, checkpointing=self.gradient_checkpointing)
        for block in self.blocks:
            *linear, over_frames, over_bands = cast(nn.ModuleList, block)
            if linear:
                x = run(linear[0], x.flatten(1, 2)).unflatten(1, (t, k))
            if self.skip_connection:
                x = sum(outputs, start=x)
            x = run(over_frames, x.transpose(1, 2).flatten(0, 1)).unflatten(0, (b, k)).transpose(1, 2)
            x = run(over_bands, x.flatten(0, 1)).unflatten(0, (b, t))
            outputs = [*outputs, x] if self.skip_connection else []
        return self.norm(x)
