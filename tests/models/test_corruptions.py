"""Corruptions: as much as they say, from the generator only."""

import pytest
import torch

from unbraid.models.corruptions import FrequencyMask, Gaussian, Nothing, SaltAndPepper, Strokes, TimeMask, ZeroMasking
from unbraid.runs.errors import InputError

ALL = [Gaussian(0.3), ZeroMasking(0.3), SaltAndPepper(0.2), Strokes(2, 3), TimeMask(2, 8), FrequencyMask(2, 8)]
ITEMS = 0.25 + 0.5 * torch.rand(20, 2, 40, 50, generator=torch.Generator().manual_seed(1))


def spoil(corruption, seed=0):
    return corruption(ITEMS, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("corruption", ALL, ids=lambda one: type(one).__name__)
def test_it_depends_on_the_generator_and_leaves_the_original(corruption):
    before = ITEMS.clone()
    assert torch.equal(spoil(corruption), spoil(corruption))
    assert not torch.equal(spoil(corruption), spoil(corruption, seed=1))
    assert torch.equal(ITEMS, before)
    assert spoil(corruption).shape == ITEMS.shape


def test_shares_and_deviations_are_met():
    n = ITEMS.numel()
    noise = spoil(Gaussian(0.3)) - ITEMS
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert int((spoil(ZeroMasking(0.3)) == 0).sum()) / n == pytest.approx(0.3, abs=0.01)
    salted = spoil(SaltAndPepper(0.2))
    assert int((salted == 0).sum()) / n == pytest.approx(0.1, abs=0.01)
    assert int((salted == 1).sum()) / n == pytest.approx(0.1, abs=0.01)
    assert torch.equal(spoil(Nothing()), ITEMS)


def test_a_stroke_is_a_whole_row_and_a_whole_column():
    ones = spoil(Strokes(1, 3)) == 1
    for item in ones[:, 0]:
        rows, columns = item.all(dim=1), item.all(dim=0)
        assert (int(rows.sum()), int(columns.sum())) == (3, 3)
        assert torch.equal(item, rows[:, None] | columns[None])


@pytest.mark.parametrize(("corruption", "axis"), [(TimeMask(1, 8), 1), (FrequencyMask(1, 8), 0)])
def test_masks_are_stretches_of_at_most_the_given_length(corruption, axis):
    lengths = set()
    for item in spoil(corruption)[:, 0] == 0:
        masked = torch.nonzero(item.all(dim=1 - axis)).flatten()
        lengths.add(len(masked))
        assert torch.equal(masked, torch.arange(masked[0], masked[0] + len(masked)))
        assert int(item.sum()) == len(masked) * item.shape[1 - axis]
    assert max(lengths) <= 8
    assert len(lengths) > 3


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Gaussian(-0.1), "deviation must be a number of at least 0, found -0.1"),
        (lambda: Gaussian(float("nan")), "deviation must be a number of at least 0, found nan"),
        (lambda: Gaussian(float("inf")), "deviation must be a number of at least 0, found inf"),
        (lambda: ZeroMasking(float("nan")), r"share must lie in \[0, 1\], found nan"),
        (lambda: ZeroMasking(1.5), r"share must lie in \[0, 1\], found 1.5"),
        (lambda: SaltAndPepper(-1), r"share must lie in \[0, 1\], found -1"),
        (lambda: Strokes(0, 1), "count must be at least 1, found 0"),
        (lambda: TimeMask(1, 0), "longest must be at least 1, found 0"),
        (lambda: FrequencyMask(0, 1), "count must be at least 1, found 0"),
    ],
)
def test_levels_out_of_range_are_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()
