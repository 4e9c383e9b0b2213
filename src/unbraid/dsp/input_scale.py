"""Mean and standard deviation of a mixture, by which the input of a network is normalised.

The audio channels are averaged before the mean and the standard deviation are computed, as in Demucs (Défossez et al. 2019) and
SCNet (Tong et al., ICASSP 2024).
"""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

SMALLEST = 1e-8  # added to standard deviations, so that silence can be divided by them


class InputScale(NamedTuple):
    """Store mean and standard deviation of a mixture.

    Args:
        mean: mean of all samples.
        deviation: standard deviation of all samples, above 0.
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, blocks: Iterable[Tensor]) -> "InputScale":
        """Compute mean and standard deviation of a signal of any length, block by block, in float64.

        Args:
            blocks: consecutive blocks of the signal.

        Shape:
            blocks [C, n], with C channels and any lengths n.

        Returns:
            Mean and standard deviation of the average of all channels.
        """
        count, mean, squares = 0, 0.0, 0.0  # squares: sum of squared differences from the mean
        for block in blocks:
            samples = block.double().mean(dim=0)
            if not (new := len(samples)):
                continue
            step = float(samples.mean()) - mean
            squares += float((samples - samples.mean()).square().sum()) + step**2 * count * new / (count + new)
            mean, count = mean + step * new / (count + new), count + new
        return cls(mean, (squares / max(count - 1, 1)) ** 0.5 + SMALLEST)

    def normalise(self, waveform: Tensor) -> Tensor:
        """Subtract the mean from a waveform, and divide the difference by the standard deviation. The shape does not change."""
        return (waveform - self.mean) / self.deviation

    def restore(self, waveform: Tensor) -> Tensor:
        """Multiply a waveform by the standard deviation, and add the mean. This is the inverse of `normalise`."""
        return waveform * self.deviation + self.mean
