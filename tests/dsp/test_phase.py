"""Waveforms from masked spectra, and the options that change masks."""

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
    net, mask_options = partial(Constant, value), MaskOptions(**options)
    return Masking(net, STFT(1024, 256), targets, 8192, 2, 2.0, phase, mask_options=mask_options).eval()


@pytest.mark.parametrize("phase", [MixturePhase(), GriffinLim(3, 0.9, "mixture", 0), Wiener(1, False, False, 30)])
def test_half_masks_give_half_the_mixture(phase):
    sources = masking(phase)(STEREO).sources
    torch.testing.assert_close(sources, 0.5 * STEREO.unsqueeze(1).expand(-1, 2, -1, -1), atol=2e-4, rtol=1e-3)


def test_random_phases_depend_on_seed_and_iterations():
    short, again, long = (masking(GriffinLim(n, 0.99, "random", 1))(STEREO).sources for n in (2, 2, 30))
    other = masking(GriffinLim(2, 0.99, "random", 2))(STEREO).sources
    assert torch.equal(short, again) and not torch.equal(short, other)
    stft = STFT(1024, 256)
    magnitudes = 0.5 * stft(STEREO).abs()
    assert spectral_convergence(magnitudes, long[:, 0], stft) < spectral_convergence(magnitudes, short[:, 0], stft) - 3


def test_one_target_needs_the_residual():
    with pytest.raises(InputError) as error:
        masking(Wiener(1, False, False, 300), targets=["vocals"])(STEREO).sources  # noqa: B018
    assert error.value.where == "phase.residual" and "phase.residual=true" in error.value.hint
    assert masking(Wiener(1, False, True, 300), targets=["vocals"])(STEREO).sources.shape == (1, 1, 2, 16384)


@pytest.mark.parametrize(("options", "gain"), [({"mask_max": 0.2}, 0.2), ({"mask_power": 2.0}, 0.25), ({}, 0.5)])
def test_mask_options_apply_to_sources_only(options, gain):
    separator = masking(MixturePhase(), **options)
    estimate = separator(STEREO)
    torch.testing.assert_close(estimate.sources[:, 0], gain * STEREO, atol=1e-5, rtol=1e-4)
    assert (estimate.masks == 0.5).all()  # losses use the masks without options
    separator.train()
    torch.testing.assert_close(separator(STEREO).sources[:, 0], 0.5 * STEREO, atol=1e-5, rtol=1e-4)


def test_magnitude_of_complex_masks_is_clamped():
    separator = masking(MixturePhase(), mask_max=0.25)
    turned = separator.refine(torch.full((1, 2, 2, 3, 4), 0.5j))
    torch.testing.assert_close(turned, torch.full((1, 2, 2, 3, 4), 0.25j))


def test_consistent_sources_sum_to_the_mixture():
    sources = masking(MixturePhase(), value=0.3, consistency=True)(STEREO).sources
    torch.testing.assert_close(sources.sum(dim=1), STEREO, atol=1e-5, rtol=1e-4)


def test_magnitude_losses_need_no_waveforms():
    class Unused(Phase):
        def __call__(self, *_):
            raise AssertionError("magnitudes need no waveforms")

    assert masking(Unused())(STEREO).magnitudes.shape[1] == 2


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: masking(MixturePhase(), mask_max=0.0), "mask_max"),
        (lambda: masking(MixturePhase(), mask_power=-1.0), "mask_power"),
        (lambda: masking(MixturePhase(), targets=["a"], consistency=True), "mask_options.consistency"),
        (lambda: GriffinLim(0, 0.9, "mixture", 0), "iterations"),
        (lambda: GriffinLim(1, 1.0, "mixture", 0), "momentum"),
        (lambda: Wiener(-1, False, False, 300), "iterations"),
        (lambda: Wiener(1, False, False, 0), "window_frames"),
    ],
)
def test_options_out_of_range_are_refused(make, key):
    with pytest.raises(InputError) as error:
        make()
    assert error.value.where.startswith(key)
