"""Low-rank adaptation (LoRA): train two small matrices for each layer, and do not change the weights of the layer.

Source: Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022. The package peft provides the layers. A
layer with the weights W computes W x + (alpha / rank) B A x, and only the matrices A and B are trained. A resumed training
reads A and B from the checkpoint. For all other uses of a checkpoint, such as separation and export, `merged` of
`unbraid.runs.weights` adds (alpha / rank) B A to W. The network then has no matrices A and B.

To train all weights of a network, or all weights of some layers, use the keys `init` and `freeze` without LoRA.
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
    """Add trainable low-rank matrices A and B to the layers of a model.

    A layer with the weights W then computes W x + (alpha / rank) B A x. Only A and B are trained.

    Args:
        rank: number of rows of A and of columns of B.
        alpha: the product B A is multiplied by `alpha` / `rank`.
        layers: beginnings of the names of the layers that are adapted, such as `net.time_layers`. `*` matches any text
            between two dots. Empty: all dense layers and convolutions.

    Raises:
        InputError: `rank` or `alpha` is not positive.
    """

    def __init__(self, rank: int = 8, alpha: float = 16, layers: Sequence[str] = ()) -> None:
        for name, value in {"rank": rank, "alpha": alpha}.items():
            if value <= 0:
                raise InputError(f"lora.{name}", found=value, expected="a number above 0")
        self.rank, self.alpha, self.layers = rank, alpha, list(layers)

    def adapt(self, model: nn.Module) -> list[str]:
        """Add the matrices A and B to the layers of a model. All other parameters of the model are then frozen.

        Args:
            model: model that is changed in place.

        Returns:
            Names of the adapted layers.

        Raises:
            InputError: the package peft is not installed, a name in `layers` fits no layer, or the model has no layers that can
                be adapted.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ModuleNotFoundError as error:
            raise InputError("lora", "the package peft is not installed", hint="Run pip install 'unbraid[lora]'") from error
        modules = dict(model.named_modules())
        direct = [
            f"{name}.{child}.".lstrip(".") for name, module in modules.items() for child in getattr(module, "direct_layers", ())
        ]
        layers = [
            name for name, layer in modules.items() if _can_be_adapted(layer) and not f"{name}.".startswith(tuple(direct))
        ]
        if self.layers:
            chosen = below(layers, self.layers, "lora.layers")
            layers = [name for name in layers if name in chosen]
        if not layers:
            raise InputError("lora", "the model lacks dense layers and convolutions that can be adapted", hint="Remove lora")
        pattern = "|".join(re.escape(name) for name in layers)
        inject_adapter_in_model(LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=pattern), model)
        return layers


def _can_be_adapted(layer: nn.Module) -> bool:
    """Return True if peft can adapt a layer. It cannot adapt grouped convolutions, and builds wrong ones for dilated layers."""
    return type(layer) in ADAPTED and getattr(layer, "groups", 1) == 1 and {*getattr(layer, "dilation", (1,))} == {1}


def without_adapters(model: nn.Module) -> None:
    """Remove the matrices A and B from all layers of a model, in place. The weights W do not change."""
    for parent in [*model.modules()]:
        for name, layer in [*parent.named_children()]:
            if hasattr(layer, "base_layer") and hasattr(layer, "lora_A"):
                setattr(parent, name, layer.base_layer)
