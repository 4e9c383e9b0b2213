"""Tests of the names of runs in a sweep."""

import pytest

from unbraid.sweeps.run_names import LONGEST_NAME, LONGEST_VALUE, run_name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["model.net.up=transposed", "seed=0", "trainer=cpu"], "up=transposed-seed=0"),
        (["model.net.code=2", "model.corruption.code=3"], "net.code=2-corruption.code=3"),
        (["+model.net.x=[1,2]", "model=unet"], "x=1_2-model=unet"),
        (["data.root=/home/me/my songs/", "optim.lr=1e-3"], "root=my_songs-lr=1e-3"),
        (["data.root='../..'"], "root=.."),
        (["trainer=cpu"], ""),
    ],
)
def test_a_name_has_the_swept_values(words, name):
    swept = {word.lstrip("+").split("=")[0] for word in words} - {"trainer"}
    assert run_name(words, swept) == name


def test_names_are_short_and_safe():
    words = [f"key{number}={'é/:*?' * 9}{'x' * 50}" for number in range(9)]
    name = run_name(words, [f"key{number}" for number in range(9)])
    assert len(name) == LONGEST_NAME and "/" not in name and name.isascii()
    assert run_name(words[:1], ["key0"]) == f"key0={'x' * LONGEST_VALUE}"
