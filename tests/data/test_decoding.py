"""What lies in the files of a track comes out as its sources and mixture."""

import numpy as np
import pytest

from tests.data import twins
from unbraid.data.decoding import decode
from unbraid.data.tracks import AudioStream, Track
from unbraid.errors import InputError


def track(tmp_path, *files, **options):
    """One source for each (name, samples, rate)."""
    streams = {name: (AudioStream(twins.write(tmp_path / f"{name}.wav", samples, rate)),) for name, samples, rate in files}
    return Track("song", "train", streams, **options)


def tone(rate, seconds=1.0):
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


def test_sources_that_do_not_belong_together_may_differ_in_rate_and_length(tmp_path):
    unlike = track(tmp_path, ("slow", tone(16000, 1.5), 16000), ("fast", tone(32000), 32000), equal_lengths=False)
    decoded = decode(unlike)
    assert decoded.rate == 32000 and decoded.mixture.shape == (1, 32000)
    assert decoded.cut_seconds == pytest.approx(0.5)
    middle = slice(8000, 24000)  # what resampling does at the ends is another matter
    assert np.abs(decoded.sources["slow"] - decoded.sources["fast"])[:, middle].max() < 1e-3


def test_sources_that_belong_together_may_not(tmp_path):
    with pytest.raises(InputError, match=r"b\.wav: has 32000 Hz, but a\.wav of 'song' has 16000 Hz"):
        decode(track(tmp_path, ("a", tone(16000), 16000), ("b", tone(32000), 32000)))
    with pytest.raises(InputError, match=r"d\.wav: has 8000 samples, but c\.wav of 'song' has 16000"):
        decode(track(tmp_path, ("c", tone(16000), 16000), ("d", tone(16000, 0.5), 16000)))


def test_a_mono_source_sounds_on_both_sides(tmp_path):
    both = np.stack([tone(8000), -tone(8000)], axis=1)
    decoded = decode(track(tmp_path, ("mono", tone(8000), 8000), ("stereo", both, 8000)))
    assert np.abs(decoded.mixture[1]).max() < 1e-4 < np.abs(decoded.mixture[0]).max()


def test_a_track_of_nothing_is_said():
    with pytest.raises(InputError, match="song: has neither a mixture nor a source with samples"):
        decode(Track("song", "train", {"vocals": ()}))


def test_a_channel_that_is_not_there_is_said(tmp_path):
    path = twins.write(tmp_path / "mono.wav", tone(8000), 8000)
    with pytest.raises(InputError, match=r"mono\.wav: has 1 channel, expected at least 2"):
        decode(Track("song", "train", {"vocals": (AudioStream(path, channel=1),)}))
