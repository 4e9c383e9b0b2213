"""Options of separators that mask a spectrogram.

`mask_max`, `mask_power` and `consistency` change the sources in evaluation only. They can therefore be changed after training.
Losses always use the original masks of the network.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from unbraid.runs.errors import InputError

Residual = bool | Literal["auto"]


@dataclass(frozen=True)
class MaskOptions:
    """Set how evaluation changes the masks of a network before the sources are computed. The default changes nothing.

    Args:
        mask_max: upper limit of a mask, above 0; larger values are clamped. None: no limit.
        mask_power: exponent applied to the masks, above 0. A value above 1 makes bins with a small mask quieter.
        consistency: whether the sources are corrected so that they sum to the mixture. The difference between mixture and sum
            is divided equally among the sources.

    Raises:
        InputError: `mask_max` or `mask_power` is 0 or less.
    """

    mask_max: float | None = None
    mask_power: float = 1.0
    consistency: bool = False

    def __post_init__(self) -> None:
        for name, value in {"mask_max": self.mask_max, "mask_power": self.mask_power}.items():
            if value is not None and value <= 0:
                raise InputError(name, found=value, expected="a number above 0")

    @property
    def keeps_masks(self) -> bool:
        """Return True if the options `mask_max` and `mask_power` do not change masks."""
        return self.mask_max is None and self.mask_power == 1

    def refine(self, masks: Tensor) -> Tensor:
        """Clamp masks to `mask_max`, and raise the result to the power of `mask_power`. The phase of complex masks is kept."""
        if self.keeps_masks:
            return masks
        size = masks.abs()
        refined = (size if self.mask_max is None else size.clamp(max=self.mask_max)) ** self.mask_power
        return masks * (refined / size.clamp(min=1e-12)) if masks.is_complex() else refined


@dataclass(frozen=True)
class JointMaskOptions(MaskOptions):
    """Set the mask options of one network for all targets.

    Args:
        mask_max: upper limit of a mask in evaluation, above 0; larger values are clamped. None: no limit.
        mask_power: exponent applied to the masks in evaluation, above 0.
        consistency: whether evaluation corrects the sources so that they sum to the mixture. The difference between mixture and
            sum is divided equally among the sources.
        residual: whether the network has one more class for the residual (the mixture minus all targets): True, False or
            `auto`. `auto` is False if one target is defined as the mixture minus all other targets, as with the targets vocals
            and accompaniment. These targets sum to the mixture, so the residual is almost silent. In all other cases `auto` is
            True.
    """

    residual: Residual = "auto"


KEEP_MASKS = MaskOptions()
AUTO_RESIDUAL = JointMaskOptions()
