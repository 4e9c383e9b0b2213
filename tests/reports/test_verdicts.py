"""Comparisons of variants with the baseline."""

from dataclasses import replace

import numpy as np
import pytest

from tests.reports.sweeps import leave_run
from unbraid.reports.variants import runs_of, variants_of
from unbraid.reports.verdicts import baseline_of, verdicts
from unbraid.runs.errors import InputError

SONGS = np.random.default_rng(0).normal(5, 2, 8)


def compared(folder, *others, seeds=1, apart=0.0):
    """Compare variants whose scores are a function of the baseline scores. Each seed adds `apart` dB to its scores."""
    for variant, change in enumerate([lambda songs: songs, *others]):
        for seed in range(seeds):
            leave_run(folder, variant * seeds + seed, f"net{variant}", seed, (change(SONGS) + apart * seed).tolist())
    variants = variants_of(runs_of(folder))
    return verdicts(variants, variants[0], "vocals", "NSDR")


def better(songs):
    return songs + np.linspace(0.5, 1.5, 8)


def test_better_in_every_song_is_hardly_luck(tmp_path):
    (verdict,) = compared(tmp_path, better, seeds=3, apart=0.1)
    assert verdict.words.startswith(
        "net1 is 1.00 dB above net0 in vocals NSDR (mean difference over songs; 95 % interval over songs and seeds +0.6"
    )
    assert verdict.words.endswith("above in 8 of 8 songs; p < 0.001): hardly luck.") and verdict.difference.over_seeds


def test_better_in_some_songs_may_be_luck(tmp_path):
    (verdict,) = compared(tmp_path, lambda songs: songs + np.array([1, -1.1, 2, -1.9, 1.5, -1.4, 0.5, -0.7]), seeds=2)
    assert verdict.words.endswith("it may be luck.") and verdict.p > 0.05


def test_different_seeds_may_be_luck(tmp_path):
    (verdict,) = compared(tmp_path, better, seeds=2, apart=1.0)
    assert verdict.difference.above == 8 and verdict.p > 0.05 and verdict.words.endswith("it may be luck.")


def test_one_seed_compares_songs_only(tmp_path):
    (verdict,) = compared(tmp_path, lambda songs: 2 * songs - better(songs))
    assert "over songs only" in verdict.words and "below in 8 of 8 songs" in verdict.words and verdict.p < 0.001
    assert verdict.words.endswith("hardly explains it. One seed of net1 and net0: other seeds may give another difference.")


def test_one_seed_is_never_hardly_luck(tmp_path):
    """Variant a has one seed, so the sentence is about the trained networks only."""
    for number, (model, seed) in enumerate([("a", 0), ("b", 0), ("b", 1)]):
        leave_run(tmp_path, number, model, seed, (SONGS + number).tolist())
    variants = variants_of(runs_of(tmp_path))
    (verdict,) = verdicts(variants, variants[0], "vocals", "NSDR")
    assert verdict.p < 1e-10 and "hardly luck" not in verdict.words and "One seed of a:" in verdict.words


def test_one_song_has_no_p_value(tmp_path):
    for number, value in enumerate((1.0, 9.0)):
        leave_run(tmp_path, number, f"net{number}", 0, [value])
    variants = variants_of(runs_of(tmp_path))
    (verdict,) = verdicts(variants, variants[0], "vocals", "NSDR")
    assert verdict.words == "net1 is 8.00 dB above net0 in vocals NSDR: one song is not enough to exclude luck."
    assert verdict.p is None and verdict.difference.low is None


def test_p_value_is_corrected_for_several_variants(tmp_path):
    results = compared(tmp_path, *[better] * 3, seeds=2)
    expected = [pytest.approx(3 * verdict.difference.p) for verdict in results]
    assert [verdict.p for verdict in results] == expected and "after Holm" in results[0].words


def test_sentences_use_the_corrected_p_value(tmp_path):
    """A difference with p < 0.05 before Holm's correction only may be luck."""
    for verdict in compared(tmp_path, *[lambda songs: songs + np.linspace(-0.4, 2, 8)] * 3, seeds=2):
        assert verdict.difference.p < 0.05 < verdict.p and verdict.words.endswith("it may be luck.")


def test_equal_and_undefined_scores_have_sentences(tmp_path):
    (verdict,) = compared(tmp_path, lambda songs: songs)
    assert verdict.words == "net1 equals net0 in vocals NSDR of every song."
    variants = variants_of(runs_of(tmp_path))
    (verdict,) = verdicts(variants, variants[0], "vocals", "SAR")
    assert verdict.words == "net1: no song has a defined vocals SAR for both this variant and net0." and verdict.p is None


def test_baseline_is_the_first_or_the_named_variant(tmp_path):
    leave_run(tmp_path, 0, "a", 0, None, state="failed")
    leave_run(tmp_path, 1, "b", 0, [1.0])
    leave_run(tmp_path, 2, "c", 0, [1.0])
    variants = variants_of(runs_of(tmp_path))
    assert baseline_of(variants, None).name == "b" and baseline_of(variants, "c").name == "c"
    for name, problem in {"bb": "you mean 'b'", "a": "lacks scores"}.items():
        with pytest.raises(InputError) as error:
            baseline_of(variants, name)
        assert error.value.where == f"baseline={name}" and problem in str(error.value)


def test_first_variant_is_baseline_despite_equal_names(tmp_path):
    leave_run(tmp_path, 0, "b", 0, [1.0])
    leave_run(tmp_path, 1, "c", 0, [1.0])
    variants = [replace(variant, name="net") for variant in variants_of(runs_of(tmp_path))]
    assert baseline_of(variants, None) is variants[0]
