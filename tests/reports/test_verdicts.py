"""Is it luck: what is said of arms."""

from dataclasses import replace

import numpy as np
import pytest

from tests.reports.sweeps import leave_run
from unbraid.reports.variants import runs_of, variants_of
from unbraid.reports.verdicts import baseline_of, verdicts
from unbraid.runs.errors import InputError

SONGS = np.random.default_rng(0).normal(5, 2, 8)


def compared(folder, *others, seeds=1, apart=0.0):
    """Verdicts on arms whose scores are those of the baseline, changed by a function; seeds lie `apart` dB from each other."""
    for variant, change in enumerate([lambda songs: songs, *others]):
        for seed in range(seeds):
            leave_run(folder, variant * seeds + seed, f"net{variant}", seed, (change(SONGS) + apart * seed).tolist())
    variants = variants_of(runs_of(folder))
    return verdicts(variants, variants[0], "vocals", "NSDR")


def better(songs):
    return songs + np.linspace(0.5, 1.5, 8)


def test_an_arm_that_is_better_in_every_song_and_seed_is_hardly_lucky(tmp_path):
    (one,) = compared(tmp_path, better, seeds=3, apart=0.1)
    assert one.words.startswith("net1 is 1.00 dB above net0 in vocals NSDR (95 % interval over songs and seeds +0.6")
    assert one.words.endswith("above in 8 of 8 songs; p < 0.001): hardly luck.") and one.found.over_seeds


def test_an_arm_that_is_better_here_and_worse_there_may_be_lucky(tmp_path):
    (one,) = compared(tmp_path, lambda songs: songs + np.array([1, -1.1, 2, -1.9, 1.5, -1.4, 0.5, -0.7]), seeds=2)
    assert one.words.endswith("it may be luck.") and one.p > 0.05


def test_two_seeds_that_lie_apart_may_be_lucky_where_all_songs_agree(tmp_path):
    (one,) = compared(tmp_path, better, seeds=2, apart=1.0)
    assert one.found.above == 8 and one.p > 0.05 and one.words.endswith("it may be luck.")


def test_one_seed_is_about_songs_only(tmp_path):
    (one,) = compared(tmp_path, lambda songs: 2 * songs - better(songs))
    assert "over songs only" in one.words and "below in 8 of 8 songs" in one.words and one.p < 0.001
    assert one.words.endswith("hardly explains it. One seed of net1 and net0: other seeds may give another difference.")


def test_one_seed_is_never_hardly_luck(tmp_path):
    """Networks that are equal but for their seeds; the words are those of the networks, whatever the songs say."""
    for number, (model, seed) in enumerate([("a", 0), ("b", 0), ("b", 1)]):
        leave_run(tmp_path, number, model, seed, (SONGS + number).tolist())
    variants = variants_of(runs_of(tmp_path))
    (one,) = verdicts(variants, variants[0], "vocals", "NSDR")
    assert one.p < 1e-10 and "hardly luck" not in one.words and "One seed of a:" in one.words


def test_one_song_cannot_tell(tmp_path):
    for number, value in enumerate((1.0, 9.0)):
        leave_run(tmp_path, number, f"net{number}", 0, [value])
    variants = variants_of(runs_of(tmp_path))
    (one,) = verdicts(variants, variants[0], "vocals", "NSDR")
    assert one.words == "net1 is 8.00 dB above net0 in vocals NSDR: one song cannot tell it from luck."
    assert one.p is None and one.found.low is None


def test_p_is_corrected_for_the_number_of_arms(tmp_path):
    found = compared(tmp_path, *[better] * 3, seeds=2)
    assert [one.p for one in found] == [pytest.approx(3 * one.found.p) for one in found] and "after Holm" in found[0].words


def test_equal_and_undefined_scores_have_words_too(tmp_path):
    (one,) = compared(tmp_path, lambda songs: songs)
    assert one.words == "net1 equals net0 in vocals NSDR of every song."
    variants = variants_of(runs_of(tmp_path))
    (one,) = verdicts(variants, variants[0], "vocals", "SAR")
    assert one.words == "net1: vocals SAR is defined in no song of both this arm and net0." and one.p is None


def test_the_baseline_is_the_first_arm_or_the_one_that_is_named(tmp_path):
    leave_run(tmp_path, 0, "a", 0, None, state="failed")
    leave_run(tmp_path, 1, "b", 0, [1.0])
    leave_run(tmp_path, 2, "c", 0, [1.0])
    variants = variants_of(runs_of(tmp_path))
    assert baseline_of(variants, None).name == "b" and baseline_of(variants, "c").name == "c"
    with pytest.raises(InputError, match="baseline=bb: there is no such arm; did you mean 'b'"):
        baseline_of(variants, "bb")
    with pytest.raises(InputError, match="baseline=a: has no scores to compare others with"):
        baseline_of(variants, "a")


def test_the_first_arm_is_the_baseline_whatever_others_are_called(tmp_path):
    leave_run(tmp_path, 0, "b", 0, [1.0])
    leave_run(tmp_path, 1, "c", 0, [1.0])
    variants = [replace(variant, name="net") for variant in variants_of(runs_of(tmp_path))]
    assert baseline_of(variants, None) is variants[0]
