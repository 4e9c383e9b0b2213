"""The short form `data.sets=[…]` gives the full config of each data set."""

import pytest
from omegaconf import OmegaConf

import unbraid
from unbraid.commands.data_sets import with_data_sets
from unbraid.runs.errors import InputError


def test_short_form_gives_all_options():
    second = "{data: moisesdb, root: /m, bleed: leave_out, rules: {x: [y, z]}}"
    config = unbraid.compose(f"data.sets=[{{data: musdb, root: '/a b/musdb', weight: 2}}, {second}]", "targets=all")
    sets = OmegaConf.to_container(config.data.layout.sets)
    assert [(key, value["root"], value.get("weight"), value.get("rules")) for key, value in sets.items()] == [
        ("musdb", "/a b/musdb", 2, None), ("moisesdb", "/m", None, {"x": ["y", "z"]})
    ]  # fmt: skip
    assert sets["moisesdb"]["layout"]["bleed"] == "leave_out" and sets["moisesdb"]["layout"]["valid"] == 0.1


def test_names_and_other_words_are_kept():
    words = with_data_sets(["model=unet", "data.sets=[{data: musdb, root: a, name: one}, {data: musdb, root: b}]"])
    assert words[:2] == ["model=unet", "data=sets"] and "one:" in words[2] and "musdb:" in words[2]


INVALID = {
    "musdb": "",
    "[musdb]": "",
    "[{data: musdb": "",
    "[{data: muzdb, root: a}]": "[0].data",
    "[{root: a}]": "[0].data",
    "[{data: musdb}]": "[0].root",
    "[{data: musdb, root: a, wait: 2}]": "[0].wait",
    "[{data: digits, root: a}]": "[0].data",
    "[{data: sets, root: a}]": "[0].data",
    "[{data: musdb, root: a}, {data: musdb, root: b}]": "[1].name",
}


@pytest.mark.parametrize(("value", "where"), INVALID.items())
def test_invalid_values_are_named(value, where):
    with pytest.raises(InputError) as error:
        with_data_sets([f"data.sets={value}"])
    assert error.value.where == f"data.sets{where}"
