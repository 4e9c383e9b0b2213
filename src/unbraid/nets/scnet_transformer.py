"""SCNet with attention instead of LSTMs, like the network `SCNet_Tran` of Music-Source-Separation-Training (MSST).

Positions are encoded by rotations of queries and keys (RoPE: Su et al., 2021). Attention over long chunks needs more memory
than LSTMs. For less memory, use `unbraid.nets.scnet`.
"""

from collections.abc import Sequence

from torch import nn

from unbraid.nets.rotary_transformer import Transformer
from unbraid.nets.scnet import SCNet, Window
from unbraid.runs.errors import InputError, check_counts


class SCNetTransformer(SCNet):
    """Estimate the waveforms of all sources from the waveform of a mixture, with attention over frequency and over time.

    Args:
        sources: number of sources.
        audio_channels: number of channels of the waveforms.
        channels: number of channels after each compression of the encoder.
        n_fft: length of the window and of the transform in samples.
        hop_length: step between frames in samples.
        window: window of the STFT, `rectangular` or `hann`.
        normalized: whether the STFT is divided by the square root of `n_fft`.
        band_shares: share of the frequency bins in each band, starting at 0 Hz. The shares sum to 1.
        band_strides: number of bins that a compression reduces to one, for each band.
        band_kernels: number of bins that a compression reads, for each band. A kernel equals the stride, unless the stride is
            1.
        band_depths: number of convolution modules after a compression, for each band.
        compress: factor by which a convolution module reduces the number of channels.
        conv_kernel: kernel size of the convolution modules in frames, an odd number.
        layers: number of dual-path layers, an even number.
        depth: number of transformer layers in each path of a dual-path layer.
        heads: number of attention heads.
        dim_head: size of an attention head, an even number.
        rotary_dim: number of values of a head that are rotated by the position, an even number of at most `dim_head`.
        attn_dropout: dropout probability of the attention.
        ff_dropout: dropout probability of the feed-forward layers.
        standardize: whether the spectrum of a chunk is standardised (mean 0, standard deviation 1).
        mask: True: the network estimates complex masks with real and imaginary parts in [-1, 1]. In this case, a learned
            vector is added to each bin of the input. False: the network estimates spectra.
        gradient_checkpointing: whether the backward pass computes activations again, to save memory.

    Shape:
        [B, C, T] -> [B, S, C, T]. B: batch, S: sources, C: channels, T: samples. Chunks can have any length.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        sources: int,
        audio_channels: int = 2,
        channels: Sequence[int] = (32, 64, 128),
        n_fft: int = 4096,
        hop_length: int = 1024,
        window: Window = "rectangular",
        normalized: bool = True,
        band_shares: Sequence[float] = (0.175, 0.392, 0.433),
        band_strides: Sequence[int] = (1, 4, 16),
        band_kernels: Sequence[int] = (3, 4, 16),
        band_depths: Sequence[int] = (3, 2, 1),
        compress: int = 4,
        conv_kernel: int = 3,
        layers: int = 6,
        depth: int = 1,
        heads: int = 8,
        dim_head: int = 64,
        rotary_dim: int = 64,
        attn_dropout: float = 0.0,
        ff_dropout: float = 0.0,
        standardize: bool = False,
        mask: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        check_counts(depth=depth, heads=heads)
        if dim_head % 2:
            raise InputError("SCNetTransformer.dim_head", found=dim_head, expected="an even number")
        if rotary_dim % 2 or not 2 <= rotary_dim <= dim_head:
            expected = f"an even number of at most dim_head = {dim_head}"
            raise InputError("SCNetTransformer.rotary_dim", found=rotary_dim, expected=expected)
        for name, dropout in (("attn_dropout", attn_dropout), ("ff_dropout", ff_dropout)):
            if not 0 <= dropout < 1:
                raise InputError(f"SCNetTransformer.{name}", found=dropout, expected="a probability in [0, 1)")
        self.path_options = (depth, heads, dim_head, rotary_dim, attn_dropout, ff_dropout)  # for `make_path`
        super().__init__(
            sources, audio_channels, channels, n_fft, hop_length, window, normalized, band_shares, band_strides, band_kernels,
            band_depths, compress, conv_kernel, layers, 1, standardize, mask, gradient_checkpointing,
        )  # fmt: skip

    def make_path(self, channels: int, expand: int) -> nn.Module:
        """Build the transformer that a dual-path layer applies over one axis. Shape of the transformer: [N, L, D] -> [N, L, D].

        Args:
            channels: number D of channels of the sequences.
            expand: ignored; only `SCNet` uses this argument.

        Returns:
            The transformer.
        """
        depth, heads, dim_head, rotary_dim, attn_dropout, ff_dropout = self.path_options
        return Transformer(depth, channels, heads, dim_head, attn_dropout, ff_dropout, False, True, rotary_dim)
