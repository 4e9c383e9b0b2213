"""Attributes and methods of a network that a separator and its training use, if the network has them."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Strided(Protocol):
    """A network whose input is processed in steps.

    Attributes:
        stride: size of a step, in frames of a spectrogram or in samples of a waveform. Chunks start on multiples of it.
    """

    stride: int


@runtime_checkable
class Bounded(Protocol):
    """A network with a finite receptive field.

    Attributes:
        receptive_field: frames on either side that the output for a frame depends on. It sets the overlap of chunks.
    """

    receptive_field: int


@runtime_checkable
class Whitening(Protocol):
    """A network that normalizes its input with the statistics of the training data."""

    def start_from(self, mean: Tensor, scale: Tensor) -> None:
        """Set the statistics, of each frequency bin."""


def stride_of(net: object) -> int:
    """Return the stride of a network; 1 if it has none."""
    return net.stride if isinstance(net, Strided) and isinstance(net.stride, int) else 1  # that of a convolution is a pair
