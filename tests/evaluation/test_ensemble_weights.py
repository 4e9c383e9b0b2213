"""Weights of ensembles: the least squares of each band, cross-validation, silent tracks, and the simplex."""

import numpy as np
import pytest
import torch

from tests.models.test_ensemble import RATE, combined, member
from unbraid.evaluation.ensemble_weights import best_members, convex_weights, fit_weights, member_statistics, onto_simplex


@pytest.fixture
def model():
    return combined([member(1.0, 1.0) for _ in range(3)], edges_hz=[1000.0])


def songs(number, noises, seed=0):
    """Return `number` songs: true sources, and the estimates of members with noise of the given levels."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(number):
        references = torch.randn(2, 1, 4 * RATE, generator=generator)
        yield (
            torch.stack([references + noise * torch.randn(references.shape, generator=generator) for noise in noises]),
            references,
        )


def test_weights_are_inverse_to_the_noise(model):
    statistics = [member_statistics(model, *song) for song in songs(4, [0.5, 0.5, 1.0])]
    weights = fit_weights(statistics)
    expected = torch.tensor([4.0, 4.0, 1.0]) / 9  # inverse variances
    assert weights.shape == (2, 2, 3) and (weights - expected).abs().max() < 0.02
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 2, dtype=weights.dtype))
    assert set(best_members(statistics).tolist()) <= {0, 1}


def test_loud_songs_do_not_dominate(model):
    quiet = [member_statistics(model, 1e-3 * estimates, 1e-3 * truth) for estimates, truth in songs(3, [0.2, 1.0, 1.0])]
    loud = [member_statistics(model, *song) for song in songs(1, [1.0, 0.2, 1.0], seed=1)]
    assert (fit_weights(quiet + loud)[..., 0] > 0.7).all()


def test_statistics_are_those_of_the_waveforms(model):
    ((estimates, references),) = songs(1, [0.5, 0.3, 1.0])
    found = member_statistics(model, estimates, references)
    ratio = found.energy.sum(dim=-1) / references.double().square().sum(dim=(1, 2))
    errors = (found.products[..., 1, 1] - 2 * found.cross[..., 1] + found.energy).sum(dim=-1)
    expected = (estimates[1] - references).double().square().sum(dim=(1, 2))
    torch.testing.assert_close(errors / expected, ratio, atol=0, rtol=0.01)
    by_hand = 10 * torch.log10(references.double().square().sum(dim=(1, 2)) / expected)
    torch.testing.assert_close(found.scores[1], by_hand, atol=1e-4, rtol=0)


def test_weights_that_do_not_generalise_are_dropped(model):
    """Member 0 is best. Member 1 helps with the first song only, and harms with the second one."""
    (estimates, references), (other, truth) = songs(2, [0.5, 0.5, 2.0])
    estimates[1] = 2 * references - estimates[0]  # its error cancels the error of member 0
    other[1] = other[0] + 3 * (other[0] - truth)
    weights = fit_weights([member_statistics(model, estimates, references), member_statistics(model, other, truth)])
    assert torch.equal(weights, torch.tensor([1.0, 0, 0], dtype=weights.dtype).expand(2, 2, 3))
    alone = fit_weights([member_statistics(model, estimates, references)])  # a single song is not cross-validated
    assert (alone[..., :2] - 0.5).abs().max() < 0.02


def test_silent_sources_have_no_influence(model):
    heard = [member_statistics(model, *song) for song in songs(3, [0.5, 1.0, 1.0])]
    ((estimates, references),) = songs(1, [9.0, 0.1, 9.0], seed=2)
    references[0] = 0
    silent = member_statistics(model, estimates, references)
    assert silent.scores[:, 0].isnan().all() and silent.scores[:, 1].isfinite().all()
    torch.testing.assert_close(fit_weights([*heard, silent])[0], fit_weights(heard)[0], atol=0.02, rtol=0)
    references[:] = 0
    nothing = fit_weights([member_statistics(model, estimates, references)])
    assert torch.equal(nothing.sum(dim=-1), torch.ones(2, 2, dtype=nothing.dtype))


def test_projection_is_the_closest_point():
    values = torch.tensor([[0.2, 0.3, 0.5], [2.0, 0.0, 0.0], [0.6, 0.6, -1.0], [-1.0, -1.0, -1.0]]).double()
    expected = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]]).double()
    torch.testing.assert_close(onto_simplex(values), expected)


def test_convex_weights_beat_a_grid():
    rows = np.random.default_rng(0).standard_normal((5, 40, 3))
    truth = rows @ [0.7, 0.6, -0.4] + 0.1  # the best weights without bounds do not sum to 1
    products, cross = (torch.tensor(x) for x in (np.einsum("bnm,bnk->bmk", rows, rows), np.einsum("bnm,bn->bm", rows, truth)))
    found = convex_weights(products, cross).numpy()
    grid = np.array([(a, b, 100 - a - b) for a in range(101) for b in range(101 - a)]) / 100

    def error(weights):
        return np.einsum("bwm,bmk,bwk->bw", weights, products, weights) - 2 * np.einsum("bwm,bm->bw", weights, cross)

    lowest = error(np.broadcast_to(grid, (5, *grid.shape))).min(axis=1)
    assert (error(found[:, None])[:, 0] <= lowest + 1e-9).all() and (found >= 0).all()
