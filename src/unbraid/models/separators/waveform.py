"""Separators whose network maps the waveform of a mixture to the waveforms of its sources."""

from collections.abc import Callable, Iterable, Sequence
from typing import get_args

from torch import Tensor, nn

from unbraid.dsp.input_scale import SMALLEST
from unbraid.models.separators.base import Estimate, Normalisation, Separator
from unbraid.nets.interfaces import stride_of
from unbraid.runs.errors import InputError


class WaveformSeparator(Separator):
    """Separate by one network that maps the mixture waveform to the waveforms of all targets.

    This class does not compute an STFT. A network that needs an STFT computes the STFT itself.

    With normalisation, the network gets (x - m) / σ instead of the mixture x, and its output y becomes σ y + m. To compute m
    and σ, the mixture is converted to mono. m is the mean of the mono signal over time, and σ is its standard deviation.

    With `normalisation: song`, m and σ are computed over the whole song in validation, test and every use of the trained model.
    In training, a chunk can contain sources of several songs. Before augmentation, each source is normalised with m and σ of
    the song from which the source comes. The loss compares normalised waveforms, as in Demucs and SCNet.

    Args:
        net: function that takes the number of targets and returns a network. The network maps a mixture [B, C, T] (batch,
            channels, samples) to S sources [B, S, C, T].
        targets: names of the targets, in the order of the output.
        sample_rate: sample rate of all waveforms in Hz.
        channels: number of channels of all waveforms, 1 or 2.
        chunk_seconds: length in seconds of the chunks into which a longer mixture is cut.
        normalisation: part of the mixture over which m and σ are computed, `song` or `chunk`; `none`: the mixture is not
            normalised.

    Raises:
        InputError: `normalisation` is unknown, or another argument is invalid.
    """

    def __init__(
        self,
        net: Callable[[int], nn.Module],
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        normalisation: Normalisation = "none",
    ) -> None:
        super().__init__(targets, sample_rate, channels, chunk_seconds)
        if normalisation not in get_args(Normalisation):
            expected = f"one of {', '.join(get_args(Normalisation))}"
            raise InputError("model.separator.normalisation", found=normalisation, expected=expected)
        self.normalisation = normalisation
        self.net = net(len(self.targets))

    @property
    def chunk_alignment(self) -> int:
        """Return the stride of the network in samples. Each chunk must start at a multiple of this number."""
        return stride_of(self.net)

    def forward(self, mixture: Tensor) -> Estimate:
        """Estimate the sources of a batch of mixture chunks [B, C, T]. If `normalisation` is `song`, pass normalised chunks."""
        sources = run_normalised(self.net, mixture) if self.normalisation == "chunk" else self.net(mixture)
        return Estimate(sources.float())

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """Return an `Estimate` that contains only the true sources `sources`. All other arguments are ignored."""
        return Estimate(sources)


def run_normalised(net: nn.Module, mixture: Tensor) -> Tensor:
    """Separate chunks that are normalised by their own mean and standard deviation, and restore the scale of the sources.

    Args:
        net: network from mixture to sources.
        mixture: chunks of mixtures.

    Shape:
        [B, C, T] -> [B, S, C, T].

    Returns:
        The sources.
    """
    mono = mixture.mean(dim=1, keepdim=True)
    mean, deviation = mono.mean(dim=-1, keepdim=True), mono.std(dim=-1, keepdim=True) + SMALLEST  # not std_mean, for exports
    return net((mixture - mean) / deviation).float() * deviation[:, None] + mean[:, None]
