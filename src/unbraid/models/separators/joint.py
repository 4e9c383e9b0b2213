"""Separators that mask the spectrogram of the mixture, with one network for all targets."""

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Dictionary

import torch
from torch import Tensor, nn

from unbraid.dsp.phase import Phase
from unbraid.dsp.stft import STFT, magnitudes_of
from unbraid.models.separators.mask_options import AUTO_RESIDUAL, JointMaskOptions
from unbraid.models.separators.masking import Masking, Scaling
from unbraid.runs.errors import InputError

SILENT = 1e-8  # energy of a bin below which it counts as silent; 16-bit rounding alone has more


class JointMasking(Masking):
    """Separate by the masks of one network for all targets. The masks sum to one.

    Args:
        net: function from the number of classes to a network. The network maps magnitudes [B, C, F, T] to masks
            [B, classes, C or 1, F, T], or to a dict of `masks` and other fields of an `Estimate`.
        stft: see `Masking`.
        targets: see `Separator`.
        sample_rate: see `Separator`.
        channels: see `Separator`.
        chunk_seconds: see `Masking`.
        phase: see `Masking`.
        scaling: see `Masking`.
        mask_options: changes of the masks in evaluation, and whether the residual is a class. A single target needs the class
            of the residual.
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
        mask_options: JointMaskOptions = AUTO_RESIDUAL,
    ) -> None:
        residual = mask_options.residual
        self.residual = leaves_residual(targets) if residual == "auto" else residual  # `networks` reads it
        super().__init__(net, stft, targets, sample_rate, channels, chunk_seconds, phase, scaling, mask_options)

    @property
    def classes(self) -> int:
        """Return the number of classes: the targets and, if it is a class, the residual."""
        return len(self.targets) + int(self.residual)

    def networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        """Create the one network.

        Args:
            net: function from the number of classes to a network.

        Returns:
            A list of one network.

        Raises:
            InputError: there is only one class.
        """
        if self.classes < 2:
            expected = "true, or more than one target"
            raise InputError("mask_options.residual", "one class is not enough", found=self.residual, expected=expected)
        return [net(self.classes)]

    def predict(self, magnitudes: Tensor) -> dict[str, Tensor]:
        """Run the network on scaled magnitudes, see `Masking.predict`. The masks are those of the targets only."""
        outputs = self.nets[0](magnitudes)
        outputs = outputs if isinstance(outputs, dict) else {"masks": outputs}
        return outputs | {"masks": self.target_masks(outputs["masks"])}

    def target_masks(self, masks: Tensor) -> Tensor:
        """Return the targets' masks for every channel. Shape: [B, classes, C or 1, F, T] -> [B, S, C, F, T]."""
        return masks[:, : len(self.targets)].expand(-1, -1, self.channels, -1, -1)

    def energies(self, mixture: Tensor, sources: Tensor) -> Tensor:
        """Return the energy of each class, summed over channels. Shape: [B, C, T], [B, S, C, T] -> [B, classes, F, frames]."""
        if self.residual:
            sources = torch.cat([sources, (mixture - sources.sum(dim=1))[:, None]], dim=1)
        return magnitudes_of(self.stft(sources)).square().sum(dim=2)


def leaves_residual(targets: Iterable[str]) -> bool:
    """Return False if one target is the mixture minus the other targets, so that all targets sum to the mixture.

    Args:
        targets: names of the targets, or a mapping from each name to its terms: `[vocals]`, `[drums, bass]`, `[-vocals]`.

    Returns:
        Whether the sum of the targets can differ from the mixture. Always True if `targets` is not a mapping.
    """
    if not isinstance(targets, Dictionary):
        return True
    for name, terms in targets.items():
        others = sorted(term for other in targets if other != name for term in targets[other])
        if others and sorted(terms) == sorted(f"-{term}" for term in others):
            return False
    return True
