"""Options of the separation: which are measured, how the gain is computed, and which pay."""

from functools import partial

import pytest

from tests.evaluation.test_scorer import opened, rows, scorer, scorer_of  # noqa: F401  fixture
from tests.models.test_separators import Constant
from unbraid.evaluation.methods import SeparatorMethod
from unbraid.evaluation.scorer import ESTIMATE
from unbraid.evaluation.separation_options import OptionResult, choices_of, measure_options, options_record, options_text
from unbraid.inference.chunked import InferenceOptions
from unbraid.scoring.significance import Difference


def test_choices_add_one_option_each():
    choices = choices_of(InferenceOptions(chunk_seconds=3.0, shifts=2), 2)
    assert [*choices] == ["unchanged", "shifts=4", "channel_swap=true", "polarity=true", "overlap=0.5", "overlap=0.75"]
    assert choices["polarity=true"] == InferenceOptions(chunk_seconds=3.0, shifts=2, polarity=True)
    assert "channel_swap=true" not in choices_of(InferenceOptions(), 1)


def test_options_of_a_constant_mask_gain_nothing(scorer):  # noqa: F811
    (results,) = measure_options([rows(scorer, partial(Constant, 0.5))[ESTIMATE]], [scorer])
    assert results[0].name == "unchanged" and results[0].gain is None
    for result in results[1:]:
        assert (result.target, result.gain.tracks) == ("vocals", len(scorer.tracks))
        assert result.gain.mean == pytest.approx(0, abs=1e-3) and result.mean == pytest.approx(results[0].mean, abs=1e-3)
        assert result.seconds > 0


def test_times_are_the_smallest_of_alternating_passes(scorer, monkeypatch):  # noqa: F811
    """Two protocols share estimates and times. Another program slows down all passes except the second of each option."""
    clock, passes = [0.0], []

    def separate(method, name):
        if name not in method.latest:
            slow = 0.0 if 7 <= len(passes) < 13 else 100.0
            passes.append(method.options.shifts)
            clock[0] += method.options.shifts + slow
        return original(method, name)

    original = SeparatorMethod.separate
    monkeypatch.setattr(SeparatorMethod, "separate", separate)
    monkeypatch.setattr("unbraid.evaluation.separation_options.time.perf_counter", lambda: clock[0])
    method = rows(scorer, partial(Constant, 0.5))[ESTIMATE]
    first, second = measure_options([method, method], [scorer, scorer])
    shifts = [option.shifts for option in choices_of(method.options, method.separator.channels).values()]
    assert passes[:19] == shifts[:1] + 3 * shifts and len(passes) == 19 + len(shifts) * len(scorer.tracks)
    assert [one.seconds for one in first] == [one.seconds for one in second] == pytest.approx(shifts)


def result(name: str, mean: float | None, gain: Difference | None, seconds: float) -> OptionResult:
    return OptionResult(name, "vocals", mean, gain, seconds)


def test_an_option_pays_if_its_interval_is_above_zero():
    gains = {
        "shifts=4": Difference(0.3, 0.1, 0.5, 0.01, 9, 9, 0, False),
        "overlap=0.5": Difference(0.3, -0.1, 0.7, 0.2, 9, 7, 2, False),
        "polarity=true": Difference(0.3, None, None, None, 1, 1, 0, False),
    }
    results = [result("unchanged", 6.0, None, 2.0), *(result(name, None, gain, 8.0) for name, gain in gains.items())]
    assert [one.pays for one in results] == [False, True, False, False]
    head, *lines = options_text(results, "uSDR").splitlines()
    assert head.split()[:2] == ["vocals,", "uSDR"]
    assert lines[0].split() == ["unchanged", "6.00", "2.00", "1.0"]
    assert lines[1].split() == ["shifts=4", "-", "+0.30", "+0.10", "to", "+0.50", "8.00", "4.0", "yes"]
    assert lines[3].split() == ["polarity=true", "-", "+0.30", "8.00", "4.0", "no"]
    assert options_record(results)[1]["gain"]["low"] == 0.1 and options_record(results)[1]["pays"] is True
