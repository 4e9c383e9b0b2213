"""Separators that classify each bin of a spectrogram: a bin is assigned to its loudest source.

For networks that estimate masks directly, use `unbraid.models.separators.joint`.
"""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp.phase import Phase
from unbraid.dsp.stft import STFT
from unbraid.models.separators.base import Estimate
from unbraid.models.separators.joint import SILENT, JointMasking
from unbraid.models.separators.mask_options import AUTO_RESIDUAL, JointMaskOptions
from unbraid.models.separators.masking import Scaling

IGNORED = -100  # label of silent bins; the default `ignore_index` of torch's cross-entropy


class Segmenting(JointMasking):
    """Separate by classifying each bin of the spectrogram. The class of a bin is its loudest source.

    Args:
        net: function that takes the number of classes (targets and, if used, the residual) and returns a network. The network
            maps magnitudes [B, C, F, T] (batch, channels, bins, frames) to logits [B, classes, F, T].
        stft: STFT of the mixture.
        targets: names of the targets, in the order of the output.
        sample_rate: sample rate of all waveforms in Hz.
        channels: number of channels of all waveforms, 1 or 2.
        chunk_seconds: length in seconds of the chunks into which a longer mixture is cut; at least the window of the STFT.
        phase: method that converts masked spectra to waveforms, for example with the phase of the mixture. This method is used
            in evaluation only.
        hard: True: the mask of the most probable class is 1, and all other masks are 0. False: the masks are the probabilities
            of the classes.
        scaling: scaling of the network's input. `patch`: magnitudes are divided by the largest magnitude of the chunk; `none`:
            magnitudes are not scaled.
        mask_options: changes of the masks in evaluation, and whether the residual (mixture minus all targets) is a class.
    """

    def __init__(
        self,
        net: Callable[[int], nn.Module],
        stft: STFT,
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        phase: Phase,
        hard: bool,
        scaling: Scaling = "patch",
        mask_options: JointMaskOptions = AUTO_RESIDUAL,
    ) -> None:
        super().__init__(net, stft, targets, sample_rate, channels, chunk_seconds, phase, scaling, mask_options)
        self.hard = hard

    def predict(self, magnitudes: Tensor) -> dict[str, Tensor]:
        """Compute the masks of the targets and the logits of all classes, see `Masking.predict`."""
        logits = self.nets[0](magnitudes)
        if self.hard:
            masks = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).movedim(-1, 1).float()
        else:
            masks = logits.softmax(dim=1)
        return {"masks": self.target_masks(masks.unsqueeze(2)), "logits": logits}

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """Return the true sources with the true class of each bin, see `Separator.training_target`.

        Silent bins have the label -100, which the loss ignores.
        """
        energies = self.energies(mixture, sources)
        truth = super().training_target(mixture, sources, estimate, magnitude_difference)
        truth.labels = energies.argmax(dim=1).masked_fill(energies.amax(dim=1) < SILENT, IGNORED)
        return truth
