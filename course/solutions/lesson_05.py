"""Answers of lesson 5."""

import torch
from torch import Tensor

from unbraid.dsp.stft import STFT

# 1024 / 2 + 1 bins, 8192 Hz / 1024.
exercise_1 = (513, 8.0)

# 4 is louder than 1; 4 / (4 + 1); 4 / 3, clamped to 1.
exercise_2 = [1, 0.8, 1]


def exercise_3(spectrum: Tensor, magnitudes: Tensor, stft: STFT, samples: int) -> Tensor:
    """Compute one iteration of Griffin-Lim."""
    consistent = stft(stft.inverse(spectrum, samples))
    return torch.polar(magnitudes, consistent.angle())
