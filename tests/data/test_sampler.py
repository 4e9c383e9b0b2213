"""The sampler is a pure function of seed and step: draws do not depend on history, workers or ranks."""

import numpy as np
import pytest

from unbraid.data.sampler import ChunkSampler, EpochSteps, Sampling
from unbraid.runs.errors import InputError

LENGTHS = [1000, 5000, 300, 2000]
PLAIN = Sampling("tracks", 0.0, None, 0.0)


def sampler(**changes):
    options = {
        "seed": 1, "lengths": LENGTHS, "holds": np.ones((4, 2), bool), "chunk": 400, "batch_size": 8, "chunks_per_track": 16,
        "sampling": PLAIN,
    }  # fmt: skip
    return ChunkSampler(**(options | changes))


def epoch(number=0, **changes):
    """Return track indices and starts of all chunks of an epoch. Shape: [chunks, sources] each."""
    drawing = sampler(**changes)
    steps = range(number * drawing.steps_per_epoch, (number + 1) * drawing.steps_per_epoch)
    return tuple(np.concatenate(part) for part in zip(*(drawing.draw(step) for step in steps), strict=True))


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


ALL = {
    "plain": PLAIN,
    "time": Sampling("time", 0.0, None, 0.0),
    "remix": Sampling("tracks", 1.0, None, 0.0),
    "half remixed": Sampling("tracks", 0.5, None, 0.0),
}


@pytest.mark.parametrize("sampling", ALL.values(), ids=ALL)
def test_draws_do_not_depend_on_history(sampling):
    drawing, again = sampler(sampling=sampling), sampler(sampling=sampling)
    backward = {step: again.draw(step) for step in reversed(range(20))}
    assert all(same(drawing.draw(step), backward[step]) for step in range(20))


@pytest.mark.parametrize(("seed", "step"), [(2, 3), (1, 4), (1, 3 + 8)])  # an epoch has 8 steps
def test_seeds_steps_and_epochs_draw_differently(seed, step):
    assert not same(sampler().draw(3), sampler(seed=seed).draw(step))


@pytest.mark.parametrize("sampling", ALL.values(), ids=ALL)
def test_ranks_share_the_draw_of_one_process(sampling):
    whole = sampler(sampling=sampling, batch_size=8).draw(5)
    parts = [sampler(sampling=sampling, batch_size=2, rank=rank, world_size=4).draw(5) for rank in range(4)]
    assert same([np.concatenate(part) for part in zip(*parts, strict=True)], whole)


@pytest.mark.parametrize("sampling", ALL.values(), ids=ALL)
@pytest.mark.parametrize("world_size", [1, 2])
def test_accumulated_steps_share_the_draw_of_one_large_batch(sampling, world_size):
    for rank in range(world_size):
        changes = {"sampling": sampling, "rank": rank, "world_size": world_size}
        large, small = sampler(batch_size=8, **changes), sampler(batch_size=2, accumulate=4, **changes)
        assert small.steps_per_epoch == 4 * large.steps_per_epoch
        for update in range(2 * large.steps_per_epoch):  # of two epochs
            parts = [small.draw(4 * update + step) for step in range(4)]
            assert same([np.concatenate(part) for part in zip(*parts, strict=True)], large.draw(update))


def test_lengths_depend_on_seed_and_update_only():
    def lengths(**changes):
        drawing = sampler(shortest=100, **changes)
        return [drawing.samples(step) for step in range(16)]

    assert lengths() == lengths(rank=1, world_size=2) != lengths(seed=2)
    assert lengths(accumulate=4) == [length for length in lengths()[:4] for _ in range(4)]
    assert sampler().samples(0) == 400 == sampler(shortest=400).samples(3)


@pytest.mark.parametrize("over", ["tracks", "time"])
@pytest.mark.parametrize("world_size", [1, 2])
def test_no_chunk_repeats_within_an_epoch(over, world_size):
    long = [1000, 5000, 3000, 2000]
    parts = [
        epoch(3, lengths=long, sampling=Sampling(over, 0.0, None, 0.0), rank=rank, world_size=world_size, batch_size=4)
        for rank in range(world_size)
    ]
    tracks, starts = (np.concatenate(part)[:, 0] for part in zip(*parts, strict=True))
    assert len(tracks) == 64 and len({*zip(tracks.tolist(), starts.tolist(), strict=True)}) == 64


def test_over_tracks_all_tracks_have_equal_shares():
    for number in range(3):
        tracks, _ = epoch(number)
        assert np.bincount(tracks[:, 0]).tolist() == [16, 16, 16, 16]


def test_over_time_all_positions_are_equally_likely():
    tracks, starts = epoch(sampling=Sampling("time", 0.0, None, 0.0), chunks_per_track=500)
    rooms = np.maximum(np.array(LENGTHS) - 400, 0) + 1
    assert np.bincount(tracks[:, 0]) / len(tracks) == pytest.approx(rooms / rooms.sum(), abs=0.002)
    quarters = np.histogram(starts[tracks[:, 0] == 1, 0], 4, (0, 4600))[0]
    assert quarters.max() - quarters.min() <= 2


@pytest.mark.parametrize("sampling", ALL.values(), ids=ALL)
def test_chunks_are_inside_tracks_and_cover_them(sampling):
    tracks, starts = epoch(sampling=sampling, chunks_per_track=400)
    room = np.maximum(np.array(LENGTHS) - 400, 0)
    assert (starts >= 0).all() and (starts <= room[tracks]).all()
    assert starts[tracks == 1].min() < 50 and starts[tracks == 1].max() > 4550
    assert (starts[tracks == 2] == 0).all()  # a track shorter than a chunk


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_remix_draws_sources_from_different_tracks(probability, expected):
    sampling = Sampling("tracks", probability, None, 0.0)
    tracks, starts = epoch(sampling=sampling, lengths=[5000] * 4, chunks_per_track=400)
    apart = (tracks[:, 0] != tracks[:, 1]) | (starts[:, 0] != starts[:, 1])
    assert apart.mean() == pytest.approx(expected, abs=0.05)
    assert set(tracks[:, 1]) == {0, 1, 2, 3}


def test_tracks_of_single_sources_are_always_mixed():
    holds = np.array([[True, False], [False, True], [True, False], [True, False]])
    tracks, _ = epoch(holds=holds)
    assert set(tracks[:, 0]) == {0, 2, 3} and set(tracks[:, 1]) == {1}
    assert len(tracks) == 3 * 16  # the source with the most tracks has three


def silent_below(position):
    return lambda tracks, starts, samples: starts[:, 0] < position


def test_silent_chunks_are_redrawn_except_a_share():
    def share(keep):
        sampling = Sampling("tracks", 0.0, -60.0, keep)
        _, starts = epoch(sampling=sampling, silent=silent_below(500), lengths=[1400] * 4, chunks_per_track=500)
        return (starts[:, 0] < 500).mean()

    assert share(1.0) == pytest.approx(0.5, abs=0.01)
    assert share(0.0) < 0.01
    # Half of the chunks are silent, and 30 % of them are kept.
    assert share(0.3) == pytest.approx(0.5 * 0.3, abs=0.03)


def test_redraws_do_not_depend_on_ranks():
    changes = {"sampling": Sampling("tracks", 0.5, -60.0, 0.2), "silent": silent_below(700)}
    whole = sampler(**changes).draw(5)
    parts = [sampler(batch_size=2, rank=rank, world_size=4, **changes).draw(5) for rank in range(4)]
    assert same([np.concatenate(part) for part in zip(*parts, strict=True)], whole)


def test_silent_data_is_drawn_anyway():
    tracks, _ = epoch(sampling=Sampling("tracks", 0.0, -60.0, 0.0), silent=silent_below(10**9))
    assert len(tracks) == 64


def test_a_batch_may_be_larger_than_an_epoch():
    drawing = sampler(batch_size=100, chunks_per_track=1)
    assert drawing.steps_per_epoch == 1 and drawing.draw(0)[0].shape == (100, 2)


def test_epoch_steps_are_numbered_over_the_run():
    positions = {(0, 0): [0, 1, 2], (1, 0): [3, 4, 5], (1, 2): [5], (1, 3): [6, 7, 8]}
    for position, steps in positions.items():
        assert list(EpochSteps(3, lambda position=position: position)) == steps
    assert len(EpochSteps(3, lambda: (1, 2))) == 3


@pytest.mark.parametrize(
    ("options", "where", "found"),
    [
        (("tracks", 1.5, None, 0.0), "remix", 1.5),
        (("tracks", 0.0, None, -0.1), "keep_silent", -0.1),
        (("tracks", 0.0, 3.0, 0.0), "skip_below_db", "3 dB"),
    ],
)
def test_arguments_out_of_range_are_refused(options, where, found):
    with pytest.raises(InputError) as error:
        Sampling(*options)
    assert (error.value.where, error.value.found) == (where, found)


def test_sources_with_fewer_tracks_repeat_no_chunk():
    holds = np.array([[True, False]] * 3 + [[False, True]] * 2)
    tracks, starts = epoch(lengths=[407] * 5, holds=holds, chunks_per_track=5, batch_size=5)  # 8 start positions per track
    assert len(tracks) == 15
    for source in range(2):
        assert len({*zip(tracks[:, source].tolist(), starts[:, source].tolist(), strict=True)}) == 15


def test_only_the_latest_deck_is_cached():
    drawing = sampler()
    for step in (0, 8, 16, 24):
        drawing.draw(step)
    assert {source: epoch for source, (epoch, _) in drawing.decks.items()} == {0: 3, 1: 3}


def test_each_redraw_chooses_remixes_anew():
    drawing = sampler(sampling=Sampling("tracks", 0.5, None, 0.0), batch_size=64, lengths=[5000] * 4)
    first, second = (starts[:, 0] != starts[:, 1] for _, starts in (drawing._redraw(0, attempt) for attempt in (1, 2)))
    assert 16 < first.sum() < 48 and not np.array_equal(first, second)
