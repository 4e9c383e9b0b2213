"""Compute the SDR of a whole track in octave bands, to find the frequencies in which an estimate is wrong.

For one number over all frequencies, use `usdr` in `unbraid.scoring.measures`.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from unbraid.scoring.measures import Measure

CENTRES = tuple(1000.0 * 2.0**octave for octave in range(-5, 5))  # Hz; IEC 61260 names them 31.5, 63, 125, ...
LIMIT = 1e-12  # an SDR is at most 120 dB, and a band 120 dB below the whole reference counts as silent


class OctaveSDR(Measure):
    """Compute the SDR of ten octave bands in dB: SDR = 10 log10 (energy of S in the band / energy of S - E in the band).

    S and E are the Fourier transforms of the whole reference and the whole estimate, over all channels. Band k has the centre
    f = 1000 * 2^k Hz for k = -5 to 4, and contains the frequencies from f / sqrt(2) to f * sqrt(2). The score is at most 120
    dB. It is undefined if the band begins above half the sample rate, or if the energy of the reference in the band is more
    than 120 dB below its energy in all frequencies.
    """

    names = ("SDR31", "SDR63", "SDR125", "SDR250", "SDR500", "SDR1k", "SDR2k", "SDR4k", "SDR8k", "SDR16k")

    def __call__(self, reference: Tensor, estimate: Tensor, sample_rate: int) -> list[float | None]:
        """Compute the SDR of each band, see the class and `Measure`."""
        size = 1 << (reference.shape[-1] - 1).bit_length()
        signal, error = (_powers(values, size) for values in (reference, estimate - reference))
        edges = [min(math.ceil(centre * 2**-0.5 * size / sample_rate), len(signal)) for centre in (*CENTRES, 2 * CENTRES[-1])]
        silent = LIMIT * float(signal.sum())
        scores: list[float | None] = []
        for low, high in pairwise(edges):
            above, below = float(signal[low:high].sum()), float(error[low:high].sum())
            scores.append(10 * math.log10(above / max(below, above * LIMIT)) if above > silent else None)
        return scores


def _powers(values: Tensor, size: int) -> Tensor:
    """Return the power of each frequency, summed over the channels."""
    return torch.fft.rfft(values.double(), size).abs().square().sum(dim=0)
