"""Robust losses equal their definition, and wrong stems do not influence the trimmed error."""

import math

import pytest
import torch

from unbraid.models.separators.base import Estimate
from unbraid.models.waveform_losses import L1SNR, LogWMSELoss, TrimmedMSE
from unbraid.runs.errors import InputError
from unbraid.scoring.log_wmse import LogWMSE


def random(seed, shape=(4, 2, 1, 1000)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("quantile", [0.5, 0.75, 0.9])
@pytest.mark.parametrize("whole", [True, False])
def test_errors_above_the_quantile_are_ignored(whole, quantile):
    """The result equals the definition of MSST: errors below the linearly interpolated quantile, averaged over all errors."""
    estimate, reference = random(0, (6, 2, 2, 100)), random(1, (6, 2, 2, 100))
    errors = (estimate - reference).square().movedim(1, 0)
    errors = errors.mean(dim=(-1, -2)) if whole else errors.flatten(1)
    limits = torch.quantile(errors, quantile, dim=1, keepdim=True)
    expected = torch.where(errors < limits, errors, 0.0).mean()
    assert torch.isclose(TrimmedMSE(quantile, whole)(Estimate(estimate), Estimate(reference)), expected)


def test_a_batch_of_one_chunk_is_kept():
    estimate, reference = random(0, (1, 2, 1, 100)), random(1, (1, 2, 1, 100))
    assert torch.isclose(TrimmedMSE(0.9)(Estimate(estimate), Estimate(reference)), (estimate - reference).square().mean())


def test_a_wrong_stem_has_no_gradient():
    reference = random(1)
    estimate = (reference + 0.1 * random(0)).requires_grad_()
    wrong = reference.clone()
    wrong[2, 0] = 5 * random(3)[2, 0]
    TrimmedMSE(0.75)(Estimate(estimate), Estimate(wrong)).backward()
    assert estimate.grad[2, 0].abs().max() == 0
    assert estimate.grad[[0, 1, 3], 0].abs().amax(dim=(-1, -2)).min() > 0


def test_l1_snr_of_a_known_error():
    reference = random(1)
    assert L1SNR()(Estimate(0.9 * reference), Estimate(reference)).item() == pytest.approx(-10, abs=1e-3)
    assert L1SNR()(Estimate(0 * reference), Estimate(reference)).item() == pytest.approx(0, abs=1e-6)
    silent = torch.zeros(1, 1, 1, 100)
    loss = L1SNR(0.1)(Estimate(silent + 0.01), Estimate(silent))
    assert loss.item() == pytest.approx(10 * math.log10(1.1 / 0.1), abs=1e-4)


def test_l1_snr_ignores_the_level_of_the_song():
    estimate, reference = random(0), random(1)
    loss = L1SNR(1e-9)
    quiet = loss(Estimate(1e-3 * estimate), Estimate(1e-3 * reference))
    assert torch.isclose(quiet, loss(Estimate(estimate), Estimate(reference)), atol=1e-4)


def test_log_wmse_is_the_negative_measure():
    """The measure also ignores inaudible errors, of which this signal has none."""
    estimate, reference = random(0, (2, 2, 2, 9000)), random(1, (2, 2, 2, 9000))
    mixture = reference.sum(dim=1) + 0.1 * random(2, (2, 2, 9000))
    loss = LogWMSELoss()(Estimate(estimate), Estimate(reference, waveform=mixture))
    scores = [LogWMSE()(reference[b, s], estimate[b, s], 44100, mixture[b])[0] for b in range(2) for s in range(2)]
    assert loss.item() == pytest.approx(-sum(scores) / 4, abs=1e-3)


def test_log_wmse_of_silence_has_finite_gradients():
    silent = torch.zeros(1, 1, 1, 9000)
    for mixture in (silent[:, 0], random(1, (1, 1, 9000))):
        estimate = (1e-3 * random(0, silent.shape)).requires_grad_()
        LogWMSELoss()(Estimate(estimate), Estimate(silent, waveform=mixture)).backward()
        assert estimate.grad.isfinite().all() and estimate.grad.any()


def test_log_wmse_needs_the_mixture():
    reference = random(1, (1, 1, 1, 9000))
    with pytest.raises(InputError) as error:
        LogWMSELoss()(Estimate(reference), Estimate(reference))
    assert error.value.where == "model.loss" and "waveform" in error.value.problem


@pytest.mark.parametrize(
    ("make", "where", "found"),
    [
        (lambda: TrimmedMSE(0.0), "quantile", 0.0),
        (lambda: TrimmedMSE(1.1), "quantile", 1.1),
        (lambda: L1SNR(0.0), "epsilon", 0.0),
    ],
)
def test_invalid_options_are_named(make, where, found):
    with pytest.raises(InputError) as error:
        make()
    assert (error.value.where, error.value.found) == (where, found)
