"""Test iKala and MIR-1K: the source of each channel, and the clips that share a split."""

from itertools import groupby

import numpy as np
import pytest

from tests.data import twins
from unbraid.data.layouts.ikala import KaraokeChannels
from unbraid.runs.errors import InputError


def test_the_channels_are_the_sources(tmp_path):
    song = twins.decoded(KaraokeChannels(1, 0.25, 0.25).tracks(twins.ikala(tmp_path)), "10161_verse")
    assert list(song.sources) == ["accompaniment", "vocals"] and song.rate == twins.RATE
    assert np.array_equal(song.sources["accompaniment"], twins.heard("10161_verse music"))
    assert np.array_equal(song.sources["vocals"], twins.heard("10161_verse voice"))
    assert np.array_equal(song.mixture, twins.heard("10161_verse music", "10161_verse voice"))


def test_clips_of_a_song_share_a_split(tmp_path):
    splits = twins.splits(KaraokeChannels(1, 0.25, 0.25).tracks(twins.ikala(tmp_path)))
    assert len(splits) == 8
    assert sorted(splits.values()) == 2 * ["test"] + 4 * ["train"] + 2 * ["valid"]
    for _, clips in groupby(sorted(splits), key=lambda name: name.split("_")[0]):
        assert len({splits[name] for name in clips}) == 1


def test_named_songs_and_singers(tmp_path):
    splits = twins.splits(KaraokeChannels(1, ["21025"], ["45305"]).tracks(twins.ikala(tmp_path / "ikala")))
    assert {name for name, split in splits.items() if split == "valid"} == {"21025_verse", "21025_chorus"}
    root = twins.mir1k(tmp_path / "mir1k")
    assert {
        name[:3] for name, split in twins.splits(KaraokeChannels(1, [], ["amy"]).tracks(root)).items() if split == "test"
    } == {"amy"}
    splits = twins.splits(KaraokeChannels(2, [], ["amy_1"]).tracks(root))
    assert {name for name, split in splits.items() if split == "test"} == {"amy_1_01", "amy_1_02"}


def test_a_mono_file_is_named(tmp_path):
    twins.write(twins.ikala(tmp_path) / "Wavfile/10161_verse.wav", twins.sound("mono"))
    with pytest.raises(InputError) as caught:
        twins.decoded(KaraokeChannels(1, 0.1, 0.1).tracks(tmp_path), "10161_verse")
    assert caught.value.where == str(tmp_path / "Wavfile/10161_verse.wav") and caught.value.found == 1


def test_a_name_with_too_few_parts_is_named(tmp_path):
    twins.empty(twins.ikala(tmp_path) / "Wavfile/noise.wav")
    with pytest.raises(InputError) as caught:
        KaraokeChannels(2, 0.1, 0.1).tracks(tmp_path)
    assert (caught.value.where, caught.value.found) == (str(tmp_path / "Wavfile/noise.wav"), 1)
    assert "id_parts=2" in caught.value.expected


def test_an_id_of_no_parts_is_refused():
    with pytest.raises(InputError) as caught:
        KaraokeChannels(0, 0.1, 0.1)
    assert (caught.value.where, caught.value.found) == ("id_parts", 0)


@pytest.mark.parametrize(("folder", "found"), [("train", "train"), ("Wavfile", None), ("Wavfile/deep", "deep")])
def test_another_layout_is_named_with_its_files(tmp_path, folder, found):
    (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        KaraokeChannels(1, 0.1, 0.1).tracks(tmp_path)
    assert (caught.value.where, caught.value.found) == (str(tmp_path), found)
