"""Optional attributes and methods of a network: stride, receptive field, and input scaling.

A network may lack these attributes and methods. Separators then use default values.
"""

from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Strided(Protocol):
    """A network that processes its input in steps of fixed size, for example a U-Net.

    Attributes:
        stride: size of a step, in frames of a spectrogram or in samples of a waveform. Chunks start at multiples of `stride`.
    """

    stride: int


@runtime_checkable
class Bounded(Protocol):
    """A network with a finite receptive field.

    Attributes:
        receptive_field: number of frames on each side. The output of a frame depends on this number of input frames before
            the frame, and on as many after the frame. The overlap of chunks is computed from this number.
    """

    receptive_field: int


@runtime_checkable
class Whitening(Protocol):
    """A network that standardises its input with mean and standard deviation of the training data."""

    def start_from(self, mean: Tensor, scale: Tensor) -> None:
        """Set mean and standard deviation (`scale`) of the training data in each frequency bin. Shape: each argument is [F]."""


class DirectLayers(Protocol):
    """Describe a module that reads the weights of some of its layers, and computes their outputs itself.

    Such a layer cannot be adapted by LoRA, because the matrices of LoRA are only used if the layer is called.

    Attributes:
        direct_layers: names of these layers, which are attributes of the module.
    """

    direct_layers: ClassVar[tuple[str, ...]]


def stride_of(net: object) -> int:
    """Return the attribute `stride` of a network; 1 if the network does not have an integer of this name."""
    return net.stride if isinstance(net, Strided) and isinstance(net.stride, int) else 1  # a convolution has a pair
