"""Oracles: properties of all oracles, and agreement with an independent implementation."""

from functools import cache

import numpy as np
import pytest
import scipy.signal
import torch

from tests.scoring.conftest import random_sources
from unbraid.data.demo_songs.song import STEMS, render_song
from unbraid.dsp.stft import STFT
from unbraid.scoring.measures import usdr
from unbraid.scoring.oracles import ORACLES, phase_sensitive

MASKS = ["psm", "irm", "irm2", "ibm", "mwf"]


def tones(samples: int = 16000) -> torch.Tensor:
    """Return two tones without common bins. Shape: [2, 1, T]."""
    time = torch.arange(samples) / 8000
    return torch.stack([torch.sin(2 * torch.pi * 300 * time), 0.5 * torch.sin(2 * torch.pi * 2100 * time)])[:, None]


@pytest.mark.parametrize("name", MASKS)
def test_sources_that_do_not_overlap_are_separated(name):
    sources = tones()
    estimates = ORACLES[name](sources.sum(dim=0), sources, STFT(1024, 256))
    assert all(usdr(true, made) > 30 for true, made in zip(sources, estimates, strict=True))


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("channels", [1, 2])
def test_oracles_are_better_than_the_mixture(name, channels):
    sources = random_sources(3, channels, 20000).float()
    mixture = sources.sum(dim=0)
    estimates = ORACLES[name](mixture, sources, STFT(512, 128))
    assert estimates.shape == sources.shape
    assert all(usdr(true, made) > usdr(true, mixture) + 0.5 for true, made in zip(sources, estimates, strict=True))


@pytest.mark.parametrize("name", ["ibm", "irm2", "mwf"])
def test_two_sources_add_up_to_the_mixture(name):
    sources = random_sources(2, 2, 20000).float()
    mixture = sources.sum(dim=0)
    assert usdr(mixture, ORACLES[name](mixture, sources, STFT(512, 128)).sum(dim=0)) > 40


def test_residual_is_one_more_source():
    """Separate two of three sources: the third one must not change their estimates."""
    sources = random_sources(3, 2, 20000).float()
    mixture = sources.sum(dim=0)
    some = ORACLES["mwf"](mixture, sources[:2], STFT(512, 128))
    torch.testing.assert_close(some, ORACLES["mwf"](mixture, sources, STFT(512, 128))[:2], atol=2e-3, rtol=0)


def test_wiener_filter_uses_directions():
    """Separate a left and a right source with the same spectrum, which a mask cannot separate."""
    noise = torch.randn(2, 20000, generator=torch.Generator().manual_seed(0))
    sources = torch.stack([noise[0] * torch.tensor([[1.0], [0.3]]), noise[1] * torch.tensor([[0.3], [1.0]])])
    mixture = sources.sum(dim=0)
    ratios = {name: usdr(sources[0], ORACLES[name](mixture, sources, STFT(512, 128))[0]) for name in MASKS}
    assert ratios["mwf"] > ratios["irm"] + 6


@pytest.mark.parametrize(
    ("source", "mixture", "mask"),
    [(1, 2, 0.5), (1 + 1j, 2, 0.5), (1j, 1, 0), (-1, 1, 0), (3, 1, 1), (1 + 1j, 1 - 1j, 0), (2j, 4j, 0.5), (1, 0, 0)],
)
def test_phase_sensitive_masks_computed_by_hand(source, mixture, mask):
    assert float(phase_sensitive(torch.tensor(source + 0j), torch.tensor(mixture + 0j))) == mask


def test_phase_sensitive_mask_has_the_smallest_error():
    """Compare with a grid of masks and with random masks in each of 400 bins."""
    generator = torch.Generator().manual_seed(0)
    source, mixture = torch.randn(2, 400, generator=generator, dtype=torch.complex128)
    others = torch.cat([torch.linspace(0, 1, 501), torch.rand(500, generator=generator)]).double()[:, None]
    mask = phase_sensitive(source, mixture)
    best = (mask * mixture - source).abs()
    assert mask.min() == 0 and mask.max() == 1
    assert ((others * mixture - source).abs() >= best - 1e-12).all()


@cache
def demo_song() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mixture [2, T], and vocals and accompaniment [2, 2, T]."""
    song = {name: torch.from_numpy(samples).float() / 2**15 for name, samples in render_song(0, 8.0).items()}
    return song["mixture"], torch.stack([song["vocals"], song["mixture"] - song["vocals"]])


@pytest.mark.parametrize("stft", [(1024, 768), (2048, 512)])
@pytest.mark.parametrize("other", ["irm", "irm2", "ibm"])
def test_phase_sensitive_mask_has_the_highest_scores(stft, other):
    mixture, sources = demo_song()
    best, made = (ORACLES[name](mixture, sources, STFT(*stft)) for name in ("psm", other))
    assert all(usdr(true, b) > usdr(true, m) + 0.3 for true, b, m in zip(sources, best, made, strict=True))


def test_ratio_of_powers_equals_that_of_sisec():
    """Compare with the formula of the script of SiSEC 2018, in numpy with the default STFT of SciPy."""
    song = {name: samples / 2**15 for name, samples in render_song(1, 3.0).items()}
    powers = {name: np.abs(scipy.signal.stft(song[name], nperseg=2048)[-1]) ** 2 for name in STEMS}
    spectrum, model = scipy.signal.stft(song["mixture"], nperseg=2048)[-1], sum(powers.values()) + np.finfo(float).eps
    expected = [scipy.signal.istft(spectrum * powers[name] / model)[1][:, : song["mixture"].shape[1]] for name in STEMS]
    sources = torch.from_numpy(np.stack([song[name] for name in STEMS])).float()
    estimates = ORACLES["irm2"](torch.from_numpy(song["mixture"]).float(), sources, STFT(2048, 1024))
    assert np.abs(estimates.numpy() - np.stack(expected)).max() < 1e-5


def test_binary_masks_keep_or_drop_a_bin():
    sources, stft = tones(), STFT(1024, 256)
    mixture = sources.sum(dim=0)
    shares = stft(ORACLES["ibm"](mixture, sources, stft)[0]).abs() / stft(mixture).abs().clamp(min=1e-3)
    loud = stft(mixture).abs() > 1
    assert ((shares[loud] < 0.05) | (shares[loud] > 0.95)).float().mean() > 0.9


@pytest.mark.parametrize("name", [*ORACLES])
def test_silence_gives_silence(name):
    silence = torch.zeros(2, 2, 4000)
    assert ORACLES[name](silence[0], silence, STFT(512, 128)).abs().max() == 0


def test_untouched_returns_the_mixture():
    sources = random_sources(3, 2, 100).float()
    assert (ORACLES["mixture"](sources.sum(dim=0), sources, STFT(64, 16)) == sources.sum(dim=0)).all()
