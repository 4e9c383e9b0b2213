"""Low-rank adaptation (LoRA): train two small matrices for each layer, and keep the weights of the layer itself.

Source: Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022. The package peft computes it. In training, a
layer computes W x + (alpha / rank) B A x. A resumed training reads the matrices from its checkpoint. For every other purpose,
`merged` of `unbraid.runs.weights` adds their product to W, so separation and export use a network without adapters.

To train all weights, or a part of the network with all of its weights, use `init` and `freeze` without LoRA.
"""

import re
from collections.abc import Sequence

from torch import nn

from unbraid.runs.errors import InputError
from unbraid.runs.names import below

# Subclasses, such as the layers of the U-Net that halve the spectrogram, are not adapted, because peft cannot build them.
ADAPTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Lora:
    """Add trainable low-rank matrices to the layers of a model.

    Args:
        rank: number of rows of the small matrices.
        alpha: factor of the adaptation; the product of the matrices is multiplied by `alpha / rank`.
        layers: beginnings of the names of the layers that are adapted, such as `net.time_layers`. `*` stands for any text
            between two dots. Empty: every dense layer and every convolution.

    Raises:
        InputError: `rank` or `alpha` is not positive.
    """

    def __init__(self, rank: int = 8, alpha: float = 16, layers: Sequence[str] = ()) -> None:
        for name, value in {"rank": rank, "alpha": alpha}.items():
            if value <= 0:
                raise InputError(f"lora.{name}", found=value, expected="above 0")
        self.rank, self.alpha, self.layers = rank, alpha, list(layers)

    def adapt(self, model: nn.Module) -> list[str]:
        """Add the matrices to the layers of a model. No other parameter of the model is trained afterwards.

        Args:
            model: model that is changed in place.

        Returns:
            Names of the adapted layers.

        Raises:
            InputError: the package peft is not installed, or no layer has such a name.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ModuleNotFoundError as error:
            raise InputError("lora", "the package peft is not installed", hint="Run pip install 'unbraid[lora]'") from error
        modules = dict(model.named_modules())
        layers = [name for name, layer in modules.items() if type(layer) in ADAPTED and getattr(layer, "groups", 1) == 1]
        if self.layers:
            chosen = below(layers, self.layers, "lora.layers")
            layers = [name for name in layers if name in chosen]
        if not layers:
            raise InputError("lora", "the model lacks dense layers and convolutions that can be adapted")
        pattern = "|".join(re.escape(name) for name in layers)
        inject_adapter_in_model(LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=pattern), model)
        return layers


def without_adapters(model: nn.Module) -> None:
    """Replace each adapted layer of a model by the layer itself, without the matrices. The model is changed in place."""
    for parent in [*model.modules()]:
        for name, layer in [*parent.named_children()]:
            if hasattr(layer, "base_layer") and hasattr(layer, "lora_A"):
                setattr(parent, name, layer.base_layer)
