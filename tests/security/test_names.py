"""Tests of files that translate names: slow patterns, and values that read environment variables."""

import os

import pytest
import torch

from unbraid.interop import foreign
from unbraid.interop.foreign import MOST_STARS, Translation, read_translation, translated_tensors
from unbraid.runs.errors import InputError

MATCH = """
import sys
from pathlib import Path
import unbraid
from unbraid.runs.errors import InputError
from unbraid.interop.foreign import Translation, translated_tensors
folder = Path(sys.argv[1])
for word in sys.argv[2:]:
    try:
        if word.endswith(".yaml"):
            unbraid.load(folder / word)
        else:
            translated_tensors(folder / "names.yaml", Translation("config.yaml", "theirs.pth", {word: "x"}, None, [word]))
    except InputError:
        print("refused")
"""


@pytest.mark.slow
def test_hostile_patterns_and_files_take_little_time(limited, tmp_path):
    """The time of a pattern is linear in the length of the names, and a pipe does not block."""
    torch.save({"a" * 4000 + "b": torch.ones(1), "a." * 400 + "b": torch.ones(1)}, tmp_path / "theirs.pth")
    patterns = ["*" * 20 + "Z", "*a" * 30 + "Z", "*." * 30 + "*Z", "a*" * 100 + "c", "*" * 900 + "Z", "*aa*aa*aa*aa*a*a*a*Z"]
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    words = [*patterns, "pipe.yaml", "device.yaml", "nothing.yaml"]
    result = limited("-c", MATCH, tmp_path, *words)
    assert result.stdout.split() == ["refused"] * len(words), result.stderr


@pytest.mark.parametrize(
    ("pattern", "name", "called"),
    [
        ("net.*.weight", "net.conv.weight", "x.conv"),
        ("net.*", "net.conv.weight", None),
        ("*.*", "a.b", "x.a"),
        ("enc*_*", "enc1_left", "x.1"),
        ("a*b*c", "a1b2c", "x.1"),
        ("a*", "a", None),
        ("**", "a.b", "x.a.b"),
        ("a*b", "a1bb", "x.1b"),
    ],
)
def test_a_star_matches_text_between_dots(tmp_path, pattern, name, called):
    torch.save({name: torch.ones(1)}, tmp_path / "theirs.pth")
    translation = Translation("config.yaml", "theirs.pth", {pattern: "x.*"})
    if called is None:
        with pytest.raises(InputError):
            translated_tensors(tmp_path / "names.yaml", translation)
    else:
        assert [*translated_tensors(tmp_path / "names.yaml", translation)] == [called]


def test_the_number_of_patterns_is_limited(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "theirs.pth")
    many = {f"a{number}*": "x" for number in range(MOST_STARS + 1)}
    with pytest.raises(InputError):
        translated_tensors(tmp_path / "names.yaml", Translation("config.yaml", "theirs.pth", many))


@pytest.mark.parametrize("where", ["names", "unused"])
def test_the_work_of_patterns_is_limited(tmp_path, monkeypatch, where):
    monkeypatch.setattr(foreign, "MOST_STEPS", 1000)
    torch.save({f"{letter * 99}.a": torch.ones(1) for letter in "ab"}, tmp_path / "theirs.pth")
    for stars, refused in ((4, False), (5, True)):
        patterns = [*(f"*{number}" for number in range(stars - 1)), "*.a"]
        names, unused = (dict.fromkeys(patterns, "x.*"), []) if where == "names" else ({}, patterns)
        translation = Translation("config.yaml", "theirs.pth", names, None, unused)
        if refused:
            with pytest.raises(InputError):
                translated_tensors(tmp_path / "names.yaml", translation)
        else:
            translated_tensors(tmp_path / "names.yaml", translation)


DOUBLED = "".join(f"a{n}: ${{a{n - 1}}}${{a{n - 1}}}\n" for n in range(1, 60))


@pytest.mark.parametrize(
    "text",
    [
        "config: ${oc.env:HOME}\nweights: x.pth\nnames: {}",
        'config: config.yaml\nweights: "\\x24{oc.env:HOME}"\nnames: {}',
        "config: c\nweights: w\nnames: {a: '${oc.env:HOME}'}",
        "config: c\nweights: w\nnames: {}\nunused: ['${names}']",
        f"config: c\nweights: w\nnames: {{}}\na0: ab\n{DOUBLED}",
        "config: c\nweights: w\nnames: &a {b: c}\nunused: *a",
    ],
    ids=["resolver", "escaped", "nested", "in a list", "doubling", "alias"],
)
def test_names_files_are_not_interpolated(tmp_path, text):
    (tmp_path / "names.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        read_translation(tmp_path / "names.yaml")
    assert os.environ["HOME"] not in str(error.value).replace(str(tmp_path), "")
