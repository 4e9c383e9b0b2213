"""Separators that classify each bin of a spectrogram."""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp.phase import Phase
from unbraid.dsp.stft import STFT
from unbraid.models.separators.base import Estimate
from unbraid.models.separators.joint import SILENT, JointMasking, Residual
from unbraid.models.separators.masking import Scaling

IGNORED = -100  # the label of bins in which nothing sounds; what cross-entropy leaves out


class Segmenting(JointMasking):
    """Decides for every bin which source is the loudest; the masks follow from that.

    Args:
        net: function from the number of classes to a network: magnitudes [B, C, F, T] to logits [B, classes, F, T].
        hard: masks are 1 for the likeliest class and 0 for the others; or else they are the probabilities.
        others: as `JointMasking`.
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
        mask_max: float | None = None,
        mask_power: float = 1.0,
        consistency: bool = False,
        residual: Residual = "auto",
    ) -> None:
        super().__init__(
            net,
            stft,
            targets,
            sample_rate,
            channels,
            chunk_seconds,
            phase,
            scaling,
            mask_max,
            mask_power,
            consistency,
            residual,
        )
        self.hard = hard

    def predict(self, magnitudes: Tensor) -> dict[str, Tensor]:
        logits = self.nets[0](magnitudes)
        if self.hard:
            masks = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).movedim(-1, 1).float()
        else:
            masks = logits.softmax(dim=1)
        return {"masks": self.of_targets(masks.unsqueeze(2)), "logits": logits}

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        energies = self.energies(mixture, sources)
        labels = energies.argmax(dim=1)
        labels[energies.amax(dim=1) < SILENT] = IGNORED
        truth = super().training_target(mixture, sources, estimate, magnitude_difference)
        truth.labels = labels
        return truth
