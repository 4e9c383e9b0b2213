"""The store: what was decoded comes back, once, whole or not at all."""

import os
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from filelock import FileLock

from tests.conftest import RATE, write_song
from unbraid import audio
from unbraid.data import store as store_module
from unbraid.data.musdb import MUSDB18
from unbraid.data.store import Store
from unbraid.data.tracks import AudioStream
from unbraid.errors import InputError


def open_all(root, folder, rate=44100, channels=2):
    return Store(folder, rate, channels).open(MUSDB18().tracks(root), progress=False)


def test_samples_come_back_within_one_step_of_16_bits(songs, tmp_path):
    track = open_all(songs, tmp_path)[0]
    whole = track.tensor().numpy()
    assert track.sources == ("bass", "drums", "other", "vocals") and track.length == 3 * 44100
    for row, name in enumerate(("mixture", *track.sources)):
        (expected,), _ = audio.read(songs / "train/song 0" / f"{name}.wav")
        assert np.abs(whole[row] - expected).max() <= track.scale / 2 + 1e-7
    assert track.peak == pytest.approx(np.abs(whole[0]).max(), abs=track.scale)


def test_peaks_over_one_survive(stem_file, tmp_path):
    (tmp_path / "root/train").mkdir(parents=True)
    shutil.copy(stem_file, tmp_path / "root/train/A.stem.mp4")
    (track,) = open_all(tmp_path / "root", tmp_path / "store")
    decoded, _ = audio.read(stem_file, [0, 2, 1, 3, 4])  # the mixture, then by name
    assert np.abs(track.tensor().numpy() - np.stack(decoded)).max() <= track.scale / 2 + 1e-7
    assert track.peak > 1


def test_stems_may_be_louder_than_the_mixture(tmp_path):
    song = write_song(tmp_path / "root/train/song", seed=0)
    soundfile.write(tmp_path / "root/train/song/mixture.wav", song["mixture"] // 8, RATE, subtype="PCM_16")
    (track,) = open_all(tmp_path / "root", tmp_path / "store")
    assert np.abs(track.tensor()[2].numpy() - song["drums"].T / 32768).max() <= track.scale / 2 + 1e-7


def test_two_runs_wait_for_each_other(songs, tmp_path):
    track = MUSDB18().tracks(songs)[0]
    store = Store(tmp_path, 8192, 1)
    with FileLock(f"{store._entry(track)}.lock"):
        other = threading.Thread(target=store.open, args=([track], False))
        other.start()
        other.join(timeout=0.5)
        assert other.is_alive() and not store._entry(track).exists()
    other.join(timeout=30)
    assert store._entry(track).is_dir()


def test_rate_and_channels_are_the_models(songs, tmp_path):
    track = open_all(songs, tmp_path, rate=8192, channels=1)[0]
    assert track.samples.shape == (5, 1, 3 * 8192) and track.samples.dtype == np.int16


def test_a_track_is_decoded_once(songs, tmp_path, monkeypatch):
    first = open_all(songs, tmp_path)
    monkeypatch.setattr(store_module, "decode", None)  # calling it would raise
    second = open_all(songs, tmp_path)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first, second, strict=True))


def test_a_changed_file_is_decoded_again(own_songs, tmp_path):
    before = open_all(own_songs, tmp_path / "store")[0].tensor()
    write_song(own_songs / "train/song 0", seed=77)
    after = open_all(own_songs, tmp_path / "store")[0].tensor()
    assert not np.array_equal(before, after)


def test_an_entry_does_not_depend_on_the_order_of_the_sources(songs, tmp_path):
    track = MUSDB18().tracks(songs)[0]
    backwards = replace(track, sources=dict(reversed(track.sources.items())))
    (one,), (other,) = (Store(tmp_path, 8192, 1).open([t], progress=False) for t in (track, backwards))
    assert one.samples.filename == other.samples.filename


def test_nothing_is_written_beside_the_users_files(own_songs, tmp_path):
    before = sorted(own_songs.rglob("*"))
    open_all(own_songs, tmp_path / "store")
    assert sorted(own_songs.rglob("*")) == before


def break_length(folder):
    samples, rate = soundfile.read(folder / "bass.wav")
    soundfile.write(folder / "bass.wav", samples[:-1], rate)


def break_rate(folder):
    samples, _ = soundfile.read(folder / "bass.wav")
    soundfile.write(folder / "bass.wav", samples, 48000)


def break_text(folder):
    (folder / "bass.wav").write_text("not audio")


def break_truncate(folder):
    os.truncate(folder / "bass.wav", 5000)


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (break_length, "has 132299 samples, but the mixture of 'song 1' has 132300"),
        (break_rate, "has 48000 Hz, but the mixture of 'song 1' has 44100 Hz"),
        (break_text, "is damaged, truncated or not audio"),
        (break_truncate, "is truncated"),
    ],
)
def test_a_bad_file_is_named_and_leaves_no_entry(own_songs, tmp_path, break_it, sentence):
    break_it(own_songs / "train/song 1")
    with pytest.raises(InputError) as caught:
        open_all(own_songs, tmp_path / "store")
    assert "song 1/bass.wav" in str(caught.value) and sentence in str(caught.value)
    left = [path for path in (tmp_path / "store").iterdir() if path.suffix != ".lock"]
    assert len(left) == 1  # song 0, whole; nothing of song 1


def test_a_track_without_samples_is_named(tmp_path):
    write_song(tmp_path / "root/train/song", seed=0, seconds=0)
    with pytest.raises(InputError, match=r"mixture\.wav: holds no samples"):
        open_all(tmp_path / "root", tmp_path / "store")


def test_sources_may_share_files_and_streams(songs, tmp_path):
    track = MUSDB18().tracks(songs)[0]
    same = replace(track, sources={"a": track.sources["drums"], "b": AudioStream(track.sources["drums"].path)})
    (stored,) = Store(tmp_path, 44100, 2).open([same], progress=False)
    assert np.array_equal(stored.samples[1], stored.samples[2])
