"""Tests of the search space made from overrides of Hydra."""

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from unbraid.runs.errors import InputError
from unbraid.sweeps.search.space import Space


def space(*words, **conditions):
    parser = OverridesParser.create()
    return Space(parser.parse_overrides([*words]), [f"{key} if {text}" for key, text in conditions.items()], parser)


@pytest.mark.parametrize(
    ("word", "distribution"),
    [
        ("x=a,b", CategoricalDistribution(["a", "b"])),
        ("x=1,2.5,null,'a b'", CategoricalDistribution(["1", "2.5", "null", "'a b'"])),
        ("x=[1,2],[3]", CategoricalDistribution(["[1,2]", "[3]"])),
        ("x=a,b,a", CategoricalDistribution(["a", "b"])),
        ("x=interval(0,0.6)", FloatDistribution(0, 0.6)),
        ("x=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("x=int(interval(2,9))", IntDistribution(2, 9)),
        ("x=tag(log,int(interval(2,9)))", IntDistribution(2, 9, log=True)),
        ("x=range(2,9)", IntDistribution(2, 8)),
        ("x=range(2,9,3)", IntDistribution(2, 8, step=3)),
        ("x=range(9,2,-3)", IntDistribution(3, 9, step=3)),
        ("x=range(0,1,0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("+x=range(0,2)", IntDistribution(0, 1)),
    ],
)
def test_overrides_become_distributions(word, distribution):
    (parameter,) = space(word).parameters
    assert (parameter.key, parameter.distribution) == ("x", distribution)
    trial = optuna.create_study().ask()
    (suggested,) = space(word).suggested_for(trial)
    assert suggested.startswith(word.split("=")[0] + "=") and distribution._contains(
        distribution.to_internal_repr(trial.params["x"])
    )


def test_suggestions_are_valid_overrides():
    parser = OverridesParser.create()
    (word,) = space("x=choice('a, b','it\\'s')").example()
    assert parser.parse_override(word).value() == "a, b"


def test_the_last_override_of_a_key_is_used():
    mixed = space("x=1,2", "y=a,b", "+x=3", "~z", 'w="a b"')
    assert [parameter.key for parameter in mixed.parameters] == ["y"]
    assert mixed.fixed_overrides() == ["+x=3", "~z", 'w="a b"']


def test_a_key_is_suggested_if_its_condition_holds():
    conditional = space("x=1,2", "kind=a,b,c", "z=7,8", x="kind=a,c", z="x=2")
    assert [parameter.key for parameter in conditional.parameters] == ["kind", "x", "z"]
    assert [*conditional.grid()] == [
        {"kind": "a", "x": "1"}, {"kind": "a", "x": "2", "z": "7"}, {"kind": "a", "x": "2", "z": "8"}, {"kind": "b"},
        {"kind": "c", "x": "1"}, {"kind": "c", "x": "2", "z": "7"}, {"kind": "c", "x": "2", "z": "8"},
    ]  # fmt: skip
    seen = set()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(40):
        words = dict(word.split("=") for word in conditional.suggested_for(study.ask()))
        assert ("x" in words) == (words["kind"] != "b") and ("z" in words) == (words.get("x") == "2")
        seen.add(words["kind"])
    assert seen == {"a", "b", "c"}


@pytest.mark.parametrize(("fixed", "is_suggested"), [("kind=a", True), ("kind=b", False), ("n=3", False)])
def test_a_condition_can_name_a_fixed_override(fixed, is_suggested):
    conditional = space("kind=z", fixed, "x=1,2", "y=1,2", x="kind=a")
    assert next(conditional.grid()).get("x") == ("1" if is_suggested else None)


def test_a_grid_lists_all_values_of_a_range():
    assert [values["x"] for values in space("x=range(0,1,0.25)").grid()] == [0, 0.25, 0.5, 0.75]
    assert [values["x"] for values in space("x=range(5,0,-2)").grid()] == [1, 3, 5]


@pytest.mark.parametrize(
    "word",
    [
        "x=tag(loud,interval(0,1))", "x=tag(log,choice(1,2))", "launcher.cpu_slots=1,2", "x=shuffle(a,b)", "x=interval(1,0)",
        "x=range(1,1)", "x=tag(log,interval(0,1))", "x=tag(log,range(1,9,2))",
    ],
)  # fmt: skip
def test_values_that_cannot_be_suggested_are_errors(word):
    with pytest.raises(InputError) as raised:
        space(word)
    assert raised.value.where == word and (raised.value.problem or raised.value.found)


def test_fixed_overrides_alone_are_an_error():
    with pytest.raises(InputError) as raised:
        space("x=1", "y=[1,2]")
    assert raised.value.where == "overrides"


@pytest.mark.parametrize(
    ("words", "conditions", "name"),
    [
        (["x=1,2"], {"y": "x=1"}, "'y'"),
        (["x=1,2"], {"x": "kind=a"}, "'kind'"),
        (["x=1,2", "kind=a,b"], {"x": "kind"}, "'kind'"),
        (["x=1,2", "kind=a,b"], {"x": "kind=interval(0,1)"}, "'kind=interval(0,1)'"),
        (["x=1,2", "y=1,2"], {"x": "y=1", "y": "x=1"}, "x -> y -> x"),
    ],
)
def test_invalid_conditions_are_errors(words, conditions, name):
    with pytest.raises(InputError) as raised:
        space(*words, **conditions)
    assert raised.value.where == "hydra.sweeper.conditions" and name in f"{raised.value.problem} {raised.value.found}"


def test_an_interval_has_no_grid():
    with pytest.raises(InputError) as raised:
        next(space("x=interval(0,1)").grid())
    assert raised.value.where == "x"


@pytest.mark.parametrize("conditions", [["x=1"], ["x if y=1", "x if y=2"]])
def test_a_key_has_at_most_one_condition(conditions):
    parser = OverridesParser.create()
    with pytest.raises(InputError) as raised:
        Space(parser.parse_overrides(["x=1,2", "y=1,2"]), conditions, parser)
    assert raised.value.found == f"'{conditions[-1]}'"
