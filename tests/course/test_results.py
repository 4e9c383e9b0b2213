"""Test the results that lessons record, their fast form, and the helpers of the checks."""

import json

import torch

from unbraid.course import Answer, fast, record
from unbraid.course.answers import explained, number, unanswered


def test_recorded_numbers_are_added(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(a=torch.tensor(1.5), b=2)
    record(b=3)
    assert json.loads((tmp_path / "results.json").read_text()) == {"a": 1.5, "b": 3.0}


def test_fast_form(monkeypatch):
    monkeypatch.setenv("UNBRAID_COURSE", "fast")
    assert fast(20, 2) == 2
    monkeypatch.setenv("UNBRAID_COURSE", "full")
    assert fast(20, 2) == 20
    monkeypatch.delenv("UNBRAID_COURSE")
    assert fast(20, 2) == 20


def test_answers():
    assert repr(Answer(True, "Yes.")) == "Correct. Yes." and repr(Answer(False, "No.")) == "Not yet. No."
    assert unanswered(...) is not None and unanswered(0) is None
    assert number(torch.tensor([2.0])) == 2 and number([1, 2]) is None and number("a") is None


def test_mistakes_are_explained():
    mistakes = {10.0: "ten", 0.2: "a fifth"}
    assert explained(10.01, mistakes, "hint").explanation == "ten"
    assert explained(0.2, mistakes, "hint").explanation == "a fifth"
    assert explained(11, mistakes, "hint").explanation == "hint"
