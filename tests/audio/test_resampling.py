"""Resampling: tones below the new Nyquist frequency pass, and tones above it are removed."""

import numpy as np

from unbraid import audio


def test_only_tones_below_the_new_nyquist_pass():
    time = np.arange(44100) / 44100
    tones = np.stack([np.sin(2 * np.pi * f * time) for f in (1000.0, 6000.0)]).astype(np.float32)
    low, high = audio.resample(tones, 44100, 8192)
    expected = np.sin(2 * np.pi * 1000 * np.arange(len(low)) / 8192)
    middle = slice(500, -500)
    assert len(low) == 8192
    assert np.abs(low[middle] - expected[middle]).max() < 1e-4
    assert np.abs(high[middle]).max() < 1e-4


def test_blocks_equal_the_whole_signal():
    whole = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 20_000)).astype(np.float32)
    blocks = [whole[:, :7], whole[:, 7:9_000], whole[:, 9_000:]]
    joined = np.concatenate([*audio.resample_blocks(blocks, 44100, 16000)], axis=1)
    assert np.abs(joined - audio.resample(whole, 44100, 16000)).max() < 1e-6
