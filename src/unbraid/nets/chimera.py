"""Chimera, a recurrent network with two outputs: masks, and an embedding of each time-frequency bin.

Deep clustering assigns bins with similar embeddings to the same source.

Sources: Luo, Chen, Hershey, Le Roux & Mesgarani, "Deep clustering and conventional networks for music separation: stronger
together", ICASSP 2017. The option `heads="chimera++"` follows Wang, Le Roux & Hershey, ICASSP 2018. The LSTM reads the whole
chunk in both directions. For long chunks or on small machines, a convolutional network is faster.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp.mel import mel_filterbank
from unbraid.runs.errors import InputError

MAX_BANDS = 512
MIN_MAGNITUDE = 1e-4  # -80 dB relative to a magnitude of 1


class Chimera(nn.Module):
    """Estimate masks and embeddings from the magnitudes of a mixture.

    The masks of all sources sum to one. Each embedding has unit norm.

    Args:
        sources: number of sources, each of which has one mask.
        bins: number of frequency bins of the magnitudes, n_fft / 2 + 1.
        sample_rate: sample rate of the waveforms in Hz. The sample rate determines the mel bands.
        audio_channels: number of channels of the magnitudes. All channels share masks and embeddings.
        mel_bands: number of mel bands into which the frequency bins are grouped. The LSTM reads mel bands. Embeddings and masks
            are estimated for mel bands. The masks are then interpolated to frequency bins. None: mel bands are not used.
        hidden: number of units of an LSTM layer in each direction.
        layers: number of LSTM layers.
        embedding: number of values D of an embedding.
        heads: input of the layer that estimates the masks. `chimera`: the embeddings; `chimera++`: the output of the LSTM.
        dropout: dropout probability between the LSTM layers.

    Shape:
        [B, C, F, T] -> masks [B, sources, 1, F, T]; embeddings [B, D, mel_bands or F, T]. B: batch, C: channels, F: frequency
        bins, T: frames.

    Raises:
        InputError: an argument is out of range, or the number of bins of the magnitudes differs from `bins`.
    """

    bands: Tensor
    shares: Tensor

    def __init__(
        self,
        sources: int,
        bins: int,
        sample_rate: int,
        audio_channels: int = 1,
        mel_bands: int | None = None,
        hidden: int = 500,
        layers: int = 4,
        embedding: int = 20,
        heads: Literal["chimera", "chimera++"] = "chimera",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in {"hidden": hidden, "layers": layers, "embedding": embedding}.items():
            if value < 1:
                raise InputError(f"Chimera.{name}", found=value, expected="at least 1")
        if mel_bands is not None and not 2 <= mel_bands <= min(bins, MAX_BANDS):
            raise InputError(
                "Chimera.mel_bands",
                found=mel_bands,
                expected=f"2 to {min(bins, MAX_BANDS)}",
                hint="Set null to use the frequency bins instead of mel bands.",
            )
        self.sources, self.bins, self.embedding, self.heads = sources, bins, embedding, heads
        if mel_bands is None:
            bands = None
        else:
            bands = mel_filterbank(bins, 0.0, sample_rate / 2, mel_bands, sample_rate).T
            bands = _cover(bands)
        self.register_buffer("bands", bands, persistent=False)
        self.register_buffer("shares", None if bands is None else bands / bands.sum(dim=0), persistent=False)
        width = mel_bands or bins
        self.body = nn.LSTM(
            width * audio_channels, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout if layers > 1 else 0.0
        )
        self.embed = nn.Linear(2 * hidden, width * embedding)
        self.mask = nn.Linear(embedding, sources) if heads == "chimera" else nn.Linear(2 * hidden, width * sources)

    def gather(self, values: Tensor) -> Tensor:
        """Sum the frequency bins of each mel band. If `mel_bands` is None, return the values unchanged.

        Shape: [..., F, T] -> [..., mel_bands or F, T], with F frequency bins and T frames.
        """
        return values if self.bands is None else self.bands @ values

    def forward(self, magnitudes: Tensor) -> dict[str, Tensor]:
        """Estimate `masks` [B, sources, 1, F, T] and `embeddings` [B, D, mel_bands or F, T] from magnitudes [B, C, F, T]."""
        # b batch, c channel, f bin or band, t frame, d embedding, s source
        if magnitudes.shape[2] != self.bins:
            problem, expected = "this number of bins differs from the number of bins of the STFT", f"{magnitudes.shape[2]} bins"
            raise InputError("Chimera.bins", problem, found=self.bins, expected=expected)
        levels = self.gather(magnitudes).clamp(min=MIN_MAGNITUDE).log10() / 2 + 1  # -80 to 0 dB: -1 to 1
        features = levels.permute(0, 3, 1, 2).flatten(start_dim=2)
        hidden, _ = self.body(features)
        embedded = self.embed(hidden).unflatten(2, (-1, self.embedding))  # [b, t, f, d]
        if self.heads == "chimera":
            logits = self.mask(torch.tanh(embedded))
        else:
            logits = self.mask(hidden).unflatten(2, (-1, self.sources))
        embeddings = functional.normalize(embedded.float(), dim=-1)
        masks = logits.float().softmax(dim=-1).permute(0, 3, 2, 1)  # [b, s, f, t]
        return {"masks": self.spread(masks).unsqueeze(2), "embeddings": embeddings.permute(0, 3, 2, 1)}

    def spread(self, masks: Tensor) -> Tensor:
        """Interpolate masks from mel bands to frequency bins. The masks of all sources still sum to one.

        Shape: [..., mel_bands or F, T] -> [..., F, T], with F frequency bins and T frames.
        """
        return masks if self.shares is None else self.shares.T @ masks


def _cover(bands: Tensor) -> Tensor:
    """Add each frequency bin that is in no mel band to the nearest band of the filter bank. Shape: [bands, bins]."""
    centres = bands.argmax(dim=1)
    for number in torch.nonzero(bands.sum(dim=0) == 0).flatten():
        bands[(centres - number).abs().argmin(), number] = 1e-3
    return bands
