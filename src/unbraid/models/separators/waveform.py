"""Separators whose network maps the waveform of a mixture to the waveforms of its sources."""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from unbraid.models.separators.base import Estimate, Separator
from unbraid.nets.interfaces import stride_of


class WaveformSeparator(Separator):
    """Separate by one network that maps the mixture waveform to the waveforms of all targets.

    This class does not compute an STFT. A network that needs an STFT computes the STFT itself.

    Args:
        net: function that takes the number of targets and returns a network. The network maps a mixture [B, C, T] (batch,
            channels, samples) to S sources [B, S, C, T].
        targets: names of the targets, in the order of the sources.
        sample_rate: sample rate of all waveforms in Hz.
        channels: number of channels of all waveforms, 1 or 2.
        chunk_seconds: length in seconds of the chunks into which a longer mixture is cut.
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
        """Return the stride of the network in samples. Each chunk must start at a multiple of this number."""
        return stride_of(self.net)

    def forward(self, mixture: Tensor) -> Estimate:
        """Estimate the sources of a batch of mixture chunks [B, C, T]."""
        return Estimate(self.net(mixture).float())

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """Return an `Estimate` that contains only the true sources `sources`. All other arguments are ignored."""
        return Estimate(sources)
