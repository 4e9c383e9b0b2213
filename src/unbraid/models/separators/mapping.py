"""Separators whose networks estimate the magnitudes of the targets instead of masks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unbraid.models.separators.masking import Masking
from unbraid.runs.errors import InputError


class SpectralMapping(Masking):
    """Separate by one network for each target. The network maps mixture magnitudes to target magnitudes.

    The arguments are those of `Masking`. The network can be a denoising autoencoder, for which the accompaniment is the noise.
    The idea is from Grais & Plumbley (GlobalSIP 2017), who use convolutional autoencoders.
    """

    def networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        """Create one network for each target.

        Args:
            net: function without arguments that returns a network.

        Returns:
            The networks, in the order of the targets.

        Raises:
            InputError: `mask_max` or `mask_power` is set, although the networks do not estimate masks.
        """
        if not self.mask_options.keeps_masks:
            expected = "mask_max=null and mask_power=1"
            raise InputError(
                "mask_options",
                "this model estimates magnitudes instead of masks, so it cannot use mask_max and mask_power",
                found=self.mask_options,
                expected=expected,
            )
        return super().networks(net)

    def predict(self, magnitudes: Tensor) -> dict[str, Tensor]:
        """Estimate the magnitudes of each target from scaled mixture magnitudes. Shape: [B, C, F, T] -> [B, S, C, F, T]."""
        return {"magnitudes": torch.stack([net(magnitudes) for net in self.nets], dim=1)}
