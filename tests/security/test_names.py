"""Files that translate names: patterns that would take for ever, and values that look something up."""

import os

import pytest
import torch

import unbraid
from unbraid.errors import InputError
from unbraid.foreign import MOST_STARS, Translation, read_translation, translated_tensors

MATCH = """
import sys, time
from pathlib import Path
import torch
from unbraid.errors import InputError
from unbraid.foreign import Translation, translated_tensors
folder = Path(sys.argv[1])
for pattern in sys.argv[2:]:
    try:
        translated_tensors(folder / "names.yaml", Translation("config.yaml", "theirs.pth", {pattern: "x"}, None, [pattern]))
    except InputError:
        print("refused")
"""


def test_patterns_take_no_longer_than_names_are_long(limited, tmp_path):
    torch.save({"a" * 4000 + "b": torch.ones(1), "a." * 400 + "b": torch.ones(1)}, tmp_path / "theirs.pth")
    patterns = ["*" * 20 + "Z", "*a" * 30 + "Z", "*." * 30 + "*Z", "a*" * 100 + "c", "*" * 900 + "Z", "*aa*aa*aa*aa*a*a*a*Z"]
    result = limited("-c", MATCH, tmp_path, *patterns)
    assert result.stdout.split() == ["refused"] * len(patterns), result.stderr


@pytest.mark.parametrize(
    ("pattern", "name", "called"),
    [
        ("net.*.weight", "net.conv.weight", "x.conv"),
        ("net.*", "net.conv.weight", None),
        ("*.*", "a.b", "x.a"),
        ("enc*_*", "enc1_left", "x.1"),
        ("a*b*c", "a1b2c", "x.1"),
        ("a*", "a", None),
        ("**", "ab", "x.a"),
        ("a*b", "a1bb", "x.1b"),
    ],
)
def test_a_star_stands_for_letters_between_dots(tmp_path, pattern, name, called):
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
def test_names_files_look_nothing_up(tmp_path, text):
    (tmp_path / "names.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        read_translation(tmp_path / "names.yaml")
    assert os.environ["HOME"] not in str(error.value).replace(str(tmp_path), "")


def test_names_files_are_regular_files(limited, tmp_path):
    os.mkfifo(tmp_path / "names.yaml")
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    code = "import sys, unbraid\nfor path in sys.argv[1:]:\n  try: unbraid.load(path)\n  except ValueError: print('refused')"
    result = limited("-c", code, tmp_path / "names.yaml", tmp_path / "device.yaml", tmp_path)
    assert result.stdout.split() == ["refused"] * 3, result.stderr
    with pytest.raises(InputError):
        read_translation(tmp_path / "names.yaml")
    with pytest.raises(InputError):
        unbraid.load(tmp_path / "nothing.yaml")
