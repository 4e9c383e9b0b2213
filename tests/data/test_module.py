"""Batches: what is gathered is what lies in the tracks, whoever gathers it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from unbraid.data.module import MultitrackData
from unbraid.data.musdb import MUSDB18
from unbraid.errors import InputError

VOCALS = {"vocals": ["vocals"]}


def module(songs, tmp_path, **changes):
    options = {
        "layout": MUSDB18(), "root": str(songs), "download": False, "targets": VOCALS, "sample_rate": 8192, "channels": 1,
        "chunk_seconds": 1.0, "batch_size": 4, "chunks_per_track": 6, "workers": 0, "cache_dir": str(tmp_path), "seed": 0,
    }  # fmt: skip
    data = MultitrackData(**(options | changes))
    data.prepare_data()
    data.setup("fit")
    return data


def test_a_batch_is_cut_from_the_tracks(songs, tmp_path):
    data = module(songs, tmp_path, batch_size=16)
    batch = data.train_dataloader().dataset[5]
    indices, starts = data.train_dataloader().dataset.sampler.draw(5)
    assert set(indices) == {0, 1}
    assert batch.mixture.shape == (16, 1, 8192) and batch.sources.shape == (16, 1, 1, 8192)
    for i, (index, start) in enumerate(zip(indices, starts, strict=True)):
        track = data.split("train")[index]
        expected = track.tensor()[..., start : start + 8192]
        assert torch.allclose(batch.mixture[i], expected[0]) and torch.allclose(batch.sources[i, 0], expected[4])
        assert batch.peak[i] == pytest.approx(track.peak)


def test_targets_are_sums(songs, tmp_path):
    both = module(songs, tmp_path, targets=VOCALS | {"accompaniment": ["-vocals"]}).train_dataloader().dataset[0]
    assert (both.sources.sum(dim=1) - both.mixture).abs().max() < 1e-3  # the songs' mixtures are their exact sums
    rest = module(songs, tmp_path, targets={"rest": ["-vocals"]}).train_dataloader().dataset[0]
    assert torch.allclose(rest.sources[:, 0], both.sources[:, 1], atol=1e-6)


def test_workers_do_not_change_the_batches(songs, tmp_path):
    alone, helped = (list(module(songs, tmp_path, workers=workers).train_dataloader()) for workers in (0, 2))
    assert len(alone) == 3  # 6 chunks of 2 tracks in batches of 4
    assert all(
        torch.equal(a.mixture, b.mixture) and torch.equal(a.sources, b.sources) for a, b in zip(alone, helped, strict=True)
    )


def test_a_track_shorter_than_a_chunk_ends_in_silence(songs, tmp_path):
    batch = module(songs, tmp_path, chunk_seconds=5.0).train_dataloader().dataset[0]
    assert batch.mixture.shape[-1] == 5 * 8192
    assert batch.mixture[..., 3 * 8192 :].abs().max() == 0 and batch.mixture[..., : 3 * 8192].abs().max() > 0.1


def test_validation_reads_whole_tracks(songs, tmp_path):
    (batch,) = module(songs, tmp_path).val_dataloader()
    assert batch.mixture.shape == (1, 1, 3 * 8192)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, found 0"),
        ({"chunks_per_track": 0}, "chunks_per_track must be at least 1, found 0"),
        ({"cache_dir": ""}, "cache_dir is empty, expected a folder"),
        ({"root": ""}, "root is empty, expected a folder"),
        ({"workers": -1}, "workers must be at least 0, found -1"),
        ({"root": "/nowhere"}, "data.root=/nowhere: no such folder"),
    ],
)
def test_what_it_cannot_use_is_said(songs, tmp_path, changes, sentence):
    with pytest.raises(InputError) as caught:
        module(songs, tmp_path, **changes)
    assert sentence in str(caught.value)


def test_an_empty_split_is_named_before_anything_is_decoded(own_songs, tmp_path):
    (own_songs / "valid").rename(own_songs / "other")
    with pytest.raises(InputError, match="has no tracks in its valid split"):
        module(own_songs, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_an_unknown_source_is_named_before_anything_is_decoded(songs, tmp_path):
    with pytest.raises(InputError, match=r"targets\.x: the data has no source 'piano'"):
        module(songs, tmp_path / "cache", targets={"x": ["piano"]})
    assert not (tmp_path / "cache").exists()


def test_ranks_validate_on_tracks_of_their_own(songs, tmp_path):
    data = module(songs, tmp_path)
    data.tracks = [replace(track, split="valid") for track in data.tracks]
    seen = []
    for rank in range(2):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        seen.append([track.name for track in data.val_dataloader().dataset.tracks])
    assert seen == [["song 0", "song 2"], ["song 1", "song 3"]]
