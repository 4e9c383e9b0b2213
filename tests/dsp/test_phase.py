"""How masked spectra come to sound, and what may be done to masks on the way."""

from functools import partial

import pytest
import torch

from tests.models.test_separators import Constant
from unbraid.dsp.phase import GriffinLim, MixturePhase, Phase, Wiener
from unbraid.dsp.stft import STFT, spectral_convergence
from unbraid.models.separators.mask_options import MaskOptions
from unbraid.models.separators.masking import Masking
from unbraid.runs.errors import InputError

STEREO = torch.randn(1, 2, 16384, generator=torch.Generator().manual_seed(0))


def masking(phase: Phase, value=0.5, targets=("vocals", "rest"), **options):
    return Masking(partial(Constant, value), STFT(1024, 256), targets, 8192, 2, 2.0, phase, mask_options=MaskOptions(**options)).eval()


@pytest.mark.parametrize("phase", [MixturePhase(), GriffinLim(3, 0.9, "mixture", 0), Wiener(1, False, False, 30)])
def test_halves_are_halves_in_every_phase(phase):
    sources = masking(phase)(STEREO).sources
    torch.testing.assert_close(sources, 0.5 * STEREO.unsqueeze(1).expand(-1, 2, -1, -1), atol=2e-4, rtol=1e-3)


def test_random_phases_are_drawn_from_the_seed_and_get_better():
    short, again, long = (masking(GriffinLim(n, 0.99, "random", 1))(STEREO).sources for n in (2, 2, 30))
    other = masking(GriffinLim(2, 0.99, "random", 2))(STEREO).sources
    assert torch.equal(short, again) and not torch.equal(short, other)
    stft = STFT(1024, 256)
    wanted = 0.5 * stft(STEREO).abs()
    assert spectral_convergence(wanted, long[:, 0], stft) < spectral_convergence(wanted, short[:, 0], stft) - 3


def test_one_target_is_filtered_beside_what_it_leaves():
    with pytest.raises(InputError, match=r"one target alone has nothing to be told from; set phase\.residual=true"):
        masking(Wiener(1, False, False, 300), targets=["vocals"])(STEREO).sources  # noqa: B018
    assert masking(Wiener(1, False, True, 300), targets=["vocals"])(STEREO).sources.shape == (1, 1, 2, 16384)


@pytest.mark.parametrize(("options", "gain"), [({"mask_max": 0.2}, 0.2), ({"mask_power": 2.0}, 0.25), ({}, 0.5)])
def test_masks_are_clamped_and_raised_where_they_are_heard(options, gain):
    separator = masking(MixturePhase(), **options)
    estimate = separator(STEREO)
    torch.testing.assert_close(estimate.sources[:, 0], gain * STEREO, atol=1e-5, rtol=1e-4)
    assert (estimate.masks == 0.5).all()  # what a loss compares
    separator.train()
    torch.testing.assert_close(separator(STEREO).sources[:, 0], 0.5 * STEREO, atol=1e-5, rtol=1e-4)


def test_complex_masks_keep_their_phase_and_are_clamped_by_size():
    separator = masking(MixturePhase(), mask_max=0.25)
    turned = separator.refine(torch.full((1, 2, 2, 3, 4), 0.5j))
    torch.testing.assert_close(turned, torch.full((1, 2, 2, 3, 4), 0.25j))


def test_consistent_sources_sum_to_the_mixture():
    sources = masking(MixturePhase(), value=0.3, consistency=True)(STEREO).sources
    torch.testing.assert_close(sources.sum(dim=1), STEREO, atol=1e-5, rtol=1e-4)


def test_magnitude_losses_need_no_waveforms():
    class Deaf(Phase):
        def __call__(self, *_):
            raise AssertionError("nobody has asked for sound")

    assert masking(Deaf())(STEREO).magnitudes.shape[1] == 2


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: masking(MixturePhase(), mask_max=0.0), "mask_max: found 0.0"),
        (lambda: masking(MixturePhase(), mask_power=-1.0), "mask_power: found -1.0"),
        (lambda: masking(MixturePhase(), targets=["a"], consistency=True), "mask_options.consistency: "),
        (lambda: GriffinLim(0, 0.9, "mixture", 0), "iterations must be at least 1, found 0"),
        (lambda: GriffinLim(1, 1.0, "mixture", 0), r"momentum must lie in \[0, 1\), found 1.0"),
        (lambda: Wiener(-1, False, False, 300), "iterations must be at least 0, found -1"),
        (lambda: Wiener(1, False, False, 0), "window_frames must be at least 1, found 0"),
    ],
)
def test_what_cannot_be_is_said(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()
