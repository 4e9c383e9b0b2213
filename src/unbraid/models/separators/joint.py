"""Separators that mask the spectrogram of the mixture, with one network for all targets."""

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Dictionary
from typing import Literal

import torch
from torch import Tensor, nn

from unbraid.dsp.phase import Phase
from unbraid.dsp.stft import STFT, magnitudes_of
from unbraid.models.separators.masking import Masking, Scaling
from unbraid.runs.errors import InputError

SILENT = 1e-8  # energy of a bin: 16-bit rounding alone makes more
Residual = bool | Literal["auto"]


class JointMasking(Masking):
    """As `Masking`, with one network for all targets, whose masks sum to one.

    Args:
        net: function from the number of classes to a network: magnitudes [B, C, F, T] to masks [B, classes, C or 1, F, T], or
            to a dict of `masks` and other fields of an `Estimate`.
        residual: whether what the targets leave of the mixture is one more class. `auto`: not if one target is all but the
            others, as vocals and accompaniment are; a mixture that is not the sum of its sources, as after mastering, would
            make a class of the difference.
        others: as `Masking`.

    Raises:
        InputError: one target without a residual has nothing to be told from.
    """

    def __init__(
        self,
        net: Callable[..., nn.Module],
        stft: STFT,
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        phase: Phase,
        scaling: Scaling = "patch",
        mask_max: float | None = None,
        mask_power: float = 1.0,
        consistency: bool = False,
        residual: Residual = "auto",
    ) -> None:
        self.residual = leaves_residual(targets) if residual == "auto" else residual  # before the network is made
        super().__init__(
            net, stft, targets, sample_rate, channels, chunk_seconds, phase, scaling, mask_max, mask_power, consistency
        )

    @property
    def classes(self) -> int:
        """Return the number of classes: the targets and, if it is one, the residual."""
        return len(self.targets) + int(self.residual)

    def networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        if self.classes < 2:
            raise InputError(
                "residual", "one target has nothing to be told from", found=self.residual, expected="true, or more targets"
            )
        return [net(self.classes)]

    def predict(self, magnitudes: Tensor) -> dict[str, Tensor]:
        outputs = self.nets[0](magnitudes)
        outputs = outputs if isinstance(outputs, dict) else {"masks": outputs}
        return outputs | {"masks": self.of_targets(outputs["masks"])}

    def of_targets(self, masks: Tensor) -> Tensor:
        """Return the targets' masks for every channel. Shape: [B, classes, C or 1, F, T] -> [B, S, C, F, T]."""
        return masks[:, : len(self.targets)].expand(-1, -1, self.channels, -1, -1)

    def energies(self, mixture: Tensor, sources: Tensor) -> Tensor:
        """Return the energy of each class, summed over channels. Shape: [B, C, T], [B, S, C, T] -> [B, classes, F, frames]."""
        if self.residual:
            sources = torch.cat([sources, (mixture - sources.sum(dim=1))[:, None]], dim=1)
        return magnitudes_of(self.stft(sources)).square().sum(dim=2)


def leaves_residual(targets: Iterable[str]) -> bool:
    """Return whether targets may leave something of a mixture: not if one is all sources but those of the others.

    Args:
        targets: names of the targets, or the terms of each by its name: `[vocals]`, `[drums, bass]`, `[-vocals]`.
    """
    if not isinstance(targets, Dictionary):
        return True
    for name, terms in targets.items():
        others = sorted(term for other in targets if other != name for term in targets[other])
        if others and sorted(terms) == sorted(f"-{term}" for term in others):
            return False
    return True
