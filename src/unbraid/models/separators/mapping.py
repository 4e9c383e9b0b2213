"""Separators whose networks estimate magnitudes instead of masks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unbraid.models.separators.masking import Masking
from unbraid.runs.errors import InputError


class SpectralMapping(Masking):
    """As `Masking`, except that each network gives the magnitudes of its target themselves.

    A denoising autoencoder is one: the accompaniment is the noise. The idea is that of Grais & Plumbley (GlobalSIP 2017), whose
    own autoencoders are convolutional.
    """

    def networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        if self.mask_max is not None or self.mask_power != 1:
            raise InputError("mask_max and mask_power: these networks give magnitudes and no masks; expected null and 1")
        return super().networks(net)

    def predict(self, magnitudes: Tensor) -> dict[str, Tensor]:
        return {"magnitudes": torch.stack([net(magnitudes) for net in self.nets], dim=1)}
