"""Test that patterns match file names and assign each file to one source."""

from pathlib import Path

import pytest

from tests.data import twins
from unbraid.data.layouts.patterns import Pattern, SourcePatterns, proposed, read_patterns
from unbraid.runs.errors import InputError

ROOT = Path("/songs/one")


@pytest.mark.parametrize(
    ("text", "file", "matches"),
    [
        ("*vox*", "Lead VOX.wav", True),
        ("vox", "vox.wav", True),
        ("vox", "vox 1.wav", False),
        ("*vox.wav", "lead vox.WAV", True),
        ("*vox.flac", "lead vox.wav", False),
        ("*ac*", "lead.flac", False),
        ("*v*", "drums.wav", False),
        ("*/*v*", "takes/drums.wav", False),
        ("*ac*.flac", "back.flac", True),
        ("*.wav", "drums.wav", True),
        ("vox ?", "vox 1.wav", True),
        ("vox ?", "vox 12.wav", False),
        ("gtr [left]", "gtr [left].wav", True),
        ("a.b", "a.b.wav", True),
        ("a.b", "a-b.wav", False),
        ("café*", "Cafe\u0301 1.wav", True),
        ("*vox*", "vocals/lead.wav", False),
        ("vocals/*", "vocals/lead.wav", True),
        ("vocals/*", "Vocals/takes/lead.wav", True),
        ("lead", "vocals/lead.wav", True),
    ],
)
def test_a_pattern_matches_names_in_any_case(text, file, matches):
    assert bool(Pattern(text).match(ROOT / file, ROOT)) == matches


def assigned(patterns, *names):
    return SourcePatterns(patterns).assign([ROOT / name for name in names], ROOT)


def test_patterns_are_proposed_for_irregular_names():
    assert proposed(["Lead VOX", "Kick", "Drum Bus", "rough mix", "gtr"]) == (
        "{vocals:['*vox*'],drums:['*drum*','*kick*'],mixture:['*mix*'],other:['*']}"
    )
    assert proposed(["Lead VOX", "mixture", "gtr"]) == "" == proposed([])


def test_the_catch_all_takes_unmatched_files():
    assignment = assigned({"all": ["*", "!click*"], "vocals": ["*vox*"]}, "vox.wav", "gtr.wav", "click.wav")
    assert assignment.files == {"all": (ROOT / "gtr.wav",), "vocals": (ROOT / "vox.wav",)}
    assert assignment.unmatched == [ROOT / "click.wav"] and not assignment.ambiguous


def test_a_catch_all_source_may_have_patterns():
    assert not assigned({"rest": ["*", "gtr*"], "gtr": ["*gtr"]}, "a.wav").ambiguous
    assert assigned({"rest": ["*", "gtr*"], "gtr": ["*gtr"]}, "gtr.wav").ambiguous == {
        ROOT / "gtr.wav": {"gtr": "*gtr", "rest": "gtr*"}
    }


@pytest.mark.parametrize(
    ("patterns", "where"),
    [({"a": ["*"], "b": "*"}, "sources"), ({"a": []}, "sources.a"), ({"a": ["!x"]}, "sources.a")],
)
def test_invalid_patterns_are_refused(patterns, where):
    with pytest.raises(InputError) as caught:
        SourcePatterns(patterns)
    assert caught.value.where == where


@pytest.mark.parametrize("text", ["", "- vocals", "vocals: {a: 1}", "1: [a]", "vocals: [1]", "vocals: [", "vocals: \xff"])
def test_a_file_without_patterns_is_refused(tmp_path, text):
    file = tmp_path / "sources.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        read_patterns(file)
    assert caught.value.where.startswith(str(file))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        read_patterns(tmp_path / "source.yaml")
    assert caught.value.where == str(tmp_path / "source.yaml") and caught.value.hint == ""
    twins.empty(tmp_path / "sources.yaml")
    with pytest.raises(InputError) as caught:
        read_patterns(tmp_path / "source.yaml")
    assert "pattern file" in caught.value.problem and "'sources.yaml'" in caught.value.hint


@pytest.mark.parametrize(("text", "is_quoted"), [("vocals: [*vox*]", False), ("vocals: *vox*", False), ("- vocals", True)])
def test_patterns_without_quotes_get_a_hint(tmp_path, text, is_quoted):
    file = tmp_path / "sources.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_patterns(file)
    assert caught.value.where.startswith(str(file)) and ("quotes" not in caught.value.hint) == is_quoted


def test_patterns_are_read_with_their_sources(tmp_path):
    twins.empty(tmp_path / "sources.yaml").write_text('vocals: ["*vox*", "*lead*"]\nother: "*"\n')
    assert read_patterns(tmp_path / "sources.yaml") == {"vocals": ["*vox*", "*lead*"], "other": "*"}


def test_patterns_may_be_below_the_key_sources(tmp_path):
    (tmp_path / "a.yaml").write_text('sources: {vocals: ["*vox*"], drums: ["*kick*"]}')
    assert read_patterns(tmp_path / "a.yaml") == {"vocals": ["*vox*"], "drums": ["*kick*"]}


def test_only_stars_are_groups():
    match = Pattern("?_*_full").match(ROOT / "1_alpha_full.wav", ROOT)
    assert match is not None and match.groups() == ("alpha",)
