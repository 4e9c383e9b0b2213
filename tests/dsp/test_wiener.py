"""Multichannel Wiener filter: agreement with Open-Unmix, and properties."""

import pytest
import torch
from openunmix.filtering import wiener as open_unmix_wiener

from unbraid.dsp.wiener import wiener


def spectra(channels=2, sources=3, frames=40, seed=0):
    random = torch.Generator().manual_seed(seed)
    mixture = 20 * torch.randn(1, channels, 33, frames, dtype=torch.complex64, generator=random)
    shares = torch.rand(1, sources, channels, 33, frames, generator=random)
    return shares * mixture.unsqueeze(1), mixture


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("iterations", [0, 1, 3])
@pytest.mark.parametrize("softmask", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_filter_equals_that_of_open_unmix(channels, iterations, softmask, residual):
    estimates, mixture = spectra(channels)
    filtered = wiener(estimates, mixture, iterations, softmask, residual, window_frames=300)
    magnitudes = estimates[0].abs().permute(3, 2, 1, 0)
    expected = open_unmix_wiener(magnitudes, torch.view_as_real(mixture[0].permute(2, 1, 0)), iterations, softmask, residual)
    expected = torch.view_as_complex(expected.permute(4, 2, 1, 0, 3).contiguous())
    assert (filtered[0] - expected).abs().max() < 1e-4 * mixture.abs().max()


def test_estimates_sum_to_the_mixture():
    estimates, mixture = spectra()
    filtered = wiener(estimates, mixture, 2, False, True, 300)
    assert (filtered.sum(dim=1) - mixture).abs().max() < 1e-3


def test_windows_and_items_are_filtered_independently():
    estimates, mixture = spectra(frames=50)
    estimates, mixture = torch.cat([estimates, 3 * estimates]), torch.cat([mixture, 3 * mixture])
    filtered = wiener(estimates, mixture, 1, False, False, 20)
    for item in range(2):
        for part in (slice(0, 20), slice(20, 40), slice(40, 50)):
            alone = wiener(estimates[item : item + 1, ..., part], mixture[item : item + 1, ..., part], 1, False, False, 20)
            torch.testing.assert_close(filtered[item : item + 1, ..., part], alone, rtol=1e-4, atol=1e-4)


def test_silence_stays_silent():
    silence = torch.zeros(1, 2, 2, 9, 5, dtype=torch.complex64)
    assert torch.equal(wiener(silence, silence[:, 0], 2, False, True, 300).abs(), torch.zeros(1, 3, 2, 9, 5))


def test_sources_at_two_positions_are_separated():
    """Separate a left and a right source that seldom overlap. The initial estimates do not contain the positions."""
    random = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 1, 9, 200, dtype=torch.complex64, generator=random)
    left[..., ::3], right[..., 1::3] = 0, 0
    true = torch.stack([torch.stack([left, 0.1 * left], 1), torch.stack([0.1 * right, right], 1)], 1)
    mixture = true.sum(dim=1)
    loudness = true.abs().square().mean(dim=2, keepdim=True).sqrt()
    start = loudness / loudness.sum(dim=1, keepdim=True) * mixture.unsqueeze(1)
    filtered = wiener(start, mixture, 2, False, False, 300)
    assert (filtered - true).abs().pow(2).sum() < 0.5 * (start - true).abs().pow(2).sum()
