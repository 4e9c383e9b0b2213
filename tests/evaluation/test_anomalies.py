"""Test the injection and detection of anomalies."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from unbraid.dsp.stft import STFT
from unbraid.evaluation.anomalies import (
    KINDS,
    Anomaly,
    Detector,
    auroc,
    inject,
    intervals,
    labelled,
    read_labels,
    smoothed,
    write_labels,
)
from unbraid.models.features import Spectra
from unbraid.runs.errors import InputError

RATE = 8192


def song(seconds=8.0):
    return 0.1 * np.random.default_rng(0).standard_normal((2, round(seconds * RATE))).astype(np.float32)


def test_injected_anomalies_keep_their_distance():
    samples = song()
    out, anomalies = inject(samples, list(KINDS), np.random.default_rng(1), RATE)
    assert sorted(a.kind for a in anomalies) == sorted(KINDS)
    inside = labelled(anomalies, samples.shape[1], 1 / RATE)
    assert np.array_equal(out[:, ~inside], samples[:, ~inside])
    edges = [0.0, *(edge for a in anomalies for edge in (a.start, a.stop)), 8.0]
    assert min(later - earlier for earlier, later in zip(edges[::2], edges[1::2], strict=True)) >= 0.5 - 1e-3
    for a in anomalies:
        assert a.stop - a.start == pytest.approx(KINDS[a.kind], abs=1e-3)
        part = slice(round(a.start * RATE), round(a.stop * RATE))
        assert not np.array_equal(out[:, part], samples[:, part])
        assert out[:, part].any() == (a.kind != "dropout")
    again, _ = inject(samples, list(KINDS), np.random.default_rng(1), RATE)
    assert np.array_equal(out, again)


def test_auroc_equals_scikit_learn():
    random = np.random.default_rng(0)
    labels = random.random(300) < 0.3
    scores = np.round(random.standard_normal(300) + labels, 1)  # with ties
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    assert auroc(scores, np.zeros(300, bool)) is None


def test_smoothing_averages_neighbours():
    values = torch.tensor([0.0, 3.0, 0.0, 0.0, 6.0])
    torch.testing.assert_close(smoothed(values, 3), torch.tensor([1.5, 1.0, 1.0, 2.0, 3.0]))
    assert torch.equal(smoothed(values, 1), values)


def test_intervals_are_joined_over_short_gaps():
    scores = torch.tensor([0.5, 2, 3, 0.5, 1.5, 0.5, 0.5, 0.5, 4])
    assert intervals(scores, 0.1, 0.15) == [
        (pytest.approx(0.1), pytest.approx(0.5), 3), (pytest.approx(0.8), pytest.approx(0.9), 4),
    ]  # fmt: skip
    assert len(intervals(scores, 0.1, 0.0)) == 3


def test_labels_are_written_and_read(tmp_path):
    known = [Anomaly(0.5, 1.25, "hum"), Anomaly(2, 3, "clicks")]
    write_labels(tmp_path / "labels.csv", known)
    assert read_labels(tmp_path / "labels.csv") == known


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("a,b\n1,2\n", "", "a, b"),
        ("", "", "no columns"),
        ("start,stop\n1,x\n", "", None),
        ("start,stop\n1,\n", "", None),
        ("start,stop\n1,2\n3,3\n", ", line 3", "3.0 to 3.0 s"),
    ],
)
def test_invalid_labels_are_refused(tmp_path, text, line, found):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_labels(path)
    assert (error.value.where, error.value.found) == (f"{path}{line}", found)


def detector():
    """Return the detector of a task that reconstructs silence, so that errors are squared magnitudes."""
    features = Spectra(RATE, 1, 1.0, STFT(512, 256), 256, "linear", -80.0)
    task = SimpleNamespace(features=features, rebuild=torch.zeros_like)
    return Detector(task, smooth_seconds=0.1)


def test_tone_is_an_error_in_its_octave():
    searched = detector()
    octaves = []
    for bin_number in (2, 6, 12, 24, 48, 96, 192):
        tone = torch.sin(2 * torch.pi * bin_number * torch.arange(2 * RATE) / 512)[None]
        profile = searched._errors(tone)[20:-20].mean(dim=0)
        octaves.append(int(profile.argmax()))
        assert profile.sort().values[-2] < 1e-2 * profile.max()
    assert octaves == list(range(7))


def test_silence_among_noise_is_anomalous():
    searched = detector()
    noise = [torch.from_numpy(song()[:1]), torch.from_numpy(song()[1:])]
    searched.fit(noise[:1], noise[1:], quantile=0.99)
    scores = searched.scores(torch.zeros(1, RATE))
    assert scores.isfinite().all() and (scores > 1).all()
    assert (searched.scores(noise[1]) > 1).float().mean() == pytest.approx(0.01, abs=0.01)
