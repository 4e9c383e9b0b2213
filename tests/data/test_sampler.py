"""The sampler is a pure function: no history, no workers, no ranks in what is drawn."""

import numpy as np
import pytest

from unbraid.data.sampler import ChunkSampler, EpochSteps

LENGTHS = [1000, 5000, 300]


def draws(step, **changes):
    return ChunkSampler(**({"seed": 1, "lengths": LENGTHS, "chunk": 400, "batch_size": 8} | changes)).draw(step)


def test_the_same_step_is_the_same_draw_in_any_order():
    forward = [draws(step) for step in range(5)]
    backward = [draws(step) for step in reversed(range(5))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))


@pytest.mark.parametrize("changes", [{"seed": 2}, {"step": 4}])
def test_seeds_and_steps_draw_otherwise(changes):
    changes = dict(changes)
    assert not np.array_equal(draws(3), draws(changes.pop("step", 3), **changes))


def test_ranks_share_what_one_process_would_draw():
    whole = draws(7, batch_size=8)
    parts = [draws(7, batch_size=2, rank=rank, world_size=4) for rank in range(4)]
    assert np.array_equal(np.concatenate(parts, axis=1), np.stack(whole))


def test_chunks_lie_inside_their_tracks_and_cover_all_of_it():
    tracks, starts = draws(0, batch_size=20000)
    assert set(tracks) == {0, 1, 2}
    assert starts.min() == 0
    assert starts[tracks == 0].max() == 600 and starts[tracks == 1].max() > 4500
    assert (starts[tracks == 2] == 0).all()  # shorter than a chunk: from its beginning
    assert np.allclose(np.bincount(tracks) / 20000, 1 / 3, atol=0.02)


def test_epochs_number_their_steps_through():
    steps = EpochSteps(3)
    first = list(steps)
    steps.set_epoch(1)
    assert (first, list(steps), len(steps)) == ([0, 1, 2], [3, 4, 5], 3)
