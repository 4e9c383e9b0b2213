"""Tests of the corruptions: amount, dependence on the generator, and invalid arguments."""

import pytest
import torch

from unbraid.models.corruptions import FrequencyMask, Gaussian, Nothing, SaltAndPepper, Strokes, TimeMask, ZeroMasking
from unbraid.runs.errors import InputError

ALL = [Gaussian(0.3), ZeroMasking(0.3), SaltAndPepper(0.2), Strokes(2, 3), TimeMask(2, 8), FrequencyMask(2, 8)]
ITEMS = 0.25 + 0.5 * torch.rand(20, 2, 40, 50, generator=torch.Generator().manual_seed(1))


def spoil(corruption, seed=0):
    return corruption(ITEMS, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("corruption", ALL, ids=lambda corruption: type(corruption).__name__)
def test_result_depends_on_the_generator_only(corruption):
    before = ITEMS.clone()
    assert torch.equal(spoil(corruption), spoil(corruption))
    assert not torch.equal(spoil(corruption), spoil(corruption, seed=1))
    assert torch.equal(ITEMS, before)
    assert spoil(corruption).shape == ITEMS.shape


def test_amount_of_noise_is_as_configured():
    n = ITEMS.numel()
    noise = spoil(Gaussian(0.3)) - ITEMS
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert int((spoil(ZeroMasking(0.3)) == 0).sum()) / n == pytest.approx(0.3, abs=0.01)
    salted = spoil(SaltAndPepper(0.2))
    assert int((salted == 0).sum()) / n == pytest.approx(0.1, abs=0.01)
    assert int((salted == 1).sum()) / n == pytest.approx(0.1, abs=0.01)
    assert torch.equal(spoil(Nothing()), ITEMS)


def test_stroke_is_a_row_and_a_column():
    ones = spoil(Strokes(1, 3)) == 1
    for item in ones[:, 0]:
        rows, columns = item.all(dim=1), item.all(dim=0)
        assert (int(rows.sum()), int(columns.sum())) == (3, 3)
        assert torch.equal(item, rows[:, None] | columns[None])


@pytest.mark.parametrize(("corruption", "axis"), [(TimeMask(1, 8), 1), (FrequencyMask(1, 8), 0)])
def test_length_of_masks_is_limited(corruption, axis):
    lengths = set()
    for item in spoil(corruption)[:, 0] == 0:
        masked = torch.nonzero(item.all(dim=1 - axis)).flatten()
        lengths.add(len(masked))
        assert torch.equal(masked, torch.arange(masked[0], masked[0] + len(masked)))
        assert int(item.sum()) == len(masked) * item.shape[1 - axis]
    assert {1, 8} <= lengths <= {*range(1, 9)}


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: Gaussian(-0.1), "deviation"),
        (lambda: Gaussian(float("nan")), "deviation"),
        (lambda: Gaussian(float("inf")), "deviation"),
        (lambda: ZeroMasking(float("nan")), "share"),
        (lambda: ZeroMasking(1.5), "share"),
        (lambda: SaltAndPepper(-1), "share"),
        (lambda: Strokes(0, 1), "count"),
        (lambda: TimeMask(1, 0), "longest"),
        (lambda: FrequencyMask(0, 1), "count"),
    ],
)
def test_values_out_of_range_are_refused(make, where):
    with pytest.raises(InputError) as error:
        make()
    assert error.value.where.startswith(where)
