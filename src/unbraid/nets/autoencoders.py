"""Autoencoders of vectors: shallow, deep with free or tied weights (Hinton & Salakhutdinov, Science 2006), and variational.

They rebuild frames of a spectrogram or the pixels of an image through a narrow code. For patches, whose neighbourhoods matter,
take `unbraid.nets.convolutional`.
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
    """Items in, items out, through a code.

    `takes` says what an item is: `vectors` [N, D], or `patches` [N, C, H, W]; `code_size` how many numbers its code has.
    """

    takes: ClassVar[Literal["vectors", "patches"]]
    code_size: int

    @abstractmethod
    def encode(self, items: Tensor) -> Tensor:
        """The codes. Shape: items -> [N, ...]."""

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """Items from codes, the inverse of `encode` as far as it was learnt."""

    def forward(self, items: Tensor) -> Tensor:
        return self.decode(self.encode(items))


class DenseAutoencoder(Autoencoder):
    """Fully connected layers down to the code and, mirrored, up again.

    Args:
        size: of a vector.
        code: how many numbers the code has.
        hidden: widths of the layers between; empty for a network with one hidden layer, the code.
        activation: of the layers between.
        code_activation: of the code; the paper's is linear.
        output: of the last layer; `sigmoid` for what lies in [0, 1].
        tied: the decoder's weights are the transposes of the encoder's: the same numbers in memory.

    Shape:
        [N, size] -> [N, size].
    """

    takes = "vectors"

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
            raise InputError(f"hidden must be widths of at least 1, found {list(hidden)}")
        self.code_size, self.tied = code, tied
        widths = [size, *hidden, code]
        self.encoder = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.decoder: nn.ModuleList | nn.ParameterList
        if tied:
            # One bias for each layer; its weights are read from the encoder.
            self.decoder = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in widths[-2::-1])
        else:
            self.decoder = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths[::-1]))
        self.down: list[Activation] = [*[activation] * len(hidden), code_activation]
        self.up: list[Activation] = [*[activation] * len(hidden), output]

    def encode(self, items: Tensor, depth: int | None = None) -> Tensor:
        """The code, or what the `depth` lowest layers make. Shape: [N, size] -> [N, width]."""
        for layer, name in [*zip(self.encoder, self.down, strict=True)][:depth]:
            items = activate(layer(items), name)
        return items

    def decode(self, code: Tensor) -> Tensor:
        for (weight, bias), name in zip(self.decoder_layers(), self.up, strict=True):
            code = activate(functional.linear(code, weight, bias), name)
        return code

    def layer(self, depth: int) -> list[nn.Parameter]:
        """What belongs to one layer, 0 the lowest, on its way down and up."""
        up = self.decoder[-1 - depth]
        return [*self.encoder[depth].parameters(), *([up] if isinstance(up, nn.Parameter) else up.parameters())]

    def rebuild_layer(self, items: Tensor, depth: int) -> Tensor:
        """Down and up one layer alone, 0 the lowest. Shape: [N, width] -> [N, width]."""
        code = activate(self.encoder[depth](items), self.down[depth])
        weight, bias = self.decoder_layers()[-1 - depth]
        return activate(functional.linear(code, weight, bias), self.up[-1 - depth])

    def decoder_layers(self) -> list[tuple[Tensor, Tensor]]:
        """Weight [out, in] and bias [out] of each layer up; of a tied network the weights are views of the encoder's."""
        if self.tied:
            layers: Any = zip([*self.encoder][::-1], self.decoder, strict=True)
            return [(layer.weight.T, bias) for layer, bias in layers]
        layers = self.decoder
        return [(layer.weight, layer.bias) for layer in layers]


class VariationalAutoencoder(DenseAutoencoder):
    """With a Gaussian code: mean and variance are inferred, training draws from them (Kingma & Welling, ICLR 2014).

    Arguments as `DenseAutoencoder`, never tied. `encode` gives the mean.
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
        """Mean and log variance of the code. Shape: [N, size] -> [N, code] each."""
        *before, mean = self.encoder
        for layer, name in zip(before, self.down, strict=False):
            items = activate(layer(items), name)
        return mean(items), self.log_variance(items)

    def draw(self, mean: Tensor, log_variance: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Sample codes by the reparameterisation that gradients pass, from torch's global generator if none is given.

        Shape:
            [N, code] each -> [N, code].
        """
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return mean + noise * (0.5 * log_variance).exp()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of each code from the standard normal, in nats. Shape: [N, code] each -> [N]."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


class FrameAutoencoder(nn.Module):
    """An autoencoder applied to every frame of magnitudes, to stand where a separator wants a network.

    It works on the magnitudes' square roots, in which quiet bins count too, and what it gives is squared. With rectifiers at
    its end instead, most bins of most sources being silent, it soon gives nothing but silence, and no gradient leads back.

    Args:
        net: arguments as `DenseAutoencoder`, of which `size` is the number of bins.

    Shape:
        [B, C, F, T] -> [B, C, F, T], not negative.
    """

    def __init__(
        self, size: int, code: int, hidden: Sequence[int] = (), activation: Activation = "elu", tied: bool = False
    ) -> None:
        super().__init__()
        self.size, self.receptive_field = size, 0  # no frame hears another
        self.net = DenseAutoencoder(size, code, hidden, activation, output="linear", tied=tied)

    def forward(self, magnitudes: Tensor) -> Tensor:
        # b batch, c channel, f bin, t frame
        b, c, f, t = magnitudes.shape
        if f != self.size:
            raise InputError(f"the network is for {self.size} bins (n_fft={2 * self.size - 2}), found {f}; set its size to {f}")
        frames = self.net(magnitudes.sqrt().transpose(-1, -2).reshape(-1, f)).square()
        return frames.view(b, c, t, f).transpose(-1, -2)


def activate(values: Tensor, name: Activation) -> Tensor:
    """The function of this name; `linear` changes nothing."""
    return values if name == "linear" else FUNCTIONS[name](values)


def check_code(code: int, size: int) -> None:
    """InputError where a code is no narrower than what it stands for."""
    if not 1 <= code <= size:
        raise InputError(
            f"code must lie in [1, {size}], the size of an item, found {code}: a wider one need not learn anything"
        )
