"""The ideal ratio mask."""

import torch

from unbraid.dsp import STFT
from unbraid.scoring.measures import usdr
from unbraid.scoring.oracles import ideal_ratio_mask


def test_sources_in_different_bins_come_apart_and_their_sum_is_the_mixture():
    time = torch.arange(16384) / 8192
    sources = torch.stack([torch.sin(2 * torch.pi * f * time)[None] for f in (400.0, 1600.0)])
    mixture = sources.sum(dim=0)
    estimates = ideal_ratio_mask(mixture, sources, STFT(1024, 256))
    assert min(usdr(source, estimate) for source, estimate in zip(sources, estimates, strict=True)) > 25
    assert (estimates.sum(dim=0) - mixture).abs().max() < 1e-5


def test_a_silent_source_gets_nothing():
    mixture = torch.randn(1, 8192)
    assert ideal_ratio_mask(mixture, torch.zeros(1, 1, 8192), STFT(1024, 256)).abs().max() == 0
