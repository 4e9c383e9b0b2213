"""Autoencoders of vectors: shallow (one hidden layer), deep (several hidden layers) and variational.

Deep autoencoders are from Hinton & Salakhutdinov (Science 2006). The decoder has its own weights, or uses the transposed
weights of the encoder (tied weights).

A vector is a frame of a spectrogram or all pixels of an image. For autoencoders of two-dimensional patches, use
`unbraid.nets.convolutional`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.runs.errors import InputError

Activation = Literal["linear", "relu", "elu", "tanh", "sigmoid"]
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "elu": functional.elu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class Autoencoder(nn.Module, ABC):
    """Interface of autoencoders: encode items (vectors or patches) to codes, and decode codes to items of the same shape.

    Attributes:
        takes: kind of items. `vectors`: N vectors of D values, [N, D]; `patches`: N patches, [N, C, H, W].
        code_size: number of values in the code of one item.
    """

    takes: ClassVar[Literal["vectors", "patches"]]
    code_size: int

    @abstractmethod
    def encode(self, items: Tensor) -> Tensor:
        """Compute the codes of items (vectors or patches). Shape: [N, D] or [N, C, H, W] -> codes [N, ...]."""

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """Reconstruct items (vectors or patches) from their codes. Shape: codes [N, ...] -> [N, D] or [N, C, H, W]."""

    def forward(self, items: Tensor) -> Tensor:
        """Encode items (vectors or patches), and decode the codes to items. Input and output have the same shape."""
        return self.decode(self.encode(items))


class DenseAutoencoder(Autoencoder):
    """Reconstruct vectors with fully connected layers. The decoder has the layer widths of the encoder in reverse order.

    Args:
        size: number of values in a vector.
        code: number of values in the code, at most `size`.
        hidden: widths of the layers between input and code. Empty: the code is the only hidden layer.
        activation: activation function of the layers in `hidden`.
        code_activation: activation function of the code; `linear` in Hinton & Salakhutdinov (2006).
        output: activation function of the last layer. `sigmoid` suits vectors in [0, 1].
        tied: True: the decoder uses the transposed weight matrices of the encoder. False: the decoder has its own weight
            matrices.

    Shape:
        [N, size] -> [N, size].

    Raises:
        InputError: `code` or a width in `hidden` is out of range.
    """

    takes = "vectors"

    direct_layers: ClassVar = ("encoder", "decoder")

    def __init__(
        self,
        size: int,
        code: int,
        hidden: Sequence[int] = (),
        activation: Activation = "elu",
        code_activation: Activation = "linear",
        output: Activation = "linear",
        tied: bool = False,
    ) -> None:
        super().__init__()
        check_code(code, size)
        if any(width < 1 for width in hidden):
            raise InputError("DenseAutoencoder.hidden", found=list(hidden), expected="widths of at least 1")
        self.code_size, self.tied = code, tied
        widths = [size, *hidden, code]
        self.encoder = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.decoder: nn.ModuleList | nn.ParameterList
        if tied:
            # Only the biases: `decoder_layers` reads the weights from the encoder.
            self.decoder = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in widths[-2::-1])
        else:
            self.decoder = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths[::-1]))
        self.down: list[Activation] = [*[activation] * len(hidden), code_activation]
        self.up: list[Activation] = [*[activation] * len(hidden), output]

    def encode(self, items: Tensor, depth: int | None = None) -> Tensor:
        """Compute the codes of vectors. Shape: [N, size] -> [N, code].

        If `depth` is set, return the output of the first `depth` encoder layers instead of the codes.
        """
        for layer, name in [*zip(self.encoder, self.down, strict=True)][:depth]:
            items = activate(layer(items), name)
        return items

    def decode(self, code: Tensor) -> Tensor:
        """Reconstruct vectors from their codes. Shape: [N, code] -> [N, size]."""
        for (weight, bias), name in zip(self.decoder_layers(), self.up, strict=True):
            code = activate(functional.linear(code, weight, bias), name)
        return code

    def layer(self, depth: int) -> list[nn.Parameter]:
        """Return the parameters of encoder layer `depth` and of the decoder layer that mirrors it. Layer 0 reads the input."""
        up = self.decoder[-1 - depth]
        return [*self.encoder[depth].parameters(), *([up] if isinstance(up, nn.Parameter) else up.parameters())]

    def rebuild_layer(self, items: Tensor, depth: int) -> Tensor:
        """Apply encoder layer `depth`, then the decoder layer that mirrors it. This pair is pretrained as one autoencoder.

        Shape: [N, width] -> [N, width], with the input width of the encoder layer.
        """
        code = activate(self.encoder[depth](items), self.down[depth])
        weight, bias = self.decoder_layers()[-1 - depth]
        return activate(functional.linear(code, weight, bias), self.up[-1 - depth])

    def decoder_layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight [outputs, inputs] and bias [outputs] of each decoder layer.

        If `tied` is True, the weights are the transposed weights of the encoder.
        """
        if self.tied:
            layers: Any = zip([*self.encoder][::-1], self.decoder, strict=True)
            return [(layer.weight.T, bias) for layer, bias in layers]
        layers = self.decoder
        return [(layer.weight, layer.bias) for layer in layers]


class VariationalAutoencoder(DenseAutoencoder):
    """Reconstruct vectors with a variational autoencoder (Kingma & Welling, ICLR 2014).

    The encoder estimates mean and variance of a Gaussian distribution for each vector. Training draws codes from this
    distribution. `encode` returns the mean of the distribution. Encoder and decoder do not share weights.

    Args:
        size: number of values in a vector.
        code: number of values in the code, at most `size`.
        hidden: widths of the layers between input and code.
        activation: activation function of the layers in `hidden`.
        output: activation function of the last layer.
    """

    def __init__(
        self,
        size: int,
        code: int,
        hidden: Sequence[int] = (),
        activation: Activation = "elu",
        output: Activation = "linear",
    ) -> None:
        super().__init__(size, code, hidden, activation, output=output)
        self.log_variance = nn.Linear([size, *hidden][-1], code)

    def infer(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate mean and logarithm of the variance of the codes. Shape: [N, size] -> [N, code] each."""
        *before, mean = self.encoder
        for layer, name in zip(before, self.down, strict=False):
            items = activate(layer(items), name)
        return mean(items), self.log_variance(items)

    def draw(self, mean: Tensor, log_variance: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw codes by the reparameterisation trick, so that gradients reach mean and variance.

        Args:
            mean: mean of the code.
            log_variance: logarithm of the variance of the code.
            generator: random generator; None: torch's global generator.

        Shape:
            [N, code] each -> [N, code].

        Returns:
            One random code for each vector.
        """
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return mean + noise * (0.5 * log_variance).exp()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of Gaussian distributions from the standard normal distribution, in nats.

    Args:
        mean: mean of the Gaussian distribution of each of N codes.
        log_variance: logarithm of the variance of this distribution.

    Shape:
        [N, code] each -> [N].

    Returns:
        The divergence, summed over the values of a code.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


class FrameAutoencoder(nn.Module):
    """Estimate the magnitudes of a source from the magnitudes of the mixture, with an autoencoder of single frames.

    The autoencoder reads the square root of the magnitudes, so that quiet bins have more weight. The output is squared, so that
    the estimated magnitudes are not negative. A ReLU would fail: most bins of a source are silent, so all outputs would become
    0, with zero gradient.

    Args:
        size: number of frequency bins.
        code: number of values in the code, at most `size`.
        hidden: widths of the layers between input and code.
        activation: activation function of the layers in `hidden`.
        tied: True: the decoder uses the transposed weight matrices of the encoder. False: the decoder has its own weight
            matrices.

    Shape:
        [B, C, F, T] -> [B, C, F, T]. B: batch, C: channels, F: frequency bins, T: frames.
    """

    def __init__(
        self, size: int, code: int, hidden: Sequence[int] = (), activation: Activation = "elu", tied: bool = False
    ) -> None:
        super().__init__()
        self.size, self.receptive_field = size, 0  # each frame is processed on its own
        self.net = DenseAutoencoder(size, code, hidden, activation, output="linear", tied=tied)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Estimate the magnitudes of a source from the magnitudes of the mixture. Shape: [B, C, F, T] -> [B, C, F, T]."""
        # b batch, c channel, f bin, t frame
        b, c, f, t = magnitudes.shape
        if f != self.size:
            problem = "the size differs from the number of bins of the STFT"
            raise InputError("FrameAutoencoder.size", problem, found=self.size, expected=f"{f} bins")
        frames = self.net(magnitudes.sqrt().transpose(-1, -2).reshape(-1, f)).square()
        return frames.view(b, c, t, f).transpose(-1, -2)


def activate(values: Tensor, name: Activation) -> Tensor:
    """Apply the activation function `name` to the values. `linear` returns the values unchanged."""
    return values if name == "linear" else FUNCTIONS[name](values)


def check_code(code: int, size: int) -> None:
    """Check that the code of an autoencoder is not larger than the input vector.

    Args:
        code: number of values in the code.
        size: number of values in the input vector.

    Raises:
        InputError: `code` is not in [1, `size`].
    """
    if not 1 <= code <= size:
        hint = f"An input vector has {size} values. An autoencoder with a larger code can copy its input."
        raise InputError("code", "the size of the code is outside its range", found=code, expected=f"1 to {size}", hint=hint)
