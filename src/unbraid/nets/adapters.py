"""Networks of well-kept libraries behind one face: mixture waveforms to the waveforms of all sources, as long as they came.

`HDemucs` and `ConvTasNet` are torchaudio's, `BSRoformer` and `MelBandRoformer` those of the `bs-roformer` package. Each adapter
holds the library's own module as `net`, so that its published weights load under that prefix, and adds nothing that learns.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torchaudio
from torch import Tensor, nn
from torch.nn import functional

from unbraid.runs.errors import InputError

SIXTY_TWO_BANDS = (*(2,) * 24, *(4,) * 12, *(12,) * 8, *(24,) * 8, *(48,) * 8, 128, 129)  # of 1025 bins (Lu et al. 2023)


class HDemucs(nn.Module):
    """Hybrid Demucs: U-Nets of the waveform and of the spectrogram that meet in the middle (Défossez, MDX workshop 2021).

    Args:
        sources: how many.
        audio_channels: of the waveforms.
        channels: of the first layer.
        growth: by which each layer has more than the one before.
        n_fft: of its own transform, whose hop is a quarter; layers must halve it until one bin is left, as 6 of them do 4096.
        depth: layers of the encoder.
        freq_emb: weight of the embedding of frequencies; 0: none.
        emb_scale: by which that embedding learns faster.
        emb_smooth: it starts out smooth.
        kernel_size: of the convolutions.
        time_stride: of those in time, once one frequency is left.
        stride: of the others.
        context: of the 1 × 1 convolutions of the decoder, to either side.
        context_enc: the same of the encoder.
        norm_starts: the first layer with group normalisation.
        norm_groups: of it.
        dconv_depth: layers of the residual branches.
        dconv_comp: by which these have fewer channels.
        dconv_attn: the first layer with local attention in them.
        dconv_lstm: the first layer with an LSTM in them.
        dconv_init: scale that they start from.

    Shape:
        [B, C, T] -> [B, S, C, T], T from `n_fft` on.
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
        self.n_fft, self.stride = n_fft, n_fft // 4  # in samples, of frames and of the waveform at the bottom
        self.net = _made(
            torchaudio.models.HDemucs,
            [f"source {s}" for s in range(sources)], audio_channels, channels, growth, n_fft, depth, freq_emb, emb_scale,
            emb_smooth, kernel_size, time_stride, stride, context, context_enc, norm_starts, norm_groups, dconv_depth,
            dconv_comp, dconv_attn, dconv_lstm, dconv_init,
        )  # fmt: skip
        for layer in self.net.time_encoder:
            if layer.empty:  # has a norm that is never used, which processes that share gradients would wait for
                layer.norm1.requires_grad_(False)

    def forward(self, mixture: Tensor) -> Tensor:
        if mixture.shape[-1] < self.n_fft:
            raise InputError(
                f"the chunk is too short: n_fft = {self.n_fft} needs at least as many samples, found {mixture.shape[-1]}"
            )
        return self.net(mixture)


class ConvTasNet(nn.Module):
    """Masks of a learned transform by dilated convolutions (Luo & Mesgarani, TASLP 2019), each channel by itself.

    Args:
        sources: how many.
        enc_kernel_size: window of the learned transform in samples, L in the paper; its hop is half of it.
        enc_num_feats: its size, N.
        msk_kernel_size: of the convolutions, P.
        msk_num_feats: channels between the blocks, B and Sc.
        msk_num_hidden_feats: channels in the blocks, H.
        msk_num_layers: blocks in a stack, each with twice the dilation of the one before, X.
        msk_num_stacks: stacks, R.
        msk_activate: what makes the masks.

    Shape:
        [B, C, T] -> [B, S, C, T], T from `enc_kernel_size` on.

    Raises:
        InputError: the convolutions' sizes do not suit them, or a chunk is too short.
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
            raise InputError(f"a Conv-TasNet's enc_kernel_size must be even, found {enc_kernel_size}")
        if msk_kernel_size < 1 or msk_kernel_size % 2 == 0:
            raise InputError(f"a Conv-TasNet's msk_kernel_size must be odd, found {msk_kernel_size}")
        self.window, self.stride = enc_kernel_size, enc_kernel_size // 2
        self.net = _made(
            torchaudio.models.ConvTasNet,
            sources, enc_kernel_size, enc_num_feats, msk_kernel_size, msk_num_feats, msk_num_hidden_feats, msk_num_layers,
            msk_num_stacks, msk_activate,
        )  # fmt: skip

    def forward(self, mixture: Tensor) -> Tensor:
        # b batch, s source, c channel, n sample
        b, c, n = mixture.shape
        if n < self.window:
            raise InputError(
                f"the chunk is too short: enc_kernel_size = {self.window} needs at least as many samples, found {n}"
            )
        return self.net(mixture.reshape(b * c, 1, n)).unflatten(0, (b, c)).movedim(1, 2)


class BSRoformer(nn.Module):
    """Band-split RoPE transformer: complex masks by attention over time and over bands in turn (Lu et al., ICASSP 2024).

    Beside the paper's it has residuals of the attention's values, as the package does.

    Args:
        sources: how many.
        audio_channels: of the waveforms.
        dim: of the embedding of a band in a frame.
        depth: pairs of transformers.
        time_transformer_depth: layers of those over time.
        freq_transformer_depth: layers of those over bands.
        freqs_per_bands: bins of each band, from the lowest; together `n_fft // 2 + 1`.
        dim_head: of each head.
        heads: of the attention.
        attn_dropout: probability, of the attention.
        ff_dropout: probability, of the layers between.
        flash_attn: attention as one operation that keeps no matrix of it.
        num_residual_streams: 1 is the paper's; with more, hyper-connections mix them.
        num_residual_fracs: of the hyper-connections.
        mc_hyper_conn_sinkhorn_iters: of the hyper-connections.
        n_fft: window and length of its transform in samples.
        hop_length: step of its transform in samples.
        normalized: its transform is divided by the square root of `n_fft`.
        zero_dc: nothing is left at 0 Hz.
        mask_estimator_depth: layers of the networks that make the masks.
        use_pope: polar instead of rotary positions.

    Shape:
        [B, C, T] -> [B, S, C, T], T above `n_fft // 2`.

    Raises:
        InputError: the package is not installed, bands and bins disagree, or a chunk is too short.
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
        if len(freqs_per_bands) < 2 or min(freqs_per_bands) < 1 or sum(freqs_per_bands) != bins:
            raise InputError(
                f"freqs_per_bands must be two or more positive numbers whose sum is n_fft // 2 + 1 = {bins}, found "
                f"{len(freqs_per_bands)} whose sum is {sum(freqs_per_bands)}"
            )
        self.n_fft, self.hop_length, self.stride = n_fft, hop_length, hop_length
        self.net = _made(
            _of_package("BSRoformer", "bs_roformer"), dim=dim, depth=depth, stereo=audio_channels == 2, num_stems=sources,
            time_transformer_depth=time_transformer_depth, freq_transformer_depth=freq_transformer_depth,
            freqs_per_bands=tuple(freqs_per_bands), dim_head=dim_head, heads=heads, attn_dropout=attn_dropout,
            ff_dropout=ff_dropout, flash_attn=flash_attn, num_residual_streams=num_residual_streams,
            num_residual_fracs=num_residual_fracs, mc_hyper_conn_sinkhorn_iters=mc_hyper_conn_sinkhorn_iters,
            stft_n_fft=n_fft, stft_hop_length=hop_length, stft_win_length=n_fft, stft_normalized=normalized,
            zero_dc=zero_dc, mask_estimator_depth=mask_estimator_depth, use_pope=use_pope,
        )  # fmt: skip
        _masks_in_float32(self.net)

    def forward(self, mixture: Tensor) -> Tensor:
        return _all_samples(self.net, mixture, self.n_fft, self.hop_length)


class MelBandRoformer(nn.Module):
    """As `BSRoformer`, with overlapping bands on the mel scale (Wang, Lu & Won, ISMIR late-breaking 2023).

    Args:
        sources: how many.
        audio_channels: of the waveforms.
        dim: of the embedding of a band in a frame.
        depth: groups of transformers.
        time_transformer_depth: layers of those over time.
        freq_transformer_depth: layers of those over bands.
        linear_transformer_depth: layers of those over both, with linear attention; 0 is the paper's.
        num_bands: of the mel scale.
        dim_head: of each head.
        heads: of the attention.
        attn_dropout: probability, of the attention.
        ff_dropout: probability, of the layers between.
        flash_attn: attention as one operation that keeps no matrix of it.
        add_value_residual: residuals of the attention's values.
        num_residual_streams: 1 is the paper's; with more, hyper-connections mix them.
        num_residual_fracs: of the hyper-connections.
        sample_rate: which the mel scale is of, in Hz.
        n_fft: window and length of its transform in samples.
        hop_length: step of its transform in samples.
        normalized: its transform is divided by the square root of `n_fft`.
        zero_dc: nothing is left at 0 Hz.
        mask_estimator_depth: hidden layers of the networks that make the masks.
        use_pope: polar instead of rotary positions.

    Shape:
        [B, C, T] -> [B, S, C, T], T above `n_fft // 2`.

    Raises:
        InputError: the package is not installed, some bins are in no band, or a chunk is too short.
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
        make = _of_package("MelBandRoformer", "mel_band_roformer")
        self.n_fft, self.hop_length, self.stride = n_fft, hop_length, hop_length
        self.net = _made(
            make, dim=dim, depth=depth, stereo=audio_channels == 2, num_stems=sources,
            time_transformer_depth=time_transformer_depth, freq_transformer_depth=freq_transformer_depth,
            linear_transformer_depth=linear_transformer_depth, num_bands=num_bands, dim_head=dim_head, heads=heads,
            attn_dropout=attn_dropout, ff_dropout=ff_dropout, flash_attn=flash_attn, sample_rate=sample_rate,
            stft_n_fft=n_fft, stft_hop_length=hop_length, stft_win_length=n_fft, stft_normalized=normalized,
            zero_dc=zero_dc, mask_estimator_depth=mask_estimator_depth, add_value_residual=add_value_residual,
            num_residual_streams=num_residual_streams, num_residual_fracs=num_residual_fracs, use_pope=use_pope,
        )  # fmt: skip
        _masks_in_float32(self.net)

    def forward(self, mixture: Tensor) -> Tensor:
        return _all_samples(self.net, mixture, self.n_fft, self.hop_length)


def _made(make: Any, *arguments: Any, **options: Any) -> Any:
    """A library's network; InputError where it does not take the arguments, which libraries refuse or stumble over."""
    try:
        return make(*arguments, **options)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        if "covered" in reason and "num_bands" in options:  # what the package says of bins in no band
            transform = f"n_fft={options['stft_n_fft']} at {options['sample_rate']} Hz"
            reason = f"num_bands={options['num_bands']} of {transform} leave bins in no band; take fewer bands"
        raise InputError(f"{make.__name__} cannot be made with these arguments: {reason}") from error


def _of_package(name: str, model: str) -> Any:
    """A class of the `bs-roformer` package; InputError where it is not installed."""
    try:
        import bs_roformer
    except ModuleNotFoundError as error:
        raise InputError(f"model={model} needs the package bs-roformer: pip install 'unbraid[roformer]'") from error
    return getattr(bs_roformer, name)


def _masks_in_float32(net: nn.Module) -> None:
    """Under autocast they would be bfloat16, of which no complex numbers can be made."""
    for estimator in net.mask_estimators:  # type: ignore[union-attr]
        estimator.register_forward_hook(_float)


def _float(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return output.float()


def _all_samples(net: nn.Module, mixture: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Of a network that gives whole hops only: the last one is filled up with silence, and cut off again.

    Shape: [B, C, T] -> [B, S, C, T].
    """
    samples = mixture.shape[-1]
    if samples <= n_fft // 2:
        raise InputError(f"the chunk is too short: n_fft = {n_fft} needs more than {n_fft // 2} samples, found {samples}")
    sources = net(functional.pad(mixture, (0, -samples % hop_length)))
    return (sources if sources.ndim == 4 else sources.unsqueeze(1))[..., :samples]
