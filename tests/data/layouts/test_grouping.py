"""Test that all tracks get the same sources: the chosen ones, and the sum of all others."""

from pathlib import Path

import pytest

from unbraid.data.layouts.grouping import group_sources, source_name
from unbraid.data.layouts.metadata import Metadata
from unbraid.data.tracks import AudioStream
from unbraid.runs.errors import InputError

A, B, C, D = (AudioStream(Path(name)) for name in "abcd")
TRACKS = {"one": {"bass": (A,), "piano": (B, C)}, "two": {"other": (D,), "guitar": (A,)}}


def test_sources_that_are_not_chosen_are_summed():
    assert group_sources(TRACKS, ["piano"], {"piano"}) == {
        "one": {"piano": (B, C), "other": (A,)},
        "two": {"piano": (), "other": (A, D)},
    }
    assert group_sources(TRACKS, ["other"], ()) == {"one": {"other": (A, B, C)}, "two": {"other": (A, D)}}


def test_without_a_choice_every_instrument_is_a_source():
    silent = dict.fromkeys(("bass", "guitar", "other", "piano"), ())
    assert group_sources(TRACKS, None, ()) == {track: silent | sources for track, sources in TRACKS.items()}


def test_a_published_instrument_may_be_absent():
    assert group_sources(TRACKS, ["harp"], {"harp"})["one"] == {"harp": (), "other": (A, B, C)}


@pytest.mark.parametrize(("keep", "found"), [([], None), (["harp"], "harp")])
def test_an_invalid_choice_is_named(keep, found):
    with pytest.raises(InputError) as caught:
        group_sources(TRACKS, keep, {"piano"})
    assert (caught.value.where, caught.value.found) == ("sources", found)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Strings (continued)", "strings_continued"),
        ("other_plucked", "other_plucked"),
        (" Sound Effects ", "sound_effects"),
        ("Flöte", "flöte"),
    ],
)
def test_source_names_are_words_with_underscores(text, name):
    assert source_name(Metadata(Path("x"), {"instrument": text}), "instrument") == name


def test_a_name_without_letters_is_refused():
    with pytest.raises(InputError) as caught:
        source_name(Metadata(Path("x"), {"instrument": "(-)"}), "instrument")
    assert caught.value.where == "x, instrument"
