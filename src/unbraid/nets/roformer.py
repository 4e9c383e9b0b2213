"""Band-split RoPE transformers: complex masks from attention over frames and frequency bands.

`BSRoformer` (Lu et al., ICASSP 2024) divides the spectrum into adjacent bands, narrow at low frequencies. `MelBandRoformer`
(Wang, Lu & Won, ISMIR late-breaking 2023) uses overlapping bands on the mel scale. In both, a linear layer maps the complex
bins of a band to features. Transformers process the grid of frames and bands. A small network per band and source estimates the
complex mask. The networks compute the same functions as the networks of Music-Source-Separation-Training (MSST), and can load
the weights of MSST. Training needs a GPU and many songs. For a few songs or two CPU cores, use a U-Net.
"""

from collections.abc import Sequence
from itertools import chain, pairwise, repeat

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp.mel import mel_bands
from unbraid.dsp.stft import STFT
from unbraid.nets.rotary_transformer import AxialTransformer, RMSNorm
from unbraid.runs.errors import InputError, check_counts

MAX_BANDS = 512  # on the mel scale
SIXTY_TWO_BANDS = (*(2,) * 24, *(4,) * 12, *(12,) * 8, *(24,) * 8, *(48,) * 8, 128, 129)  # of 1025 bins (Lu et al. 2023)


class BandSplit(nn.Module):
    """Map the values of each band to features by a normalisation and a linear layer.

    Args:
        widths: number of real values of each band in a frame.
        dim: number of features D.

    Shape:
        [B, T, sum of `widths`] -> [B, T, K, D], with T frames and K bands.
    """

    def __init__(self, widths: Sequence[int], dim: int) -> None:
        super().__init__()
        self.widths = list(widths)
        self.bands = nn.ModuleList(nn.Sequential(RMSNorm(width), nn.Linear(width, dim)) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the features of all bands in all frames."""
        parts = x.split(self.widths, dim=-1)
        return torch.stack([band(part) for band, part in zip(self.bands, parts, strict=True)], dim=-2)


class MaskEstimator(nn.Module):
    """Estimate the mask of one source in each band from the features of the band.

    Args:
        widths: number of real values of each band in a frame.
        dim: number of features D.
        hidden: number of units of a hidden layer.
        hidden_layers: number of hidden layers.

    Shape:
        [K, B, T, D] -> [B, T, sum of `widths`], with T frames and K bands.
    """

    def __init__(self, widths: Sequence[int], dim: int, hidden: int, hidden_layers: int) -> None:
        super().__init__()
        self.bands = nn.ModuleList()
        for width in widths:
            sizes = chain([dim], repeat(hidden, hidden_layers), [2 * width])  # no list: the number may be from a file
            layers = [module for i, o in pairwise(sizes) for module in (nn.Linear(i, o), nn.Tanh())]
            self.bands.append(nn.Sequential(*layers[:-1], nn.GLU(dim=-1)))

    def forward(self, x: Tensor) -> Tensor:
        """Estimate the mask in all bands and frames."""
        return torch.cat([band(features) for band, features in zip(self.bands, x, strict=True)], dim=-1)


class BandRoformer(nn.Module):
    """Base class of the networks in this file: transformers estimate complex masks of the sources from bands of a spectrogram.

    Args:
        sources: number of sources.
        audio_channels: number of channels of the waveforms.
        transformer: network that processes the grid of frames and bands.
        dim: number of features of a band in a frame.
        bins_per_band: number of frequency bins of each band.
        stft: STFT of the waveforms.
        zero_dc: whether the estimated sources are set to 0 at 0 Hz.
        hidden: number of units of a hidden layer of the mask estimators.
        hidden_layers: number of hidden layers of the mask estimators.
    """

    def __init__(
        self,
        sources: int,
        audio_channels: int,
        transformer: AxialTransformer,
        dim: int,
        bins_per_band: Sequence[int],
        stft: STFT,
        zero_dc: bool,
        hidden: int,
        hidden_layers: int,
    ) -> None:
        super().__init__()
        check_counts(sources=sources, audio_channels=audio_channels)
        self.audio_channels, self.zero_dc, self.stride = audio_channels, zero_dc, stft.hop_length
        self.stft = stft
        widths = [2 * audio_channels * bins for bins in bins_per_band]
        self.band_split = BandSplit(widths, dim)
        self.transformer = transformer
        self.mask_estimators = nn.ModuleList(MaskEstimator(widths, dim, hidden, hidden_layers) for _ in range(sources))

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate mixtures [batch, channels, samples] into sources [batch, sources, channels, samples]."""
        # b batch, s source, c channel, f bin, t frame, k band, d feature, p real and imaginary part
        channels, samples = mixture.shape[1:]
        if channels != self.audio_channels:
            raise InputError("mixture", found=f"{channels} channels", expected=f"{self.audio_channels} channels")
        if samples <= self.stft.n_fft // 2:
            expected = f"at least {self.stft.n_fft // 2 + 1} samples for n_fft = {self.stft.n_fft}"
            raise InputError("mixture", "the chunk is too short", found=f"{samples} samples", expected=expected)
        pairs = torch.view_as_real(self.stft(mixture))  # b c f t p
        grid = self.transformer(self.band_split(self.in_bands(pairs.permute(0, 3, 2, 1, 4)).flatten(2)))
        by_band = grid.permute(2, 0, 1, 3).contiguous()  # k b t d
        masks = torch.stack([estimator(by_band) for estimator in self.mask_estimators], dim=1).float()
        masks = self.in_bins(masks.unflatten(-1, (-1, channels, 2))).contiguous()  # b s t f c p
        if self.zero_dc:
            masks = functional.pad(masks[:, :, :, 1:], (0, 0, 0, 0, 1, 0))
        masks = masks.permute(0, 1, 4, 3, 2, 5)  # b s c f t p
        return self.stft.inverse(torch.view_as_complex(masks) * torch.view_as_complex(pairs.unsqueeze(1)), samples)

    def in_bands(self, pairs: Tensor) -> Tensor:
        """Return the frequency bins in the order of the bands. Shape: [B, T, F, C, 2] -> [B, T, N, C, 2].

        N is the total number of bins of all bands. If bands overlap, a bin occurs once for each band that contains the bin.
        """
        return pairs

    def in_bins(self, masks: Tensor) -> Tensor:
        """Return the masks in the order of the frequency bins. Shape: [B, S, T, N, C, 2] -> [B, S, T, F, C, 2]."""
        return masks


def make_stft(n_fft: int, hop_length: int, win_length: int | None) -> STFT:
    """Build an STFT with reflected edges and a window that may be shorter than the transform.

    Args:
        n_fft: length of the transform in samples.
        hop_length: step between frames in samples.
        win_length: length of the window in samples; None: `n_fft`.

    Returns:
        The STFT.

    Raises:
        InputError: a length is out of range.
    """
    stft = STFT(n_fft, hop_length, "reflection")
    if win_length is not None:
        if not hop_length <= win_length <= n_fft:
            raise InputError("win_length", found=win_length, expected=f"{hop_length} (hop_length) to {n_fft} (n_fft) samples")
        left = (n_fft - win_length) // 2
        stft.window = functional.pad(torch.hann_window(win_length), (left, n_fft - win_length - left))
    return stft


class BSRoformer(BandRoformer):
    """Apply the band-split RoPE transformer of Lu et al. (ICASSP 2024), with adjacent bands.

    Args:
        sources: number of sources.
        audio_channels: number of channels of the waveforms.
        dim: number of features of a band in a frame.
        depth: number of blocks. A block is a transformer over frames and a transformer over bands.
        time_transformer_depth: number of layers of each transformer over frames.
        freq_transformer_depth: number of layers of each transformer over bands.
        linear_transformer_depth: number of layers of an additional transformer in each block, with linear attention over all
            frames and bands. 0, as in the paper: no additional transformer.
        freqs_per_bands: number of bins of each band, starting at 0 Hz. All bands together have `n_fft // 2 + 1` bins.
        dim_head: number of features of an attention head, an even number.
        heads: number of attention heads.
        attn_dropout: dropout probability of the attention.
        ff_dropout: dropout probability of the feed-forward layers.
        n_fft: length of the transform in samples.
        hop_length: step between frames in samples.
        win_length: length of the window in samples; None: `n_fft`.
        zero_dc: whether the estimated sources are set to 0 at 0 Hz.
        mask_estimator_depth: number of linear layers of a mask estimator.
        mlp_expansion_factor: number of units of a hidden layer of a mask estimator, divided by `dim`.
        skip_connection: whether the outputs of all previous blocks are added to the input of a block.
        gradient_checkpointing: whether the backward pass computes each transformer again, to save memory.

    Shape:
        [B, C, T] -> [B, S, C, T], with T above `n_fft // 2`. B: batch, S: sources, C: channels, T: samples.

    Raises:
        InputError: an argument is out of range, a mixture has a wrong number of channels, or a mixture is too short.
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
        freqs_per_bands: Sequence[int] = SIXTY_TWO_BANDS,
        dim_head: int = 48,
        heads: int = 8,
        attn_dropout: float = 0.1,
        ff_dropout: float = 0.1,
        n_fft: int = 2048,
        hop_length: int = 441,
        win_length: int | None = None,
        zero_dc: bool = False,
        mask_estimator_depth: int = 2,
        mlp_expansion_factor: int = 4,
        skip_connection: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        stft, bins = make_stft(n_fft, hop_length, win_length), n_fft // 2 + 1
        if len(freqs_per_bands) < 2 or min(freqs_per_bands) < 1 or sum(freqs_per_bands) != bins:
            found = f"{len(freqs_per_bands)} bands with {sum(freqs_per_bands)} bins"
            expected = f"at least two bands, at least one bin in each band, and {bins} bins in total (n_fft // 2 + 1)"
            raise InputError("BSRoformer.freqs_per_bands", found=found, expected=expected)
        check_counts(mask_estimator_depth=mask_estimator_depth, mlp_expansion_factor=mlp_expansion_factor)
        transformer = AxialTransformer(
            dim, depth, time_transformer_depth, freq_transformer_depth, linear_transformer_depth, dim_head, heads,
            attn_dropout, ff_dropout, skip_connection, False, gradient_checkpointing,
        )  # fmt: skip
        super().__init__(
            sources, audio_channels, transformer, dim, freqs_per_bands, stft, zero_dc,
            hidden=dim * mlp_expansion_factor, hidden_layers=mask_estimator_depth - 1,
        )  # fmt: skip


class MelBandRoformer(BandRoformer):
    """Apply the Mel-band RoFormer of Wang, Lu & Won (ISMIR late-breaking 2023), with overlapping bands on the mel scale.

    The mask of a bin is the average of the masks of all bands that contain the bin.

    Args:
        sources: number of sources.
        audio_channels: number of channels of the waveforms.
        dim: number of features of a band in a frame.
        depth: number of blocks. A block is a transformer over frames and a transformer over bands.
        time_transformer_depth: number of layers of each transformer over frames.
        freq_transformer_depth: number of layers of each transformer over bands.
        linear_transformer_depth: number of layers of an additional transformer in each block, with linear attention over all
            frames and bands. 0, as in the paper: no additional transformer.
        num_bands: number of mel bands.
        dim_head: number of features of an attention head, an even number.
        heads: number of attention heads.
        attn_dropout: dropout probability of the attention.
        ff_dropout: dropout probability of the feed-forward layers.
        sample_rate: sample rate of the waveforms in Hz. The sample rate determines the mel bands.
        n_fft: length of the transform in samples.
        hop_length: step between frames in samples.
        win_length: length of the window in samples; None: `n_fft`.
        zero_dc: whether the estimated sources are set to 0 at 0 Hz.
        mask_estimator_depth: number of hidden layers of a mask estimator.
        mlp_expansion_factor: number of units of a hidden layer of a mask estimator, divided by `dim`.
        skip_connection: whether the outputs of all previous blocks are added to the input of a block.
        gradient_checkpointing: whether the backward pass computes each transformer again, to save memory.

    Shape:
        [B, C, T] -> [B, S, C, T], with T above `n_fft // 2`. B: batch, S: sources, C: channels, T: samples.

    Raises:
        InputError: an argument is out of range, a mel band contains no bins, a mixture has a wrong number of channels, or a
            mixture is too short.
    """

    bins: Tensor
    bands_per_bin: Tensor

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
        sample_rate: int = 44100,
        n_fft: int = 2048,
        hop_length: int = 441,
        win_length: int | None = None,
        zero_dc: bool = False,
        mask_estimator_depth: int = 1,
        mlp_expansion_factor: int = 4,
        skip_connection: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        check_counts(mlp_expansion_factor=mlp_expansion_factor, sample_rate=sample_rate)
        if not 1 <= num_bands <= MAX_BANDS:
            raise InputError("MelBandRoformer.num_bands", found=num_bands, expected=f"1 to {MAX_BANDS}")
        if mask_estimator_depth < 0:
            raise InputError("MelBandRoformer.mask_estimator_depth", found=mask_estimator_depth, expected="at least 0")
        stft = make_stft(n_fft, hop_length, win_length)
        member = mel_bands(num_bands, n_fft, sample_rate)
        if not member.any(dim=1).all():
            problem = f"a mel band contains no bins for n_fft = {n_fft} and {sample_rate} Hz"
            raise InputError("MelBandRoformer.num_bands", problem, found=num_bands, expected="fewer bands")
        transformer = AxialTransformer(
            dim, depth, time_transformer_depth, freq_transformer_depth, linear_transformer_depth, dim_head, heads,
            attn_dropout, ff_dropout, skip_connection, True, gradient_checkpointing,
        )  # fmt: skip
        super().__init__(
            sources, audio_channels, transformer, dim, member.sum(dim=1).tolist(), stft, zero_dc,
            hidden=dim * mlp_expansion_factor, hidden_layers=mask_estimator_depth,
        )  # fmt: skip
        self.register_buffer(
            "bins", member.nonzero()[:, 1], persistent=False
        )  # bins of the first band, then of the second band, …
        self.register_buffer("bands_per_bin", member.sum(dim=0)[:, None, None], persistent=False)

    def in_bands(self, pairs: Tensor) -> Tensor:
        """Return the frequency bins in the order of the bands. Shape: [B, T, F, C, 2] -> [B, T, N, C, 2].

        A bin occurs once for each band that contains the bin. N is the total number of bins of all bands.
        """
        return pairs.index_select(2, self.bins)

    def in_bins(self, masks: Tensor) -> Tensor:
        """Average the masks of all bands that contain a bin. Shape: [B, S, T, N, C, 2] -> [B, S, T, F, C, 2]."""
        totals = masks.new_zeros(*masks.shape[:3], len(self.bands_per_bin), *masks.shape[4:])
        return totals.index_add(3, self.bins, masks) / self.bands_per_bin
