"""Adapters for networks of torchaudio. A network maps a mixture waveform to source waveforms of the same length.

Each adapter stores the network of torchaudio as `net`, and has no other parameters. To load published weights, put the prefix
`net.` before the names of the tensors.
"""

from typing import Literal

from torch import Tensor, nn

from unbraid.nets.libraries import check_length, create, torchaudio_class
from unbraid.runs.errors import InputError


class HDemucs(nn.Module):
    """Apply Hybrid Demucs: two U-Nets, of waveform and spectrogram, with a common bottleneck (Défossez, MDX workshop 2021).

    Args:
        sources: number of sources.
        audio_channels: number of channels of the waveforms.
        channels: number of channels of the first layer.
        growth: factor by which the number of channels grows from layer to layer.
        n_fft: length of the STFT window in samples; the hop is n_fft / 4. All encoder layers
            together must reduce the frequency bins to one. For 4096 samples, `depth` is therefore 6.
        depth: number of encoder layers.
        freq_emb: weight of the frequency embedding (a learned vector for each frequency); 0: no frequency embedding.
        emb_scale: factor of the learning rate of the frequency embedding.
        emb_smooth: whether the frequency embedding is initialised smoothly over frequency.
        kernel_size: size of the kernels.
        time_stride: stride in time of the layers whose input has only one frequency left.
        stride: stride of all other layers.
        context: number of positions that a gated convolution (GLU) of the decoder reads on each side of an output position.
        context_enc: number of positions that a gated convolution (GLU) of the encoder reads on each side of an output position.
        norm_starts: index of the first layer with group normalisation.
        norm_groups: number of groups of the group normalisation.
        dconv_depth: number of layers of the residual branch (DConv) in each layer.
        dconv_comp: factor by which a residual branch reduces the number of channels.
        dconv_attn: index of the first layer with local attention in the residual branch.
        dconv_lstm: index of the first layer with an LSTM in the residual branch.
        dconv_init: initial scale of the residual branches.

    Shape:
        [B, C, T] -> [B, S, C, T], with T at least `n_fft`. B: batch, S: sources, C: channels, T: samples.
    """

    def __init__(
        self,
        sources: int,
        audio_channels: int = 2,
        channels: int = 48,
        growth: int = 2,
        n_fft: int = 4096,
        depth: int = 6,
        freq_emb: float = 0.2,
        emb_scale: int = 10,
        emb_smooth: bool = True,
        kernel_size: int = 8,
        time_stride: int = 2,
        stride: int = 4,
        context: int = 1,
        context_enc: int = 0,
        norm_starts: int = 4,
        norm_groups: int = 4,
        dconv_depth: int = 2,
        dconv_comp: int = 4,
        dconv_attn: int = 4,
        dconv_lstm: int = 4,
        dconv_init: float = 1e-4,
    ) -> None:
        super().__init__()
        self.n_fft, self.stride = n_fft, n_fft // 4  # in samples, of the STFT and of the coarsest waveform layer
        self.net = create(
            torchaudio_class("HDemucs", "hdemucs"),
            [f"source {s}" for s in range(sources)], audio_channels, channels, growth, n_fft, depth, freq_emb, emb_scale,
            emb_smooth, kernel_size, time_stride, stride, context, context_enc, norm_starts, norm_groups, dconv_depth,
            dconv_comp, dconv_attn, dconv_lstm, dconv_init,
        )  # fmt: skip
        for layer in self.net.time_encoder:
            if layer.empty:  # its norm is never used, and DDP would wait for its gradient
                layer.norm1.requires_grad_(False)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate mixtures [batch, channels, samples] into sources [batch, sources, channels, samples]."""
        check_length(mixture.shape[-1], self.n_fft, f"n_fft = {self.n_fft}")
        return self.net(mixture)


class ConvTasNet(nn.Module):
    """Apply Conv-TasNet: dilated convolutions estimate masks of a learned transform (Luo & Mesgarani, TASLP 2019).

    Each audio channel is separated without the other channels.

    Args:
        sources: number of sources.
        enc_kernel_size: window of the learned transform in samples, L in the paper, an even number. The hop is half of this
            window.
        enc_num_feats: number of filters of the learned transform, N in the paper.
        msk_kernel_size: kernel size of the dilated convolutions, P in the paper, an odd number.
        msk_num_feats: number of channels between blocks, B and Sc in the paper.
        msk_num_hidden_feats: number of channels in a block, H in the paper.
        msk_num_layers: number of blocks in a stack, X in the paper. The dilation doubles from block to block.
        msk_num_stacks: number of stacks, R in the paper.
        msk_activate: activation function of the masks.

    Shape:
        [B, C, T] -> [B, S, C, T], with T at least `enc_kernel_size`. B: batch, S: sources, C: channels, T: samples.

    Raises:
        InputError: an argument is invalid, or a chunk is shorter than `enc_kernel_size`.
    """

    def __init__(
        self,
        sources: int,
        enc_kernel_size: int = 16,
        enc_num_feats: int = 512,
        msk_kernel_size: int = 3,
        msk_num_feats: int = 128,
        msk_num_hidden_feats: int = 512,
        msk_num_layers: int = 8,
        msk_num_stacks: int = 3,
        msk_activate: Literal["sigmoid", "relu"] = "sigmoid",
    ) -> None:
        super().__init__()
        if enc_kernel_size < 2 or enc_kernel_size % 2:
            raise InputError("ConvTasNet.enc_kernel_size", found=enc_kernel_size, expected="a positive even number of samples")
        if msk_kernel_size < 1 or msk_kernel_size % 2 == 0:
            raise InputError("ConvTasNet.msk_kernel_size", found=msk_kernel_size, expected="a positive odd number")
        self.window, self.stride = enc_kernel_size, enc_kernel_size // 2
        self.net = create(
            torchaudio_class("ConvTasNet", "conv_tasnet"),
            sources, enc_kernel_size, enc_num_feats, msk_kernel_size, msk_num_feats, msk_num_hidden_feats, msk_num_layers,
            msk_num_stacks, msk_activate,
        )  # fmt: skip

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate mixtures [batch, channels, samples] into sources [batch, sources, channels, samples]."""
        # b batch, s source, c channel, n sample
        b, c, n = mixture.shape
        check_length(n, self.window, f"enc_kernel_size = {self.window}")
        return self.net(mixture.reshape(b * c, 1, n)).unflatten(0, (b, c)).movedim(1, 2)
