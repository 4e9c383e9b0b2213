"""Is it luck: what is said of arms."""

from dataclasses import replace

import numpy as np
import pytest

from tests.reporting.sweeps import leave_run
from unbraid.errors import InputError
from unbraid.reporting.arms import arms_of, runs_of
from unbraid.reporting.verdicts import baseline_of, verdicts

SONGS = np.random.default_rng(0).normal(5, 2, 8)


def said(folder, *others, seeds=1):
    """Of arms whose scores are those of the baseline, changed by a function."""
    for arm, change in enumerate([lambda songs: songs, *others]):
        for seed in range(seeds):
            leave_run(folder, arm * seeds + seed, f"net{arm}", seed, change(SONGS).tolist())
    arms = arms_of(runs_of(folder))
    return verdicts(arms, arms[0], "vocals", "NSDR")


def test_an_arm_that_is_better_in_every_song_is_hardly_lucky(tmp_path):
    (one,) = said(tmp_path, lambda songs: songs + np.linspace(0.5, 1.5, 8), seeds=2)
    assert one.words.startswith("net1 is 1.00 dB above net0 in vocals NSDR (95 % interval +")
    assert "above in 8 of 8 songs; p = 0.008): hardly luck." in one.words and "seed" not in one.words


def test_an_arm_that_is_better_here_and_worse_there_may_be_lucky(tmp_path):
    (one,) = said(tmp_path, lambda songs: songs + np.array([1, -1.1, 2, -1.9, 1.5, -1.4, 0.5, -0.7]), seeds=2)
    assert one.words.endswith("it may be luck.") and one.p > 0.05


def test_a_single_seed_is_said(tmp_path):
    (one,) = said(tmp_path, lambda songs: songs - np.linspace(0.5, 1.5, 8))
    assert "below net0" in one.words and one.words.endswith("One seed of net1 and net0: how far seeds lie apart is not known.")


def test_so_few_songs_cannot_tell(tmp_path):
    for number, value in enumerate((1.0, 9.0)):
        leave_run(tmp_path, number, f"net{number}", 0, [value, value + 1, value + 3])
    arms = arms_of(runs_of(tmp_path))
    (one,) = verdicts(arms, arms[0], "vocals", "NSDR")
    assert "so few songs cannot tell it from luck." in one.words and one.p == 0.25


def test_p_is_corrected_for_the_number_of_arms(tmp_path):
    better = [lambda songs: songs + np.linspace(0.5, 1.5, 8)] * 3
    found = said(tmp_path, *better)
    assert [one.p for one in found] == [pytest.approx(3 / 128)] * 3 and "after Holm" in found[0].words


def test_equal_and_undefined_scores_have_words_too(tmp_path):
    (one,) = said(tmp_path, lambda songs: songs)
    assert one.words == "net1 equals net0 in vocals NSDR of every song."
    arms = arms_of(runs_of(tmp_path))
    (one,) = verdicts(arms, arms[0], "vocals", "SAR")
    assert one.words == "net1: vocals SAR is defined in no song of both this arm and net0." and one.p is None


def test_the_baseline_is_the_first_arm_or_the_one_that_is_named(tmp_path):
    leave_run(tmp_path, 0, "a", 0, None, state="failed")
    leave_run(tmp_path, 1, "b", 0, [1.0])
    leave_run(tmp_path, 2, "c", 0, [1.0])
    arms = arms_of(runs_of(tmp_path))
    assert baseline_of(arms, None).name == "b" and baseline_of(arms, "c").name == "c"
    with pytest.raises(InputError, match="baseline=bb: there is no such arm; did you mean 'b'"):
        baseline_of(arms, "bb")
    with pytest.raises(InputError, match="baseline=a: has no scores to compare others with"):
        baseline_of(arms, "a")


def test_the_first_arm_is_the_baseline_whatever_others_are_called(tmp_path):
    leave_run(tmp_path, 0, "b", 0, [1.0])
    leave_run(tmp_path, 1, "c", 0, [1.0])
    arms = [replace(arm, name="net") for arm in arms_of(runs_of(tmp_path))]
    assert baseline_of(arms, None) is arms[0]
