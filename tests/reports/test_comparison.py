"""Paired tests of a model with several other models."""

import numpy as np
import pytest

from unbraid.reports.comparison import compared
from unbraid.scoring.significance import difference, holm

TRACKS = [f"song {number}" for number in range(8)]


def scores(values) -> dict:
    """Return the content of a `scores.json` with one measure."""
    tracks = {name: {"vocals": {"SDR": value}} for name, value in zip(TRACKS, values, strict=True)}
    summary = {"vocals": {"SDR": {"mean": float(np.mean(values))}}}
    return {"protocol": {"tracks": "mean"}, "summary": summary, "mixture": {}, "oracle": {}, "tracks": tracks}


def test_several_models_are_corrected_together():
    generator = np.random.default_rng(0)
    ours = generator.normal(6, 1, 8)
    others = {"a": ours - 0.4 + generator.normal(0, 0.8, 8), "b": ours - 0.3 + generator.normal(0, 0.8, 8)}
    sentences = compared("mine", scores(ours), {name: scores(values) for name, values in others.items()})
    p_values = [difference(values[None], ours[None]).p for values in others.values()]
    corrected = holm(p_values)
    assert corrected != p_values and min(corrected) > 0.001
    for (name, values), p, sentence in zip(others.items(), corrected, sentences, strict=True):
        assert sentence.startswith(f"{name} is {np.mean(ours - values):.2f} dB below mine in vocals SDR")
        assert f"p = {p:.3f} after Holm" in sentence


def test_one_model_is_not_corrected():
    ours = np.arange(8.0)
    (sentence,) = compared("mine", scores(ours), {"mine": scores(ours + [1, 2] * 4)})
    assert sentence.startswith("mine is 1.50 dB above mine") and "after Holm" not in sentence
    assert compared("mine", scores(ours), {}) == []


@pytest.mark.parametrize("value", [None, 3.0])
def test_undefined_scores_have_a_sentence(value):
    one, other = scores(np.arange(8.0)), scores(np.arange(8.0))
    for track in other["tracks"].values():
        track["vocals"]["SDR"] = value
    (sentence,) = compared("mine", one, {"a": other})
    assert ("no song has a defined" in sentence) == (value is None)
