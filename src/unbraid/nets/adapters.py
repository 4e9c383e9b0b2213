"""Adapters for networks of other libraries, which map a mixture waveform to source waveforms of the same length.

`HDemucs` and `ConvTasNet` are from torchaudio, `BSRoformer` and `MelBandRoformer` from the package `bs-roformer`. Each adapter
stores the library's module as `net`. Published weights therefore load if the prefix `net.` is added to their names. An adapter
does not have other parameters.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from unbraid.nets.libraries import check_length, create, masks_in_float32, roformer_class, run_whole_hops, torchaudio_class
from unbraid.runs.errors import InputError

SIXTY_TWO_BANDS = (*(2,) * 24, *(4,) * 12, *(12,) * 8, *(24,) * 8, *(48,) * 8, 128, 129)  # of 1025 bins (Lu et al. 2023)


class HDemucs(nn.Module):
    """Apply Hybrid Demucs: two U-Nets, of waveform and spectrogram, with a common bottleneck (Défossez, MDX workshop 2021).

    Args:
        sources: number of sources.
        audio_channels: number of channels of the waveforms.
        channels: number of channels of the first layer.
        growth: factor by which the number of channels grows from layer to layer.
        n_fft: length of the STFT window in samples; the hop is a quarter of it. The encoder has `depth` layers, which must
            reduce the frequency bins to one. For 4096 samples, 6 layers are needed.
        depth: number of encoder layers.
        freq_emb: weight of the frequency embedding (a learned vector for each frequency); 0: no frequency embedding.
        emb_scale: factor of the learning rate of the frequency embedding.
        emb_smooth: whether the frequency embedding is initialised smoothly over frequency.
        kernel_size: size of the kernels.
        time_stride: stride in time of the layers whose input has only one frequency left.
        stride: stride of all other layers.
        context: number of positions on either side that the gated convolutions (GLU) of the decoder read.
        context_enc: number of positions on either side that the gated convolutions (GLU) of the encoder read.
        norm_starts: index of the first layer with group normalisation.
        norm_groups: number of groups of the group normalisation.
        dconv_depth: number of layers of the residual branch (DConv) in each layer.
        dconv_comp: factor by which a residual branch reduces the number of channels.
        dconv_attn: index of the first layer with local attention in its residual branch.
        dconv_lstm: index of the first layer with an LSTM in its residual branch.
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
        enc_kernel_size: window of the learned transform in samples, L in the paper, an even number. The hop is half of it.
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


class BSRoformer(nn.Module):
    """Apply the Band-split RoPE transformer: complex masks by attention over time and bands (Lu et al., ICASSP 2024).

    Unlike the network of the paper, the network of the package `bs-roformer` has residual connections for attention values.

    Args:
        sources: number of sources.
        audio_channels: number of channels of the waveforms.
        dim: size of the embedding of a band in a frame.
        depth: number of pairs of transformers. A pair is one transformer over time and one over bands.
        time_transformer_depth: number of layers of each transformer over time.
        freq_transformer_depth: number of layers of each transformer over bands.
        freqs_per_bands: number of bins of each band, starting at 0 Hz. All bands together have `n_fft // 2 + 1` bins.
        dim_head: size of an attention head.
        heads: number of attention heads.
        attn_dropout: dropout probability of the attention.
        ff_dropout: dropout probability of the feed-forward layers.
        flash_attn: whether attention is computed as one operation, without storing the attention matrix.
        num_residual_streams: number of parallel residual connections (streams); 1 as in the paper. Above 1, learned
            hyper-connections mix the streams.
        num_residual_fracs: number of parts into which the hyper-connections divide the features.
        mc_hyper_conn_sinkhorn_iters: number of Sinkhorn iterations that normalise the weights of the hyper-connections.
        n_fft: length of the window and of the transform in samples.
        hop_length: step between frames in samples.
        normalized: whether the STFT is divided by the square root of `n_fft`.
        zero_dc: whether the estimated sources are set to 0 at 0 Hz.
        mask_estimator_depth: number of layers of the mask estimators.
        use_pope: whether positions are encoded by PoPE (polar) instead of RoPE (rotary).

    Shape:
        [B, C, T] -> [B, S, C, T], with T above `n_fft // 2`. B: batch, S: sources, C: channels, T: samples.

    Raises:
        InputError: the package `bs-roformer` is not installed, the bands do not have `n_fft // 2 + 1` bins in total, or a chunk
            is too short.
    """

    def __init__(
        self,
        sources: int,
        audio_channels: int = 2,
        dim: int = 384,
        depth: int = 6,
        time_transformer_depth: int = 1,
        freq_transformer_depth: int = 1,
        freqs_per_bands: Sequence[int] = SIXTY_TWO_BANDS,
        dim_head: int = 48,
        heads: int = 8,
        attn_dropout: float = 0.1,
        ff_dropout: float = 0.1,
        flash_attn: bool = True,
        num_residual_streams: int = 1,
        num_residual_fracs: int = 1,
        mc_hyper_conn_sinkhorn_iters: int = 2,
        n_fft: int = 2048,
        hop_length: int = 441,
        normalized: bool = False,
        zero_dc: bool = False,
        mask_estimator_depth: int = 2,
        use_pope: bool = False,
    ) -> None:
        super().__init__()
        bins = n_fft // 2 + 1
        if len(freqs_per_bands) < 2 or min(freqs_per_bands) < 1:
            expected = "two or more bands of at least one bin"
            raise InputError("BSRoformer.freqs_per_bands", found=list(freqs_per_bands), expected=expected)
        if sum(freqs_per_bands) != bins:
            found = f"{len(freqs_per_bands)} bands with {sum(freqs_per_bands)} bins"
            expected = f"{bins} bins in total (n_fft // 2 + 1)"
            raise InputError("BSRoformer.freqs_per_bands", found=found, expected=expected)
        self.n_fft, self.hop_length, self.stride = n_fft, hop_length, hop_length
        self.net = create(
            roformer_class("BSRoformer", "bs_roformer"), dim=dim, depth=depth, stereo=audio_channels == 2, num_stems=sources,
            time_transformer_depth=time_transformer_depth, freq_transformer_depth=freq_transformer_depth,
            freqs_per_bands=tuple(freqs_per_bands), dim_head=dim_head, heads=heads, attn_dropout=attn_dropout,
            ff_dropout=ff_dropout, flash_attn=flash_attn, num_residual_streams=num_residual_streams,
            num_residual_fracs=num_residual_fracs, mc_hyper_conn_sinkhorn_iters=mc_hyper_conn_sinkhorn_iters,
            stft_n_fft=n_fft, stft_hop_length=hop_length, stft_win_length=n_fft, stft_normalized=normalized,
            zero_dc=zero_dc, mask_estimator_depth=mask_estimator_depth, use_pope=use_pope,
        )  # fmt: skip
        masks_in_float32(self.net)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate mixtures [batch, channels, samples] into sources [batch, sources, channels, samples]."""
        return run_whole_hops(self.net, mixture, self.n_fft, self.hop_length)


class MelBandRoformer(nn.Module):
    """Apply the Mel-band RoFormer: `BSRoformer` with overlapping mel bands (Wang, Lu & Won, ISMIR late-breaking 2023).

    Args:
        sources: number of sources.
        audio_channels: number of channels of the waveforms.
        dim: size of the embedding of a band in a frame.
        depth: number of pairs of transformers. A pair is one transformer over time and one over bands.
        time_transformer_depth: number of layers of each transformer over time.
        freq_transformer_depth: number of layers of each transformer over bands.
        linear_transformer_depth: number of layers of an additional transformer before each pair, with linear attention over
            time and bands. 0, as in the paper: no additional transformer.
        num_bands: number of mel bands.
        dim_head: size of an attention head.
        heads: number of attention heads.
        attn_dropout: dropout probability of the attention.
        ff_dropout: dropout probability of the feed-forward layers.
        flash_attn: whether attention is computed as one operation, without storing the attention matrix.
        add_value_residual: whether attention values have residual connections.
        num_residual_streams: number of parallel residual connections (streams); 1 as in the paper. Above 1, learned
            hyper-connections mix the streams.
        num_residual_fracs: number of parts into which the hyper-connections divide the features.
        sample_rate: sample rate of the waveforms in Hz. It determines the mel bands.
        n_fft: length of the window and of the transform in samples.
        hop_length: step between frames in samples.
        normalized: whether the STFT is divided by the square root of `n_fft`.
        zero_dc: whether the estimated sources are set to 0 at 0 Hz.
        mask_estimator_depth: number of hidden layers of the mask estimators.
        use_pope: whether positions are encoded by PoPE (polar) instead of RoPE (rotary).

    Shape:
        [B, C, T] -> [B, S, C, T], with T above `n_fft // 2`. B: batch, S: sources, C: channels, T: samples.
    """

    def __init__(
        self,
        sources: int,
        audio_channels: int = 2,
        dim: int = 384,
        depth: int = 6,
        time_transformer_depth: int = 1,
        freq_transformer_depth: int = 1,
        linear_transformer_depth: int = 0,
        num_bands: int = 60,
        dim_head: int = 48,
        heads: int = 8,
        attn_dropout: float = 0.1,
        ff_dropout: float = 0.1,
        flash_attn: bool = True,
        add_value_residual: bool = False,
        num_residual_streams: int = 1,
        num_residual_fracs: int = 1,
        sample_rate: int = 44100,
        n_fft: int = 2048,
        hop_length: int = 441,
        normalized: bool = False,
        zero_dc: bool = False,
        mask_estimator_depth: int = 1,
        use_pope: bool = False,
    ) -> None:
        super().__init__()
        make = roformer_class("MelBandRoformer", "mel_band_roformer")
        self.n_fft, self.hop_length, self.stride = n_fft, hop_length, hop_length
        self.net = create(
            make, dim=dim, depth=depth, stereo=audio_channels == 2, num_stems=sources,
            time_transformer_depth=time_transformer_depth, freq_transformer_depth=freq_transformer_depth,
            linear_transformer_depth=linear_transformer_depth, num_bands=num_bands, dim_head=dim_head, heads=heads,
            attn_dropout=attn_dropout, ff_dropout=ff_dropout, flash_attn=flash_attn, sample_rate=sample_rate,
            stft_n_fft=n_fft, stft_hop_length=hop_length, stft_win_length=n_fft, stft_normalized=normalized,
            zero_dc=zero_dc, mask_estimator_depth=mask_estimator_depth, add_value_residual=add_value_residual,
            num_residual_streams=num_residual_streams, num_residual_fracs=num_residual_fracs, use_pope=use_pope,
        )  # fmt: skip
        masks_in_float32(self.net)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate mixtures [batch, channels, samples] into sources [batch, sources, channels, samples]."""
        return run_whole_hops(self.net, mixture, self.n_fft, self.hop_length)
