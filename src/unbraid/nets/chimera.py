"""Chimera: embeddings of every bin for deep clustering, and masks, from one recurrent body.

Luo, Chen, Hershey, Le Roux & Mesgarani, "Deep clustering and conventional networks for music separation: stronger together",
ICASSP 2017; the second layout of heads is that of Wang, Le Roux & Hershey, ICASSP 2018 (chimera++). The body sees the whole
chunk in both directions; for long chunks and small machines a convolutional net costs less.
"""

from typing import Literal

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

from unbraid.runs.errors import InputError

MOST_BANDS = 512
QUIETEST = 1e-4  # of magnitudes in [0, 1]: -80 dB


class Chimera(nn.Module):
    """Magnitudes to masks that sum to one over the sources, and to embeddings of unit norm.

    Args:
        sources: how many masks.
        bins: of the magnitudes.
        sample_rate: of the waveforms in Hz; it places the mel bands.
        audio_channels: channels of the magnitudes, which share masks and embeddings.
        mel_bands: the body sees, and the heads answer for, so many bands; null: the bins themselves.
        hidden: units of the body's LSTM layers in each direction.
        layers: of the body.
        embedding: numbers for each bin (D).
        heads: `chimera`: masks are made of what the embeddings are, bin by bin; `chimera++`: each head is a layer of its own on
            the body.
        dropout: between the layers of the body.

    Shape:
        [B, C, F, T] -> masks [B, sources, 1, F, T]; embeddings [B, D, mel_bands or F, T].
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
        if min(hidden, layers, embedding) < 1:
            raise InputError(f"hidden, layers and embedding must be at least 1, found {hidden}, {layers} and {embedding}")
        most = min(bins, MOST_BANDS)
        if mel_bands is not None and not 2 <= mel_bands <= most:
            raise InputError("mel_bands", "is invalid", found=mel_bands, expected=f"2 to {most}")
        self.sources, self.bins, self.embedding, self.heads = sources, bins, embedding, heads
        if mel_bands is None:
            bands = None
        else:
            bands = torchaudio.functional.melscale_fbanks(bins, 0.0, sample_rate / 2, mel_bands, sample_rate).T
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
        """Sums over the mel bands. Shape: [..., F, T] -> [..., mel_bands or F, T]."""
        return values if self.bands is None else self.bands @ values

    def forward(self, magnitudes: Tensor) -> dict[str, Tensor]:
        # b batch, c channel, f bin or band, t frame, d embedding, s source
        if magnitudes.shape[2] != self.bins:
            raise InputError(f"the network is for {self.bins} bins (n_fft={2 * self.bins - 2}), found {magnitudes.shape[2]}")
        levels = self.gather(magnitudes).clamp(min=QUIETEST).log10() / 2 + 1  # -80 to 0 dB: -1 to 1
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
        """Of the bands to the bins under them; masks sum to one still. Shape: [..., mel_bands or F, T] -> [..., F, T]."""
        return masks if self.shares is None else self.shares.T @ masks


def _cover(bands: Tensor) -> Tensor:
    """Bins that no mel band reaches belong to the nearest one. Shape: [bands, F]."""
    centres = bands.argmax(dim=1)
    for number in torch.nonzero(bands.sum(dim=0) == 0).flatten():
        bands[(centres - number).abs().argmin(), number] = 1e-3
    return bands
