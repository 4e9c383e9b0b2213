"""PESQ and ESTOI: extreme estimates, order of estimates, and errors. The packages are optional."""

import math

import pytest
import torch

from unbraid.runs.errors import InputError
from unbraid.scoring import speech_measures
from unbraid.scoring.speech_measures import ESTOI, PESQ

RATE = 16000
PACKAGES = {PESQ: "pesq", ESTOI: "pystoi"}
both = pytest.mark.parametrize("measure", [PESQ, ESTOI])


def syllables() -> torch.Tensor:
    """Return a stereo sound with the rhythm of speech: harmonics of 120 Hz, four bursts in a second. Shape: [2, 3 s]."""
    t = torch.arange(3 * RATE) / RATE
    voice = sum(torch.sin(2 * math.pi * 120 * k * t) / k for k in range(1, 25))
    bursts = (torch.sin(2 * math.pi * 2 * t) ** 2) * (1 + 0.3 * torch.sin(2 * math.pi * 0.7 * t))
    sound = 0.1 * voice * bursts
    return torch.stack([sound, 0.5 * sound])


def score(measure, estimate):
    pytest.importorskip(PACKAGES[measure])
    return measure()(syllables(), estimate, RATE)[0]


@both
def test_more_noise_has_a_lower_score(measure):
    noise = torch.randn(2, 3 * RATE, generator=torch.Generator().manual_seed(0))
    scores = [score(measure, syllables() + level * noise) for level in (0.0003, 0.003, 0.03)]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1] + 0.1


@both
def test_silent_and_short_references_are_undefined(measure):
    pytest.importorskip(PACKAGES[measure])
    true = syllables()
    assert measure()(torch.zeros_like(true), true, RATE) == (None,)
    assert measure()(true[:, :3000], true[:, :3000], RATE) == (None,)


def test_pesq_needs_16_khz():
    pytest.importorskip("pesq")
    with pytest.raises(InputError) as caught:
        PESQ()(syllables(), syllables(), 8000)
    assert (caught.value.where, caught.value.found) == ("protocol.sample_rate", 8000)


@both
def test_a_missing_package_is_named(measure, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(speech_measures, "import_module", missing)
    with pytest.raises(InputError) as caught:
        measure()
    assert caught.value.where == "protocol.measure"
    assert PACKAGES[measure] in str(caught.value) and "unbraid[speech]" in caught.value.hint
