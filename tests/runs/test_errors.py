"""Fields and message of `InputError`."""

import copy

import pytest

from unbraid.runs.errors import InputError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a.wav: is truncated"), "a.wav: is truncated"),
        (InputError("a.wav", "is truncated"), "a.wav: is truncated"),
        (
            InputError("seed", "is too large", found=-1, expected="0 or more"),
            "seed: is too large, found -1, expected 0 or more",
        ),
        (InputError("code", found=0, hint="choose 8."), "code: found 0. Choose 8."),
        (InputError("code", found=0, hint="model.net.code=8 is allowed"), "code: found 0. model.net.code=8 is allowed"),
        (InputError("a  b.wav", "no\tstream\n    in it\n"), "a  b.wav: no stream in it"),
    ],
)
def test_message_is_one_line_of_fields(error, line):
    assert str(error) == line


def test_fields_survive_a_process_boundary():
    error = InputError("seed", "is too large", found=7, expected="less", hint="Choose another.")
    copied = copy.copy(error)  # by __reduce__, as a pickle
    assert vars(copied) == vars(error) and str(copied) == str(error)
