"""SCNet, a sparse compression network for music source separation (Tong et al., ICASSP 2024).

The encoder divides the spectrum into bands. High bands are compressed more than low bands, because low bands contain more
information. Dual-path layers then process the bands over frequency and over time. Layers 1, 3, 5, … process frames. Layers
2, 4, 6, … process the Fourier transform of the frames over time. The decoder expands the bands and returns the complex spectra
of all sources.

With the option `mask`, the decoder returns complex masks of the mixture, as in a variant of Music-Source-Separation-Training
(MSST). `unbraid.nets.scnet_transformer` has attention instead of LSTMs. For a network with fewer operations per second of
audio, use Open-Unmix.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.nets.gradient_checkpointing import run_block
from unbraid.nets.scnet_bands import Compression, Expansion, SparseBands
from unbraid.runs.errors import InputError, check_counts

Window = Literal["rectangular", "hann"]


class SCNet(nn.Module):
    """Estimate the waveforms of all sources from the waveform of a mixture.

    Args:
        sources: number of sources.
        audio_channels: number of channels of the waveforms.
        channels: number of channels after each compression of the encoder.
        n_fft: length of the window and of the transform in samples.
        hop_length: step between frames in samples.
        window: window of the STFT. `rectangular`, as in the authors' code, or `hann`.
        normalized: whether the STFT is divided by the square root of `n_fft`.
        band_shares: share of the frequency bins in each band, starting at 0 Hz. The shares sum to 1.
        band_strides: number of bins that a compression reduces to one, for each band.
        band_kernels: number of bins that a compression reads, for each band. A kernel equals the stride, unless the stride is
            1.
        band_depths: number of convolution modules after a compression, for each band.
        compress: factor by which a convolution module reduces the number of channels.
        conv_kernel: kernel size of the convolution modules in frames, an odd number.
        layers: number of dual-path layers, an even number.
        expand: number of units of an LSTM in each direction, divided by the number of input channels of the LSTM.
        standardize: whether the spectrum of a chunk is standardised (mean 0, standard deviation 1), as in the authors' code.
            MSST standardises only waveforms.
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
        expand: int = 1,
        standardize: bool = False,
        mask: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_counts(n_fft=n_fft, hop_length=hop_length, expand=expand)
        if window not in get_args(Window):
            raise InputError("SCNet.window", found=window, expected=f"one of {', '.join(get_args(Window))}")
        if layers < 2 or layers % 2:
            raise InputError("SCNet.layers", found=layers, expected="an even number of at least 2")
        self.sources, self.n_fft, self.hop_length, self.normalized = sources, n_fft, hop_length, normalized
        self.stride, self.standardize, self.mask, self.checkpointing = hop_length, standardize, mask, gradient_checkpointing
        samples = torch.hann_window(n_fft) if window == "hann" else torch.ones(n_fft)
        self.window: Tensor
        self.register_buffer("window", samples, persistent=False)
        bands = SparseBands(band_shares, band_strides, band_kernels, band_depths)
        widths, outs = [2 * audio_channels, *channels], 2 * audio_channels * sources
        sizes = list(accumulate(channels[:-1], lambda bins, _: sum(bands.compressed(bins)), initial=n_fft // 2 + 1))
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for bins, (ins, width) in zip(sizes, pairwise(widths), strict=True):
            self.encoder.append(Compression(ins, width, bins, bands, compress, conv_kernel))
            self.decoder.insert(0, Expansion(width, ins if len(self.decoder) else outs, bins, bands))
        self.separation = nn.ModuleList(
            DualPath(width, self.make_path(width, expand), self.make_path(width, expand))
            for _ in range(layers // 2)
            for width in (channels[-1], 2 * channels[-1])
        )
        if mask:
            self.position = nn.Parameter(torch.empty(1, widths[0], sizes[0], 1))
            nn.init.trunc_normal_(self.position, std=0.02)
            self.mask_head = nn.Sequential(
                nn.Conv2d(outs, 64, 3, padding=1), nn.GELU(), nn.Conv2d(64, outs, 1), nn.Tanh()
            )  # fmt: skip

    def make_path(self, channels: int, expand: int) -> nn.Module:
        """Build the network that a dual-path layer applies over one axis. Shape of the network: [N, L, D] -> [N, L, D].

        Args:
            channels: number D of channels of the sequences.
            expand: number of units of an LSTM in each direction, divided by `channels`.

        Returns:
            The network.
        """
        return RecurrentPath(channels, channels * expand)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate mixtures [batch, channels, samples] into sources [batch, sources, channels, samples]."""
        # b batch, s source, c channel, p real and imaginary part, f bin, t frame, n sample, d (c p)
        samples = mixture.shape[-1]
        spectra = self._transform(mixture)  # b d f t
        x, mean, scale = spectra, torch.zeros(()), torch.ones(())
        if self.standardize:
            scale, mean = torch.std_mean(spectra, dim=(1, 2, 3), keepdim=True)
            x = (spectra - mean) / (1e-5 + scale)
        x = self._network(x + self.position if self.mask else x).float()
        if self.standardize:
            x = x * scale + mean
        x = x.unflatten(1, (self.sources, -1, 2)).movedim(3, -1)  # b s c f t p
        estimates = torch.view_as_complex(x.contiguous())
        if self.mask:
            mixtures = torch.view_as_complex(spectra.unflatten(1, (1, -1, 2)).movedim(3, -1).contiguous())
            estimates = estimates * mixtures
        return self._inverse(estimates, samples)

    def _network(self, x: Tensor) -> Tensor:
        """Compress a spectrum, apply the dual-path layers, and expand the result. Shape: [B, D, F, T] -> [B, S * D, F, T]."""
        skips = []
        for compression in self.encoder:
            x, skip = run_block(compression, x, checkpointing=self.checkpointing)
            skips.append(skip)
        for number, layer in enumerate(self.separation):
            x = run_block(layer, x, checkpointing=self.checkpointing)
            x = from_frequencies(x) if number % 2 else to_frequencies(x)
        for expansion in self.decoder:
            x = run_block(expansion, x, skips.pop(), checkpointing=self.checkpointing)
        return self.mask_head(x) if self.mask else x

    def padded_length(self, samples: int) -> int:
        """Return the length, in samples, to which a mixture is padded: an odd number of hops, more than `samples` samples."""
        hops = max(samples, self.n_fft // 2) // self.hop_length + 1  # the frames, hops + 1, are halved by the FFT over time
        return (hops + 1 - hops % 2) * self.hop_length

    def _transform(self, mixture: Tensor) -> Tensor:
        """Compute the STFT in float32, with real and imaginary parts as channels. Shape: [B, C, T] -> [B, 2 * C, F, frames]."""
        samples = mixture.shape[-1]
        with torch.autocast(mixture.device.type, enabled=False):
            padded = functional.pad(mixture.float(), (0, self.padded_length(samples) - samples)).flatten(0, 1)
            spectra = torch.stft(
                padded, self.n_fft, self.hop_length, window=self.window, normalized=self.normalized, return_complex=True
            )
        return torch.view_as_real(spectra).unflatten(0, mixture.shape[:2]).movedim(-1, 2).flatten(1, 2)

    def _inverse(self, spectra: Tensor, samples: int) -> Tensor:
        """Compute the waveforms of spectra in float32. Shape: complex [B, S, C, F, frames] -> [B, S, C, T]."""
        with torch.autocast(spectra.device.type, enabled=False):
            waveforms = torch.istft(
                spectra.flatten(0, 2), self.n_fft, self.hop_length, window=self.window, normalized=self.normalized
            )
        return waveforms.unflatten(0, spectra.shape[:3])[..., :samples]


class RecurrentPath(nn.Module):
    """Run a bidirectional LSTM over sequences. A linear layer reduces the output to the number of input channels.

    Args:
        channels: number D of channels of the sequences.
        hidden: number of units of the LSTM in each direction.

    Shape:
        [N, L, D] -> [N, L, D]. N: sequences, L: length.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the LSTM and the linear layer to sequences. Shape: [N, L, D] -> [N, L, D]."""
        return self.linear(self.lstm(x)[0])


class DualPath(nn.Module):
    """Apply a network over frequency and then a network over time, each with a residual connection.

    Args:
        channels: number D of channels.
        frequency: network over frequency, which maps sequences [N, L, D] to sequences of the same shape.
        time: network over time, which maps sequences [N, L, D] to sequences of the same shape.

    Shape:
        [B, D, F, T] -> [B, D, F, T]. B: batch, F: compressed frequency bins, T: frames.
    """

    def __init__(self, channels: int, frequency: nn.Module, time: nn.Module) -> None:
        super().__init__()
        self.frequency_norm, self.frequency = nn.GroupNorm(1, channels), frequency
        self.time_norm, self.time = nn.GroupNorm(1, channels), time

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network over frequency, then the network over time. Shape: [B, D, F, T] -> [B, D, F, T]."""
        # b batch, d channel, f bin, t frame
        b, _, f, t = x.shape
        sequences = self.frequency_norm(x).permute(0, 3, 2, 1).reshape(b * t, f, -1)  # (b t) f d
        x = x + self.frequency(sequences).unflatten(0, (b, t)).permute(0, 3, 2, 1)
        sequences = self.time_norm(x).permute(0, 2, 3, 1).reshape(b * f, t, -1)  # (b f) t d
        return x + self.time(sequences).unflatten(0, (b, f)).permute(0, 3, 1, 2)


def to_frequencies(x: Tensor) -> Tensor:
    """Compute the Fourier transform over time in float32. Shape: [B, D, F, T] -> [B, 2 * D, F, T / 2 + 1], for even T."""
    spectrum = torch.fft.rfft(x.float(), norm="ortho")
    return torch.cat([spectrum.real, spectrum.imag], dim=1)


def from_frequencies(x: Tensor) -> Tensor:
    """Compute the inverse of `to_frequencies` in float32. Shape: [B, 2 * D, F, T / 2 + 1] -> [B, D, F, T]."""
    return torch.fft.irfft(torch.complex(*x.float().chunk(2, dim=1)), norm="ortho")
