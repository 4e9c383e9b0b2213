"""Test statistics of mixtures: they equal those of all frames at once, and are stored."""

import numpy as np
import pytest
import torch

from tests.data.test_module import module
from unbraid.data import statistics as statistics_module
from unbraid.data.statistics import song_scales, statistics
from unbraid.data.tracks import MIXTURE
from unbraid.dsp.stft import STFT


@pytest.mark.parametrize("stft", [STFT(256, 64, "reflection"), STFT(200, 150), STFT(64, 63)])
@pytest.mark.parametrize("segment", [7, 100_000])
def test_statistics_equal_those_of_all_frames(songs, tmp_path, monkeypatch, stft, segment):
    monkeypatch.setattr(statistics_module, "SEGMENT_FRAMES", segment)
    tracks = module(songs, tmp_path, channels=2).split("train")
    computed = statistics(tracks, stft, tmp_path / "statistics", progress=False)
    whole = [stft(track.tensor([MIXTURE])[0]).abs().numpy().astype(np.float64).mean(axis=0) for track in tracks]
    frames = np.concatenate(whole, axis=-1)
    assert len(tracks) == 2 and frames.shape[0] == stft.n_fft // 2 + 1
    np.testing.assert_allclose(computed.mean.numpy(), frames.mean(axis=-1), rtol=1e-6)
    np.testing.assert_allclose(computed.deviation.numpy(), frames.std(axis=-1), rtol=1e-5)


def test_statistics_are_computed_once(songs, tmp_path, monkeypatch):
    tracks, stft, folder = module(songs, tmp_path).split("train"), STFT(256, 64), tmp_path / "statistics"
    first = statistics(tracks, stft, folder, progress=False)
    one_track, other_stft = (
        statistics(*arguments, folder, progress=False)
        for arguments in ((tracks[:1], stft), (tracks, STFT(256, 64, "reflection")))
    )
    assert not torch.equal(one_track.mean, first.mean) and not torch.equal(other_stft.mean, first.mean)
    assert len([*folder.glob("*.npz")]) == 3 and not [*folder.glob(".partial*")]

    def never(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(statistics_module, "_compute", never)
    for order in (tracks, tracks[::-1]):
        again = statistics(order, stft, folder, progress=False)
        assert torch.equal(again.mean, first.mean) and torch.equal(again.deviation, first.deviation)
    with pytest.raises(AssertionError):
        statistics(tracks, STFT(256, 32), folder, progress=False)


def test_a_track_shorter_than_a_window_counts(songs, tmp_path):
    tracks = module(songs, tmp_path).split("train")
    stft = STFT(65536, 16384, "reflection")
    assert tracks[0].length < stft.n_fft / 2
    assert statistics(tracks, stft, tmp_path / "statistics", progress=False).mean.max() > 0


def test_song_scales_are_those_of_whole_mixtures(songs, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics_module, "SEGMENT_SAMPLES", 1000)
    tracks = module(songs, tmp_path, channels=2).split("train")
    mono = [track.tensor([MIXTURE])[0].mean(dim=0) for track in tracks]
    expected = torch.tensor([[x.mean() for x in mono], [x.std() for x in mono]])
    scales = song_scales(tracks, tmp_path / "statistics", progress=False)
    torch.testing.assert_close(scales, expected, rtol=1e-5, atol=1e-8)
    monkeypatch.setattr(statistics_module, "_samples", None)
    assert torch.equal(song_scales(tracks, tmp_path / "statistics", progress=False), scales)
    with pytest.raises(TypeError):
        song_scales(tracks[:1], tmp_path / "statistics", progress=False)
