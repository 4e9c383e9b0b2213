"""Oracles, from what must hold of any of them."""

import pytest
import torch

from tests.scoring.conftest import random_sources
from unbraid.dsp import STFT
from unbraid.scoring.measures import usdr
from unbraid.scoring.oracles import ORACLES

MASKS = ["irm", "ibm", "mwf"]


def tones(samples: int = 16000) -> torch.Tensor:
    """Two that no bin shares. Shape: [2, 1, T]."""
    time = torch.arange(samples) / 8000
    return torch.stack([torch.sin(2 * torch.pi * 300 * time), 0.5 * torch.sin(2 * torch.pi * 2100 * time)])[:, None]


@pytest.mark.parametrize("name", MASKS)
def test_sources_that_do_not_overlap_are_separated(name):
    sources = tones()
    estimates = ORACLES[name](sources.sum(dim=0), sources, STFT(1024, 256))
    assert all(usdr(true, made) > 30 for true, made in zip(sources, estimates, strict=True))


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("channels", [1, 2])
def test_noise_is_separated_better_than_by_leaving_it(name, channels):
    sources = random_sources(3, channels, 20000).float()
    mixture = sources.sum(dim=0)
    estimates = ORACLES[name](mixture, sources, STFT(512, 128))
    assert estimates.shape == sources.shape
    assert all(usdr(true, made) > usdr(true, mixture) + 0.5 for true, made in zip(sources, estimates, strict=True))


@pytest.mark.parametrize("name", ["ibm", "mwf"])
def test_two_sources_add_up_to_the_mixture(name):
    sources = random_sources(2, 2, 20000).float()
    mixture = sources.sum(dim=0)
    assert usdr(mixture, ORACLES[name](mixture, sources, STFT(512, 128)).sum(dim=0)) > 40


def test_what_the_sources_leave_counts_as_one_more():
    """Of a mixture of three, two are asked for; the Wiener filter must not give the third to them."""
    sources = random_sources(3, 2, 20000).float()
    mixture = sources.sum(dim=0)
    some = ORACLES["mwf"](mixture, sources[:2], STFT(512, 128))
    torch.testing.assert_close(some, ORACLES["mwf"](mixture, sources, STFT(512, 128))[:2], atol=2e-3, rtol=0)


def test_the_wiener_filter_hears_where_sources_are():
    """Both have the same spectrum, and lie left and right: a mask cannot tell them apart, directions can."""
    noise = torch.randn(2, 20000, generator=torch.Generator().manual_seed(0))
    sources = torch.stack([noise[0] * torch.tensor([[1.0], [0.3]]), noise[1] * torch.tensor([[0.3], [1.0]])])
    mixture = sources.sum(dim=0)
    found = {name: usdr(sources[0], ORACLES[name](mixture, sources, STFT(512, 128))[0]) for name in MASKS}
    assert found["mwf"] > found["irm"] + 6


def test_binary_masks_keep_or_drop_a_bin():
    sources, stft = tones(), STFT(1024, 256)
    mixture = sources.sum(dim=0)
    kept = stft(ORACLES["ibm"](mixture, sources, stft)[0]).abs() / stft(mixture).abs().clamp(min=1e-3)
    loud = stft(mixture).abs() > 1
    assert ((kept[loud] < 0.05) | (kept[loud] > 0.95)).float().mean() > 0.9


@pytest.mark.parametrize("name", [*ORACLES])
def test_silence_gives_silence(name):
    silence = torch.zeros(2, 2, 4000)
    assert ORACLES[name](silence[0], silence, STFT(512, 128)).abs().max() == 0


def test_the_mixture_is_left_as_it_is():
    sources = random_sources(3, 2, 100).float()
    assert (ORACLES["mixture"](sources.sum(dim=0), sources, STFT(64, 16)) == sources.sum(dim=0)).all()
