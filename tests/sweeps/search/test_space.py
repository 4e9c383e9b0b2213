"""What is typed in Hydra's grammar, as what can be suggested."""

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
def test_the_grammar_of_hydra_is_what_is_suggested(word, distribution):
    (parameter,) = space(word).parameters
    assert (parameter.key, parameter.distribution) == ("x", distribution)
    trial = optuna.create_study().ask()
    (suggested,) = space(word).suggested_for(trial)
    assert suggested.startswith(word.split("=")[0] + "=") and distribution._contains(
        distribution.to_internal_repr(trial.params["x"])
    )


def test_what_is_suggested_can_be_typed():
    parser = OverridesParser.create()
    (word,) = space("x=choice('a, b','it\\'s')").example()
    assert parser.parse_override(word).value() == "a, b"


def test_the_later_of_two_overrides_counts_and_fixed_ones_stay_as_typed():
    own = space("x=1,2", "y=a,b", "+x=3", "~z", 'w="a b"')
    assert [one.key for one in own.parameters] == ["y"]
    assert own.fixed_overrides() == ["+x=3", "~z", 'w="a b"']


def test_a_key_with_a_condition_is_there_where_it_holds():
    own = space("x=1,2", "kind=a,b,c", "z=7,8", x="kind=a,c", z="x=2")
    assert [one.key for one in own.parameters] == ["kind", "x", "z"]
    assert [*own.grid()] == [
        {"kind": "a", "x": "1"}, {"kind": "a", "x": "2", "z": "7"}, {"kind": "a", "x": "2", "z": "8"}, {"kind": "b"},
        {"kind": "c", "x": "1"}, {"kind": "c", "x": "2", "z": "7"}, {"kind": "c", "x": "2", "z": "8"},
    ]  # fmt: skip
    seen = set()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(40):
        words = dict(word.split("=") for word in own.suggested_for(study.ask()))
        assert ("x" in words) == (words["kind"] != "b") and ("z" in words) == (words.get("x") == "2")
        seen.add(words["kind"])
    assert seen == {"a", "b", "c"}


@pytest.mark.parametrize(("fixed", "there"), [("kind=a", True), ("kind=b", False), ("n=3", False)])
def test_a_condition_may_be_about_a_fixed_override(fixed, there):
    own = space("kind=z", fixed, "x=1,2", "y=1,2", x="kind=a")
    assert next(own.grid()).get("x") == ("1" if there else None)


def test_a_range_is_listed_to_its_end():
    assert [one["x"] for one in space("x=range(0,1,0.25)").grid()] == [0, 0.25, 0.5, 0.75]
    assert [one["x"] for one in space("x=range(5,0,-2)").grid()] == [1, 3, 5]


@pytest.mark.parametrize(
    ("words", "conditions", "sentence"),
    [
        (["x=1", "y=[1,2]"], {}, "there is nothing to search"),
        (["x=tag(loud,interval(0,1))"], {}, "x=tag(loud,interval(0,1)): there is no tag 'loud'; known: log"),
        (["x=tag(log,choice(1,2))"], {}, "choices have no logarithm"),
        (["launcher.cpu_slots=1,2"], {}, "launcher.cpu_slots=1,2: is how runs are started, the same for all trials"),
        (["x=shuffle(a,b)"], {}, "x=shuffle(a,b): a search has no order that could be shuffled"),
        (["x=interval(1,0)"], {}, "x=interval(1,0): "),
        (["x=range(1,1)"], {}, "x=range(1,1): "),
        (["x=tag(log,interval(0,1))"], {}, "x=tag(log,interval(0,1)): "),
        (["x=tag(log,range(1,9,2))"], {}, "x=tag(log,range(1,9,2)): "),
        (["x=1,2"], {"y": "x=1"}, "hydra.sweeper.conditions: 'y' is not searched; known: x"),
        (["x=1,2"], {"x": "kind=a"}, "hydra.sweeper.conditions: 'kind' is neither searched nor given; "),
        (["x=1,2", "kind=a,b"], {"x": "kind"}, "hydra.sweeper.conditions: found 'kind', expected other=value"),
        (["x=1,2", "kind=a,b"], {"x": "kind=interval(0,1)"}, "expected other=value"),
        (["x=1,2", "y=1,2"], {"x": "y=1", "y": "x=1"}, "hydra.sweeper.conditions: x -> y -> x is a circle"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_said(words, conditions, sentence):
    with pytest.raises(InputError) as caught:
        space(*words, **conditions)
    assert sentence in str(caught.value)


def test_an_interval_has_no_grid():
    with pytest.raises(InputError, match="x: has no list of values, as a grid needs"):
        next(space("x=interval(0,1)").grid())


@pytest.mark.parametrize("conditions", [["x=1"], ["x if y=1", "x if y=2"]])
def test_a_condition_has_a_form_and_a_key_has_one(conditions):
    parser = OverridesParser.create()
    with pytest.raises(InputError, match=f"conditions: found '{conditions[-1]}', expected 'key if other=value', one for a key"):
        Space(parser.parse_overrides(["x=1,2", "y=1,2"]), conditions, parser)
