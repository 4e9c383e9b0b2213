"""Validation of ensembles: targets whose weights do not help get the best member, and the printed tables."""

from dataclasses import replace

import torch

from tests.models.test_ensemble import RATE, combined, member
from unbraid.evaluation import ensemble_validation
from unbraid.evaluation.ensemble_validation import fit_ensemble, validation_record, validation_text
from unbraid.inference.chunked import InferenceOptions


class Song:
    """Song with the mixture and two equal sources, in place of a track of the store."""

    def __init__(self, name: str, seed: int) -> None:
        source = torch.randn(1, 4 * RATE, generator=torch.Generator().manual_seed(seed))
        self.name, self.samples = name, torch.stack([2 * source, source, source])

    def tensor(self, rows=None):
        return self.samples if rows is None else self.samples[:1]


SONGS = [Song("one", 1), Song("two", 2)]


def fitted(mode="weights"):
    """Return an ensemble of a good and a bad member, and its result. Both sources are half the mixture."""
    model = combined([member(0.1, 0.45), member(0.5, 0.2)], mode, edges_hz=[1000.0] if mode == "weights" else [])
    with torch.inference_mode():
        return model, fit_ensemble(model, SONGS, torch.eye(2), InferenceOptions())


def test_weights_that_do_not_help_give_the_best_member(monkeypatch):
    wrong = torch.full((2, 2, 2), 0.5)
    monkeypatch.setattr(ensemble_validation, "fit_weights", lambda statistics: wrong)
    model, result = fitted()
    assert torch.equal(model.weights[:, 0], torch.tensor([[0.0, 1.0], [1.0, 0.0]])) and result.alone.all()
    assert torch.equal(result.ensemble, result.members.amax(dim=0))


def test_fitted_weights_are_never_worse():
    _, result = fitted()
    assert (result.ensemble >= result.members.amax(dim=0)).all() and result.tracks == ["one", "two"]


def test_usual_modes_can_be_worse():
    model, result = fitted("min")
    assert (result.ensemble < result.members.amax(dim=0)).any() and not result.alone.any()
    assert "warning" not in validation_text(["a", "b"], model, result)  # nothing was fitted


def test_tables_and_record_name_members_and_bands(monkeypatch):
    half = torch.tensor([[[0.25, 0.75], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    monkeypatch.setattr(ensemble_validation, "fit_weights", lambda statistics: half)
    monkeypatch.setattr(ensemble_validation, "_ensemble_scores", lambda *_: torch.tensor([99.0, float("nan")]))
    model, result = fitted()
    rows = [line.split() for line in validation_text(["a", "b"], model, result).splitlines()]
    assert ["ensemble", "99.00", "nan"] in rows and ["a", "0.25", "0.00"] in rows
    assert ["weights", "of", "vocals", "to", "1000", "Hz", "to", "4096", "Hz"] in rows
    assert rows[-3][:5] == ["weights", "of", "drums:", "only", "a,"]
    assert rows[-1][0] == "warning:" and {"2", "validation", "tracks."} <= {*rows[-1]}
    enough = replace(result, tracks=["song"] * 10)
    assert "warning" not in validation_text(["a", "b"], model, enough)
    record = validation_record(["a", "b"], model, result)
    assert record["weights"] == {"vocals": {"a": [0.25, 0.0], "b": [0.75, 1.0]}, "drums": {"a": [1.0, 1.0], "b": [0.0, 0.0]}}
    assert record["validation"]["ensemble"] == {"vocals": 99.0, "drums": None}
