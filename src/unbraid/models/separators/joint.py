"""Separators that mask the spectrogram of the mixture, with one network for all targets.

For one network per target, use `unbraid.models.separators.masking`.
"""

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
    """Separate by the masks of one network for all targets. In each bin, the masks of all classes sum to one.

    Args:
        net: function that takes the number of classes (targets and, if used, the residual) and returns a network. The network
            maps magnitudes [B, C, F, T] (batch, channels, bins, frames) to masks [B, classes, C or 1, F, T]. The network may
            also return a dict of `masks` and other fields of an `Estimate`.
        stft: STFT of the mixture.
        targets: names of the targets, in the order of the output.
        sample_rate: sample rate of all waveforms in Hz.
        channels: number of channels of all waveforms, 1 or 2.
        chunk_seconds: length in seconds of the chunks into which a longer mixture is cut; at least the window of the STFT.
        phase: method that converts masked spectra to waveforms, for example with the phase of the mixture. This method is used
            in evaluation only.
        scaling: scaling of the network's input. `patch`: magnitudes are divided by the largest magnitude of the chunk; `none`:
            magnitudes are not scaled.
        mask_options: changes of the masks in evaluation, and whether the residual (mixture minus all targets) is a class. With
            a single target, the residual must be a class.
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
        """Return the number of classes: all targets, plus one if the residual (mixture minus all targets) is a class."""
        return len(self.targets) + int(self.residual)

    def networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        """Create one network for all targets.

        Args:
            net: function that takes the number of classes and returns a network.

        Returns:
            A list of one network.

        Raises:
            InputError: there is only one class: one target, and the residual is not a class.
        """
        if self.classes < 2:
            problem = "masks with the sum 1 need at least two outputs, but the model has only one target"
            hint = "Choose several targets, or set mask_options.residual=true to add the rest of the mixture as an output."
            raise InputError("mask_options.residual", problem, hint=hint)
        return [net(self.classes)]

    def predict(self, magnitudes: Tensor) -> dict[str, Tensor]:
        """Run the network on scaled magnitudes, see `Masking.predict`. Only the masks of the targets are returned."""
        outputs = self.nets[0](magnitudes)
        outputs = outputs if isinstance(outputs, dict) else {"masks": outputs}
        return outputs | {"masks": self.target_masks(outputs["masks"])}

    def target_masks(self, masks: Tensor) -> Tensor:
        """Select the masks of the targets, without the residual, for every channel.

        Shape: [B, classes, C or 1, F, T] -> [B, S, C, F, T].
        """
        return masks[:, : len(self.targets)].expand(-1, -1, self.channels, -1, -1)

    def energies(self, mixture: Tensor, sources: Tensor) -> Tensor:
        """Compute the true energy of each class (targets and residual) in each bin, summed over channels.

        Shape: mixture [B, C, T], sources [B, S, C, T] -> [B, classes, F, frames].
        """
        if self.residual:
            sources = torch.cat([sources, (mixture - sources.sum(dim=1))[:, None]], dim=1)
        return magnitudes_of(self.stft(sources)).square().sum(dim=2)


def leaves_residual(targets: Iterable[str]) -> bool:
    """Return whether the mixture can contain a residual, that is, sound that is not part of any target.

    Args:
        targets: names of the targets, or a mapping from the name of each target to a list of source names. `[drums, bass]` is
            the sum of two sources. `[-vocals]` is the mixture minus the vocals.

    Returns:
        False if one target is the mixture minus all other targets, because the targets then sum to the mixture. True in all
        other cases, and if `targets` is not a mapping.
    """
    if not isinstance(targets, Dictionary):
        return True
    for name, terms in targets.items():
        others = sorted(term for other in targets if other != name for term in targets[other])
        if others and sorted(terms) == sorted(f"-{term}" for term in others):
            return False
    return True
