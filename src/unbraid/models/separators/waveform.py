"""Separators whose network maps the waveform of a mixture to those of its sources."""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from unbraid.models.separators.base import Estimate, Separator
from unbraid.nets.interfaces import stride_of


class WaveformSeparator(Separator):
    """A network from the mixture's waveform to those of all targets; what transforms it takes are its own.

    Args:
        net: from the number of targets to a network: mixture [B, C, T] to sources [B, S, C, T].
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
        return stride_of(self.net)

    def forward(self, mixture: Tensor) -> Estimate:
        return Estimate(self.net(mixture).float())

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        return Estimate(sources)
