"""Tests of studies that several commands share."""

import json

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from unbraid.commands.cli import CONF
from unbraid.runs.errors import InputError
from unbraid.sweeps.search.options import Options
from unbraid.sweeps.search.space import Space
from unbraid.sweeps.search.storage import load
from unbraid.sweeps.search.study import Search


@pytest.fixture
def begin(tmp_path):
    """Return a function that starts a command on the study of this test."""
    parser = OverridesParser.create()

    def begin(*words, seed=0, path=tmp_path / "study", **options):
        defaults = OmegaConf.to_container(OmegaConf.load(CONF / "sweeper/optuna.yaml").hydra.sweeper)
        checked = Options(**defaults | {"n_trials": 4} | options)
        return Search(checked, Space(parser.parse_overrides([*words] or ["x=interval(0,1)"]), [], parser), seed, path)

    return begin


def end(search, claim, value=1.0):
    search.end(claim, "run", value)


def test_interrupted_trials_are_run_by_another_command(begin):
    with begin() as one:
        (first,) = one.claim(1)
        with begin() as other:
            second, third, fourth = other.claim(9)
            assert [first.number, second.number, third.number, fourth.number] == [0, 1, 2, 3]
            assert one.claim(9) == []
            end(other, second)
        left = one.claim(9)
        assert [claim.number for claim in left] == [2, 3]
        assert [claim.overrides for claim in left] == [third.overrides, fourth.overrides]
        for claim in (first, *left):
            end(one, claim)
    with begin() as last:
        assert last.claim(9) == [] and len(last.trials()) == 4


def test_suggestions_depend_on_seed_and_number(begin, tmp_path):
    overrides = {}
    for name, seed, most in (("a", 0, 1), ("b", 0, 4), ("c", 1, 1)):
        overrides[name] = []
        while True:  # the search is resumed after each batch
            with begin(seed=seed, path=tmp_path / name, sampler="random") as search:
                if not (claims := search.claim(most)):
                    break
                for claim in claims:
                    overrides[name] += claim.overrides
                    end(search, claim)
    assert overrides["a"] == overrides["b"] != overrides["c"] and len({*overrides["a"]}) == 4


def test_an_interrupted_trial_gets_its_missing_values(begin):
    with begin("x=1,2", "y=interval(0,1)") as one:
        trial = one.study.ask()
        suggested = trial.suggest_categorical("x", ["1", "2"])
    with begin("x=1,2", "y=interval(0,1)") as other:
        (claim,) = other.claim(1)
        assert claim.number == 0 and claim.overrides[0] == f"x={suggested}" and claim.overrides[1].startswith("y=")


def test_a_grid_has_each_combination_once(begin):
    words = ["x=1,2", "y=range(0,3)"]
    with begin(*words, sampler="grid", n_trials=99) as one:
        first = one.claim(2)
        for claim in first:
            end(one, claim)
    with begin(*words, sampler="grid", n_trials=99) as other:
        rest = other.claim(99)
        assert [" ".join(claim.overrides) for claim in (*first, *rest)] == [f"x={x} y={y}" for x in (1, 2) for y in range(3)]
        assert other.claim(1) == []


def test_a_grid_can_be_continued_with_more_trials(begin):
    words = ["x=1,2,3,4"]
    for trials, expected in ((1, ["x=1"]), (3, ["x=2", "x=3"]), (2, [])):
        with begin(*words, sampler="grid", n_trials=trials) as search:
            claims = search.claim(9)
            assert [claim.overrides for claim in claims] == [[word] for word in expected]
            for claim in claims:
                end(search, claim)


def test_failed_trials_are_run_by_the_next_command(begin):
    with begin(n_trials=1) as one:
        (claim,) = one.claim(9)
        one.leave(claim, "no memory")
        assert one.claim(9) == []
        with begin(n_trials=1) as other:
            assert other.claim(9) == []
    with begin(n_trials=1) as last:
        (again,) = last.claim(9)
        assert again.overrides == claim.overrides and last.trials()[0].user_attrs["error"] == ""


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_an_incomplete_study_is_resumed(begin, tmp_path, lines):
    with begin("x=1,2,3", sampler="grid"):
        pass
    whole = (tmp_path / "study").read_text().splitlines(keepends=True)
    (tmp_path / "study").write_text("".join(whole[:lines]))  # the study, its options and one trial
    with begin("x=1,2,3", sampler="grid") as again:
        assert [claim.overrides for claim in again.claim(9)] == [["x=1"], ["x=2"], ["x=3"]]


def test_an_incomplete_last_line_is_removed(begin, tmp_path):
    with begin() as one:
        (claim,) = one.claim(1)
        whole = (tmp_path / "study").read_text()
        (tmp_path / "study").write_text(whole + whole.splitlines()[-1][:20])
        end(one, claim, 0.25)
    with begin() as other:
        assert [trial.value for trial in other.trials()] == [0.25] and len(other.claim(9)) == 3
    assert all(json.loads(line) for line in (tmp_path / "study").read_text().splitlines())


@pytest.mark.parametrize(
    ("words", "options", "name", "found"),
    [
        ([], {"objective": "train/loss"}, "objective", "valid/loss"),
        ([], {"direction": "maximize"}, "direction", "minimize"),
        ([], {"pruner": "median"}, "pruner", "none"),
        ([], {"seed": 1}, "seed", "0"),
        (["x=interval(0,2)"], {}, "space", '{"x": '),
        (["x=interval(0,1)", "model=unet"], {}, "fixed overrides", "[]"),
    ],
)
def test_another_search_is_refused(begin, tmp_path, words, options, name, found):
    begin()
    with pytest.raises(InputError) as raised:
        begin(*words, **options)
    assert raised.value.where == str(tmp_path / "study") and raised.value.problem.endswith(name)
    assert raised.value.found.startswith(found)


def test_paths_and_number_of_trials_can_change(begin):
    begin("x=interval(0,1)", "data.root=/a")
    begin("x=interval(0,1)", "data.root=/b", "launcher.cpu_slots=2", n_trials=99, n_jobs=3)


def test_a_study_of_another_version_is_refused(begin, tmp_path):
    begin()
    file = tmp_path / "study"
    file.write_text(file.read_text().replace('"version":1', '"version":0'))
    with pytest.raises(InputError) as raised:
        begin()
    assert (raised.value.where, raised.value.found, raised.value.expected) == (str(file), "0", "1")


@pytest.mark.parametrize("content", [b"my notes", b"my notes\nof today\n", b'{"a": 1}\n', b"3\n", b"SQLite format 3\0\xff\n"])
def test_other_files_are_refused_and_not_changed(begin, tmp_path, content):
    (tmp_path / "study").write_bytes(content)
    with pytest.raises(InputError) as raised:
        begin()
    assert raised.value.where == str(tmp_path / "study")
    assert [path.name for path in tmp_path.iterdir()] == ["study"] and (tmp_path / "study").read_bytes() == content


def test_missing_and_empty_storages_are_errors(tmp_path):
    (tmp_path / "empty").touch()
    for name in ("missing", "empty"):
        with pytest.raises(InputError) as raised:
            load(tmp_path / name)
        assert raised.value.where == str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("direction", "up"), ("sampler", "tpee"), ("pruner", "hope"), ("n_trials", 0), ("n_jobs", 0), ("startup_trials", -1),
        ("warmup_epochs", 0), ("objective", "loss"), ("storage", "sqlite:///a.db"),
    ],
)  # fmt: skip
def test_options_are_checked(begin, name, value):
    options = begin().options
    setattr(options, name, value)
    with pytest.raises(InputError) as raised:
        options.check()
    assert (raised.value.where, raised.value.found) == (f"hydra.sweeper.{name}", value)


def test_test_scores_cannot_be_pruned(begin):
    with pytest.raises(InputError) as raised:
        begin(objective="test/NSDR/vocals", pruner="median").options.check()
    assert raised.value.where == "hydra.sweeper.pruner=median"
