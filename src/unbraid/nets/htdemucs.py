"""Hybrid Transformer Demucs (Rouard, Massa & Défossez, ICASSP 2023): two U-Nets with a cross-domain transformer between them.

One U-Net processes the waveform. The other U-Net processes the complex spectrogram, with real and imaginary parts as channels.
Between the encoders and decoders, transformers with cross-attention exchange information between the U-Nets. The result is the
sum of the outputs of both U-Nets.

The attention reads the whole chunk, so chunks should be about as long as in training. For a network without transformers, use
`unbraid.nets.adapters.HDemucs`. For a network that estimates masks of spectrograms, use `unbraid.nets.open_unmix`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp.stft import STFT, up_to
from unbraid.nets.cross_transformer import CrossTransformer
from unbraid.nets.gradient_checkpointing import run_block
from unbraid.nets.hybrid_layers import KERNEL_SIZE, STRIDE, DecoderLayer, EncoderLayer, rescale
from unbraid.runs.errors import InputError

EMBEDDING_WEIGHT = 0.2  # weight of the frequency embedding in the output of the first layer
EMBEDDING_BOOST = 10.0  # factor by which the frequency embedding learns faster
RESCALED_TO = 0.1  # standard deviation towards which initial weights of convolutions are scaled
EPSILON = 1e-5


class HTDemucs(nn.Module):
    """Separate mixtures by a U-Net for waveforms, a U-Net for spectrograms, and a cross-domain transformer between the U-Nets.

    Args:
        sources: number S of sources.
        audio_channels: number C of channels of the waveforms, 1 or 2.
        channels: number of channels of the first layer, at least `2 * dconv_comp`.
        growth: factor by which the number of channels grows from layer to layer.
        n_fft: length of the STFT window in samples, a multiple of `2 * 4 ** depth`. The hop is `n_fft // 4`.
        depth: number of encoder layers of each U-Net, 1 to 4. The last encoder layer of the spectrogram must have
            more than 8 input bins.
        dconv_depth: number of dilated convolutions in the residual branch (DConv) of a layer.
        dconv_comp: factor by which a residual branch reduces the number of channels.
        decoder_dconv: whether the layers of the decoders have residual branches, too.
        bottom_channels: number of channels of the transformers, a multiple of 4 and of `heads`. Linear layers change the number
            of channels before and after the transformers. None: the number of channels of the last encoder layer, without
            linear layers.
        layers: number of layers of each transformer.
        heads: number of attention heads.
        hidden_scale: number of values in the hidden layer of the feed-forward networks, divided by the number of channels
            of the transformers.
        dropout: dropout probability in the transformers, in [0, 1).
        segment_samples: length in samples to which shorter mixtures are extended by silence, except in training. None: mixtures
            are not extended.
        gradient_checkpointing: whether the backward pass computes all layers again, to save memory.

    Shape:
        [B, C, T] -> [B, S, C, T]. B: batch, T: samples, at least 2.

    Raises:
        InputError: an argument is out of range, a mixture has a wrong number of channels, or a mixture has fewer than 2
            samples.
    """

    def __init__(
        self,
        sources: int,
        audio_channels: int = 2,
        channels: int = 48,
        growth: int = 2,
        n_fft: int = 4096,
        depth: int = 4,
        dconv_depth: int = 2,
        dconv_comp: int = 8,
        decoder_dconv: bool = True,
        bottom_channels: int | None = 512,
        layers: int = 5,
        heads: int = 8,
        hidden_scale: float = 4.0,
        dropout: float = 0.02,
        segment_samples: int | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _check_encoder(channels, growth, n_fft, depth, dconv_depth, dconv_comp)
        widths = [channels * growth**level for level in range(depth)]
        inner = widths[-1] if bottom_channels is None else bottom_channels
        _check_transformer(inner, layers, heads, hidden_scale, dropout)
        if segment_samples is not None and segment_samples < 2:
            raise InputError("HTDemucs.segment_samples", found=segment_samples, expected="at least 2 samples, or null")
        self.sources, self.audio_channels = sources, audio_channels
        self.segment_samples, self.gradient_checkpointing = segment_samples, gradient_checkpointing
        self.stride = max(n_fft // 4, STRIDE**depth)  # in samples, of the STFT and of the coarsest waveform layer
        self.stft = STFT(n_fft, n_fft // 4, edges="reflection")
        depths = dconv_depth, dconv_depth if decoder_dconv else 0
        self.spectral_encoder, self.spectral_decoder = _unet(True, 2 * audio_channels, sources, widths, depths, dconv_comp)
        self.waveform_encoder, self.waveform_decoder = _unet(False, audio_channels, sources, widths, depths, dconv_comp)
        rescale(self, RESCALED_TO)
        self.bin_embedding = nn.Embedding(n_fft // 2 // STRIDE, channels)
        _smooth(self.bin_embedding)
        convolution: Callable[[int, int, int], nn.Module] = nn.Identity if bottom_channels is None else nn.Conv1d
        self.spectral_widening, self.waveform_widening = (convolution(widths[-1], inner, 1) for _ in range(2))
        self.spectral_narrowing, self.waveform_narrowing = (convolution(inner, widths[-1], 1) for _ in range(2))
        self.transformer = CrossTransformer(inner, layers, heads, int(inner * hidden_scale), dropout, gradient_checkpointing)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate mixtures. Shape: [B, C, T] -> [B, S, C, T]."""
        # b batch, s source, c channel, f bin, t frame, n sample
        length = mixture.shape[-1]
        if mixture.shape[1] != self.audio_channels or length < 2:
            expected = f"{self.audio_channels} channels with at least 2 samples"
            raise InputError("mixture", found=f"{mixture.shape[1]} channels with {length} samples", expected=expected)
        if self.segment_samples is not None and not self.training:
            mixture = functional.pad(mixture, (0, torch.sym_max(0, self.segment_samples - length)))
        samples = mixture.shape[-1]
        y, waveform_mean, waveform_scale = standardised(mixture.float())
        x, spectral_mean, spectral_scale = standardised(self._spectrogram(mixture))
        frames, lengths, skips, waveform_skips = x.shape[-1], [], [], []
        for level, (spectral, temporal) in enumerate(zip(self.spectral_encoder, self.waveform_encoder, strict=True)):
            lengths.append(y.shape[-1])
            x, y = self._run(spectral, x), self._run(temporal, y)
            if level == 0:
                x = x + EMBEDDING_WEIGHT * EMBEDDING_BOOST * self.bin_embedding.weight.T[:, :, None]
            skips.append(x)
            waveform_skips.append(y)
        x, y = self._transform(x, y)
        for spectral, temporal in zip(self.spectral_decoder, self.waveform_decoder, strict=True):
            x = self._run(spectral, x, skips.pop(), frames)
            y = self._run(temporal, y, waveform_skips.pop(), lengths.pop())
        x = x.float().unflatten(1, (self.sources, -1)) * spectral_scale[:, None] + spectral_mean[:, None]
        y = y.float().unflatten(1, (self.sources, -1)) * waveform_scale[:, None] + waveform_mean[:, None]
        return (y + self._waveforms(x, samples))[..., :length]

    def _transform(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the transformers, with linear layers before and after. Shape: [B, C, F, T], [B, C, N] -> the same shapes."""
        bins = x.shape[2]
        x = self.spectral_widening(x.flatten(2)).unflatten(2, (bins, -1))
        x, y = self.transformer(x, self.waveform_widening(y))
        return self.spectral_narrowing(x.flatten(2)).unflatten(2, (bins, -1)), self.waveform_narrowing(y)

    def _run(self, layer: nn.Module, *inputs: Tensor | int) -> Tensor:
        return run_block(layer, *inputs, checkpointing=self.gradient_checkpointing)

    def _spectrogram(self, mixture: Tensor) -> Tensor:
        """Compute the STFT without the Nyquist bin. Shape: [B, C, N] -> [B, 2 * C, F, T].

        Real and imaginary parts are channels. The number of frames T is N divided by the hop, rounded up.
        """
        hop, samples = self.stft.hop_length, mixture.shape[-1]
        margin = 3 * (hop // 2)
        padded = reflected(mixture.float(), margin, margin + up_to(samples, hop))
        pairs = torch.view_as_real(self.stft(padded))[..., :-1, 2:-2, :] / math.sqrt(self.stft.n_fft)
        return pairs.movedim(-1, 2).flatten(1, 2)

    def _waveforms(self, x: Tensor, samples: int) -> Tensor:
        """Compute the inverse of `_spectrogram` for each source. Shape: [B, S, 2 * C, F, T] -> [B, S, C, N]."""
        hop = self.stft.hop_length
        margin = 3 * (hop // 2)
        pairs = x.unflatten(2, (-1, 2)).movedim(3, -1) * math.sqrt(self.stft.n_fft)
        spectrum = torch.view_as_complex(functional.pad(pairs, (0, 0, 2, 2, 0, 1)).contiguous())
        whole = self.stft.inverse(spectrum, samples + up_to(samples, hop) + 2 * margin)
        return whole[..., margin : margin + samples]


def standardised(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Standardise each example of a batch to mean 0 and standard deviation 1 over all values of the example.

    Args:
        x: waveforms or spectrograms.

    Shape:
        [B, …] -> [B, …], [B, 1, …], [B, 1, …].

    Returns:
        The standardised values, and the original mean and standard deviation of each example.
    """
    scale, mean = torch.std_mean(x, dim=tuple(range(1, x.ndim)), keepdim=True)
    return (x - mean) / (EPSILON + scale), mean, scale


def reflected(waveform: Tensor, before: int, after: int) -> Tensor:
    """Extend waveforms at both ends by their reflection. Waveforms that are too short are first extended by silence.

    Args:
        waveform: waveforms.
        before: number of samples to insert before the waveform.
        after: number of samples to insert after the waveform.

    Shape:
        [..., N] -> [..., before + N + after].

    Returns:
        The longer waveforms.
    """
    missing = torch.sym_max(0, torch.sym_max(before, after) + 1 - waveform.shape[-1])  # sym_max can be traced
    right = torch.sym_min(after, missing)
    left = missing - right
    waveform = functional.pad(waveform, (left, right))
    return functional.pad(waveform, (before - left, after - right), mode="reflect")


def _unet(
    spectral: bool, ins: int, sources: int, widths: list[int], dconv_depths: tuple[int, int], dconv_comp: int
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Build the encoder and the decoder of a U-Net. `widths`: number of channels after each encoder layer."""
    encoder, decoder = nn.ModuleList(), nn.ModuleList()
    for level, width in enumerate(widths):
        before = widths[level - 1] if level else ins
        encoder.append(EncoderLayer(before, width, spectral, dconv_depths[0], dconv_comp))
        after = before if level else ins * sources
        decoder.insert(0, DecoderLayer(width, after, spectral, level == 0, dconv_depths[1], dconv_comp))
    return encoder, decoder


@torch.no_grad()
def _smooth(embedding: nn.Embedding) -> None:
    """Make the initial vectors of adjacent bins in an embedding similar. Divide all vectors by `EMBEDDING_BOOST`."""
    steps = torch.arange(1, embedding.num_embeddings + 1)[:, None]
    embedding.weight.copy_(embedding.weight.cumsum(dim=0) / steps.sqrt() / EMBEDDING_BOOST)


def _check_encoder(channels: int, growth: int, n_fft: int, depth: int, dconv_depth: int, dconv_comp: int) -> None:
    for name, value in {"growth": growth, "dconv_depth": dconv_depth, "dconv_comp": dconv_comp}.items():
        if value < 1:
            raise InputError(f"HTDemucs.{name}", found=value, expected="at least 1")
    if channels < 2 * dconv_comp:  # the norms in a residual branch need two values per frame
        raise InputError("HTDemucs.channels", found=channels, expected=f"at least {2 * dconv_comp} (2 * dconv_comp)")
    if not 1 <= depth <= 4:
        raise InputError("HTDemucs.depth", found=depth, expected="1 to 4")
    unit = 2 * STRIDE**depth
    if n_fft % unit or n_fft // unit * STRIDE <= KERNEL_SIZE:
        expected = f"at least {unit * (KERNEL_SIZE // STRIDE + 1)} and a multiple of {unit}, because depth={depth}"
        raise InputError("HTDemucs.n_fft", found=n_fft, expected=expected)


def _check_transformer(channels: int, layers: int, heads: int, hidden_scale: float, dropout: float) -> None:
    for name, value in {"layers": layers, "heads": heads}.items():
        if value < 1:
            raise InputError(f"HTDemucs.{name}", found=value, expected="at least 1")
    if channels < 4 or channels % math.lcm(4, heads):
        expected = f"a multiple of 4 and of {heads} (heads)"
        hint = "If bottom_channels is null, the transformers have as many channels as the last encoder layer."
        raise InputError("HTDemucs.bottom_channels", found=channels, expected=expected, hint=hint)
    if int(channels * hidden_scale) < 1:
        raise InputError(
            "HTDemucs.hidden_scale", found=hidden_scale, expected=f"at least 1 / {channels} for {channels} channels"
        )
    if not 0 <= dropout < 1:
        raise InputError("HTDemucs.dropout", found=dropout, expected="a probability in [0, 1)")
