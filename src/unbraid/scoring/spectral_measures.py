"""Compare the magnitudes of the spectra of an estimate and its reference. Phases are ignored.

`BleedlessFullness` and `L1Frequency` are the measures of Music-Source-Separation-Training (MSST, Solovyev et al.).
`MRSTFT` is the loss of the package auraloss (Yamamoto et al., ICASSP 2020; Steinmetz and Reiss 2020). To compare
waveforms sample by sample, use `unbraid.scoring.measures` instead.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad

from unbraid.dsp.mel import slaney_filterbank
from unbraid.scoring.measures import Measure

BLOCK = 1 << 22  # number of spectrogram values that are computed at once; limits the memory


class BleedlessFullness(Measure):
    """Measure how much sound an estimate adds (bleedless) and how much sound it lacks (fullness), as MSST does.

    Both signals become mel spectrograms in dB: STFT with 4096 samples and a hop of 1024 samples, 512 mel bands, a lower limit
    80 dB below the largest value of each signal. D is the estimate minus the reference. With the mean p of the positive
    values of D and the mean n of the negative values, bleedless = 100 / (1 + p), and fullness = 100 / (1 - n). Without such
    values, the mean is 0. Both scores are in (0, 100]; 100 is best.
    """

    names = ("bleedless", "fullness")
    unit = "0 to 100"

    def __call__(self, reference: Tensor, estimate: Tensor, sample_rate: int) -> tuple[float, float]:
        """Compute bleedless and fullness, see the class and `Measure`."""
        true, made = (self._decibels(signal, sample_rate) for signal in (reference, estimate))
        difference = made - true
        return _of_100(_mean(difference[difference > 0])), _of_100(-_mean(difference[difference < 0]))

    @staticmethod
    def _decibels(signal: Tensor, sample_rate: int) -> Tensor:
        bank = _mel(512, 4096, sample_rate).to(signal.device)
        padded = pad(signal.float(), (2048, 2048))
        blocks = [bank @ magnitudes for magnitudes in _magnitudes(padded, 4096, 1024, torch.hann_window(4096))]
        decibels = 20 * torch.cat(blocks, dim=-1).clamp(min=1e-10).log10()
        return decibels.clamp(min=decibels.max() - 80)


class L1Frequency(Measure):
    """Compute the measure `l1_freq` of MSST from the mean absolute difference of two magnitude spectrograms.

    With the mean d over bins, frames and channels, the score is 100 / (1 + 10 d), in (0, 100]; 100 is best. The STFT has 2048
    samples, a hop of 1024 samples and a rectangular window. The score depends on the level of the music.
    """

    names = ("L1freq",)
    unit = "0 to 100"

    def __call__(self, reference: Tensor, estimate: Tensor, sample_rate: int) -> tuple[float]:
        """Compute the score, see the class and `Measure`."""
        total, count = 0.0, 0
        signals = (_reflected(signal.float(), 2048) for signal in (reference, estimate))
        for true, made in zip(*(_magnitudes(signal, 2048, 1024, torch.ones(2048)) for signal in signals), strict=True):
            total, count = total + float((made - true).abs().sum(dtype=torch.float64)), count + true.numel()
        return (_of_100(10 * total / count),)


class MRSTFT(Measure):
    """Compute the multi-resolution STFT loss of auraloss with its default options, with a minus sign. 0 is best.

    For each STFT, the loss is the sum of two terms. The first term is the spectral convergence |S - E| / |S|, with Frobenius
    norms of the magnitudes S of the reference and E of the estimate. The second term is the mean of |log S - log E|. The
    smallest magnitude is 1e-4. The loss is the mean over three STFTs: windows of 600, 1200 and 240 samples, hops of 120, 240
    and 50 samples, 1024, 2048 and 512 frequencies.
    """

    names = ("-MRSTFT",)
    unit = "no unit"
    resolutions = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))

    def __call__(self, reference: Tensor, estimate: Tensor, sample_rate: int) -> tuple[float]:
        """Compute the negative loss, see the class and `Measure`."""
        losses = [self._loss(reference.float(), estimate.float(), *resolution) for resolution in self.resolutions]
        return (0.0 - sum(losses) / len(losses),)

    @staticmethod
    def _loss(reference: Tensor, estimate: Tensor, n_fft: int, hop: int, length: int) -> float:
        around = n_fft - length
        window = pad(torch.hann_window(length), (around // 2, around - around // 2))
        blocks = [_magnitudes(_reflected(signal, n_fft), n_fft, hop, window) for signal in (reference, estimate)]
        error, energy, logarithms, count = 0.0, 0.0, 0.0, 0
        for true, made in zip(*blocks, strict=True):
            true, made = (magnitudes.square().clamp(min=1e-8).sqrt() for magnitudes in (true, made))
            error += float((true - made).square().sum(dtype=torch.float64))
            energy += float(true.square().sum(dtype=torch.float64))
            logarithms += float((true.log() - made.log()).abs().sum(dtype=torch.float64))
            count += true.numel()
        return (error / energy) ** 0.5 + logarithms / count


def _magnitudes(signal: Tensor, n_fft: int, hop: int, window: Tensor) -> Iterator[Tensor]:
    """Yield blocks [C, F, N] of the magnitude spectrogram of a padded signal [C, T]. A block has at most N frames."""
    frames = (signal.shape[-1] - n_fft) // hop + 1
    size = max(1, BLOCK // (n_fft // 2 + 1))
    for first, last in pairwise([*range(0, frames, size), frames]):
        part = signal[:, first * hop : (last - 1) * hop + n_fft]
        yield torch.stft(part, n_fft, hop, window=window.to(part), center=False, return_complex=True).abs()


def _reflected(signal: Tensor, n_fft: int) -> Tensor:
    """Pad both ends by half a window. A signal that is too short to be reflected is first extended with zeros."""
    missing = n_fft // 2 + 1 - signal.shape[-1]
    return pad(pad(signal, (0, max(0, missing))), (n_fft // 2, n_fft // 2), mode="reflect")


@lru_cache(maxsize=4)
def _mel(bands: int, n_fft: int, sample_rate: int) -> Tensor:
    return slaney_filterbank(bands, n_fft, sample_rate).float()


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else 0.0


def _of_100(distance: float) -> float:
    return 100 / (1 + distance)
