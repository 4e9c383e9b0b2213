"""Separators whose network maps the waveform of a mixture to the waveforms of its sources."""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from unbraid.models.separators.base import Estimate, Separator
from unbraid.nets.interfaces import stride_of


class WaveformSeparator(Separator):
    """Separate by one network from the mixture's waveform to the waveforms of all targets.

    If the method uses an STFT, the network computes it.

    Args:
        net: function from the number of targets to a network. The network maps a mixture [B, C, T] to sources [B, S, C, T].
        targets: see `Separator`.
        sample_rate: see `Separator`.
        channels: see `Separator`.
        chunk_seconds: see `Separator`.
    """

    def __init__(
        self,
        net: Callable[[int], nn.Module],
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
    ) -> None:
        super().__init__(targets, sample_rate, channels, chunk_seconds)
        self.net = net(len(self.targets))

    @property
    def chunk_alignment(self) -> int:
        """Return the stride of the network in samples."""
        return stride_of(self.net)

    def forward(self, mixture: Tensor) -> Estimate:
        """Estimate the sources of a batch of chunks. Shape: [B, C, T]."""
        return Estimate(self.net(mixture).float())

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """Return the true sources. The other arguments are not used."""
        return Estimate(sources)
