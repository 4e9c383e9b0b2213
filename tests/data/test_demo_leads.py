"""Properties of the demo leads: monophonic, deterministic, with different timbres."""

from functools import cache

import numpy as np
import pytest

from unbraid.data.demo_songs.leads import LEADS, render_leads
from unbraid.data.demo_songs.sounds import SAMPLE_RATE
from unbraid.data.layouts.demo import DemoLeads
from unbraid.runs.errors import InputError

SECONDS = 8.0


@cache
def leads(seed: int) -> dict[str, np.ndarray]:
    return render_leads(seed, SECONDS)


def spectra(track: np.ndarray) -> np.ndarray:
    """Return the power spectra of the frames that are not silent. Shape: [frames, bins]."""
    frames = np.lib.stride_tricks.sliding_window_view(track.astype(float), 4096)[::2048]
    frames = frames[frames.std(axis=1) > 100]
    return np.abs(np.fft.rfft(frames * np.hanning(4096))) ** 2


def test_leads_are_deterministic_and_sum_to_mixture():
    again = render_leads(1, SECONDS)
    assert list(leads(1)) == [*LEADS, "mixture"]
    for name, track in leads(1).items():
        assert track.dtype == np.int16 and track.shape == (1, round(SECONDS * SAMPLE_RATE))
        assert np.array_equal(again[name], track) and not np.array_equal(leads(2)[name], track)
    assert np.array_equal(leads(1)["mixture"], sum(leads(1)[name] for name in LEADS))


@pytest.mark.parametrize("name", ["reed", "string"])
def test_instruments_are_periodic(name):
    """The peak of the autocorrelation within the range of pitch periods is above 0.85 in most frames."""
    power = spectra(leads(1)[name][0])
    lags = np.fft.irfft(power)
    lags = lags / lags[:, :1]
    periods = lags[:, SAMPLE_RATE // 1200 : SAMPLE_RATE // 100]
    assert np.median(periods.max(axis=1)) > 0.85


def test_reed_has_stronger_odd_harmonics():
    shares = {}
    for name in ("reed", "string"):
        power = spectra(leads(3)[name][0])
        best = np.fft.irfft(power)[:, SAMPLE_RATE // 800 : SAMPLE_RATE // 120].argmax(axis=1) + SAMPLE_RATE // 800
        f0 = SAMPLE_RATE / best
        bins = np.rint(f0[:, None] * np.arange(1, 5) * 4096 / SAMPLE_RATE).astype(int)
        harmonics = np.take_along_axis(power, bins, axis=1)
        shares[name] = np.median(10 * np.log10(harmonics[:, 1] / harmonics[:, 2]))
    assert shares["reed"] < shares["string"]


def test_layout_has_one_source_per_lead(tmp_path):
    layout = DemoLeads(train=1, valid=1, test=1, seconds=1.0, seed=0)
    with pytest.raises(InputError):
        layout.tracks(tmp_path)
    layout.fetch(tmp_path)
    tracks = layout.tracks(tmp_path).tracks
    assert [track.split for track in tracks] == ["train", "valid", "test"]
    assert all(track.source_names == LEADS for track in tracks)
