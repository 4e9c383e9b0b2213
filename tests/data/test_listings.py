"""Test the text of a listing, and the errors of listings that cannot be used for training."""

from pathlib import Path

import pytest

from unbraid.data.listings import check_refused, empty_split, outline
from unbraid.data.tracks import AudioStream, Listing, Track
from unbraid.runs.errors import InputError

ROOT = Path("/songs")


def stream(file, *place):
    return AudioStream(ROOT / file, *place)


def test_an_outline_lists_the_files_of_tracks():
    kick, snare = stream("a/kick.wav"), stream("a/takes/snare.wav")
    tracks = [
        Track("a", "train", {"drums": (kick, snare), "vocals": ()}, stream("a/mix.wav")),
        Track("b", "test", {"voice": (stream("b.wav", 0, 1),)}, stream("b.wav", 2), residual="rest"),
    ]
    listing = Listing(tracks, {"c": "is empty"}, [f"{ROOT}/a/x.mp3: unused"], [InputError(f"{ROOT}/a", "is odd")])
    assert outline(listing, ROOT).splitlines() == [
        "train (1 tracks)",
        "  a  (a)",
        "    drums    kick.wav + takes/snare.wav",
        "    vocals   no file: silence",
        "    mixture  mix.wav",
        "valid (0 tracks)",
        "test (1 tracks)",
        "  b  (.)",
        "    rest     the mixture minus all other sources",
        "    voice    b.wav [channel 1]",
        "    mixture  b.wav [stream 2]",
        "",
        "left out (1)",
        "  c: is empty",
        "",
        "messages (1)",
        "  a/x.mp3: unused",
        "",
        "to be resolved (1)",
        "  a: is odd",
    ]


def test_a_hint_of_several_errors_is_printed_once():
    errors = [InputError(f"{ROOT}/{name}", "is odd", hint="Rename it") for name in "ab"]
    lines = outline(Listing([], refused=[*errors, InputError("c", "is even")]), ROOT).splitlines()
    assert lines[-8:] == [
        "",
        "to be resolved (3)",
        "  a: is odd",
        "  b: is odd",
        "  c: is even",
        "",
        "hints (1)",
        "  Rename it",
    ]


def test_the_first_error_counts_the_others():
    check_refused(Listing([]))
    errors = [InputError("a", "is odd", found="b", expected="c", hint="Rename it."), InputError("d"), InputError("e")]
    with pytest.raises(InputError) as caught:
        check_refused(Listing([], refused=errors))
    assert (caught.value.where, caught.value.found, caught.value.expected) == ("a", "b", "c")
    assert caught.value.hint.startswith("Rename it. ") and " 2 more errors" in caught.value.hint


@pytest.mark.parametrize(
    ("counts", "drawn", "hint"),
    [
        ((0, 0, 1), True, "Add at least 2 more track(s)."),
        ((0, 1, 1), False, "Add at least 1 more track(s)."),
        ((0, 2, 1), True, "Set data.layout.valid=0.1 data.layout.test=0.1"),
        ((0, 2, 1), False, "move tracks to /songs/train"),
    ],
)
def test_an_empty_split_is_an_error(counts, drawn, hint):
    counts = dict(zip(("train", "valid", "test"), counts, strict=True))
    error = empty_split(ROOT, "train", counts, drawn, {"c": "is empty"})
    assert error.where == f"data.root={ROOT}" and "train" in error.problem and hint in error.hint
    assert error.found.startswith(f"{sum(counts.values())} tracks (0 train") and "c (is empty)" in error.found
