"""A study is shared, and a trial is run by one at a time."""

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
    """A command that shares the study of this test."""
    parser = OverridesParser.create()

    def begin(*words, seed=0, path=tmp_path / "study", **options):
        own = OmegaConf.to_container(OmegaConf.load(CONF / "sweeper/optuna.yaml").hydra.sweeper) | {"n_trials": 4} | options
        return Search(Options(**own), Space(parser.parse_overrides([*words] or ["x=interval(0,1)"]), [], parser), seed, path)

    return begin


def end(search, claim, value=1.0):
    search.end(claim, "run", value)


def test_what_another_runs_is_left_to_it_and_what_it_left_behind_is_run_again(begin):
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


def test_suggestions_are_of_the_seed_and_the_number(begin, tmp_path):
    found = {}
    for name, seed, most in (("a", 0, 1), ("b", 0, 4), ("c", 1, 1)):
        found[name] = []
        while True:  # a search that is gone on with after each batch
            with begin(seed=seed, path=tmp_path / name, sampler="random") as search:
                if not (claims := search.claim(most)):
                    break
                for claim in claims:
                    found[name] += claim.overrides
                    end(search, claim)
    assert found["a"] == found["b"] != found["c"] and len({*found["a"]}) == 4


def test_a_trial_that_was_left_before_it_had_its_values_gets_them(begin):
    with begin("x=1,2", "y=interval(0,1)") as one:
        trial = one.study.ask()
        kept = trial.suggest_categorical("x", ["1", "2"])
    with begin("x=1,2", "y=interval(0,1)") as other:
        (claim,) = other.claim(1)
        assert claim.number == 0 and claim.overrides[0] == f"x={kept}" and claim.overrides[1].startswith("y=")


def test_a_grid_is_every_combination_once(begin):
    words = ["x=1,2", "y=range(0,3)"]
    with begin(*words, sampler="grid", n_trials=99) as one:
        first = one.claim(2)
        for claim in first:
            end(one, claim)
    with begin(*words, sampler="grid", n_trials=99) as other:
        rest = other.claim(99)
        assert [" ".join(claim.overrides) for claim in (*first, *rest)] == [f"x={x} y={y}" for x in (1, 2) for y in range(3)]
        assert other.claim(1) == []


def test_more_trials_of_a_grid_may_be_asked_for_later(begin):
    words = ["x=1,2,3,4"]
    for trials, expected in ((1, ["x=1"]), (3, ["x=2", "x=3"]), (2, [])):
        with begin(*words, sampler="grid", n_trials=trials) as search:
            claims = search.claim(9)
            assert [claim.overrides for claim in claims] == [[word] for word in expected]
            for claim in claims:
                end(search, claim)


def test_what_has_failed_is_left_by_its_command_and_tried_by_the_next_one(begin):
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
def test_a_study_that_was_killed_before_it_was_whole_is_gone_on_with(begin, tmp_path, lines):
    with begin("x=1,2,3", sampler="grid"):
        pass
    whole = (tmp_path / "study").read_text().splitlines(keepends=True)
    (tmp_path / "study").write_text("".join(whole[:lines]))  # the study, what is agreed, and one trial
    with begin("x=1,2,3", sampler="grid") as again:
        assert [claim.overrides for claim in again.claim(9)] == [["x=1"], ["x=2"], ["x=3"]]


def test_a_line_that_a_kill_has_left_half_written_is_cut_off(begin, tmp_path):
    with begin() as one:
        (claim,) = one.claim(1)
        whole = (tmp_path / "study").read_text()
        (tmp_path / "study").write_text(whole + whole.splitlines()[-1][:20])
        end(one, claim, 0.25)
    with begin() as other:
        assert [trial.value for trial in other.trials()] == [0.25] and len(other.claim(9)) == 3
    assert all(json.loads(line) for line in (tmp_path / "study").read_text().splitlines())


@pytest.mark.parametrize(
    ("words", "options", "sentence"),
    [
        ([], {"objective": "train/loss"}, "another objective: found valid/loss, asked for train/loss; choose another hydra."),
        ([], {"direction": "maximize"}, "another direction: found minimize, asked for maximize"),
        ([], {"pruner": "median"}, "another pruner"),
        ([], {"seed": 1}, "another seed: found 0, asked for 1"),
        (["x=interval(0,2)"], {}, 'another space: found {"x": '),
        (["x=interval(0,1)", "model=unet"], {}, 'another fixed overrides: found [], asked for ["model=unet"]'),
    ],
)
def test_another_search_is_refused(begin, words, options, sentence):
    begin()
    with pytest.raises(InputError) as caught:
        begin(*words, **options)
    assert sentence in str(caught.value)


def test_paths_and_the_number_of_trials_may_change(begin):
    begin("x=interval(0,1)", "data.root=/a")
    begin("x=interval(0,1)", "data.root=/b", "launcher.cpu_slots=2", n_trials=99, n_jobs=3)


def test_a_study_of_another_version_is_refused(begin, tmp_path):
    begin()
    file = tmp_path / "study"
    file.write_text(file.read_text().replace('"version":1', '"version":0'))
    with pytest.raises(InputError, match="study: holds a search with another version: found 0, asked for 1; choose another"):
        begin()


@pytest.mark.parametrize("content", [b"my notes", b"my notes\nof today\n", b'{"a": 1}\n', b"3\n", b"SQLite format 3\0\xff\n"])
def test_a_file_of_something_else_is_refused_and_stays(begin, tmp_path, content):
    (tmp_path / "study").write_bytes(content)
    with pytest.raises(InputError, match="study: is damaged, or not the storage of a search"):
        begin()
    assert [path.name for path in tmp_path.iterdir()] == ["study"] and (tmp_path / "study").read_bytes() == content


def test_a_storage_that_is_not_there_is_said(begin, tmp_path):
    with pytest.raises(InputError, match="nowhere: there is no such storage of a search"):
        load(tmp_path / "nowhere")
    (tmp_path / "study").touch()
    with pytest.raises(InputError, match="study: holds no search"):
        load(tmp_path / "study")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("direction", "up", "hydra.sweeper.direction=up: there is no such choice; known: maximize, minimize"),
        ("sampler", "tpee", "hydra.sweeper.sampler=tpee: there is no such choice; did you mean 'tpe'?"),
        ("pruner", "hope", "hydra.sweeper.pruner=hope: there is no such choice; "),
        ("n_trials", 0, "hydra.sweeper.n_trials must be at least 1, found 0"),
        ("n_jobs", 0, "hydra.sweeper.n_jobs must be at least 1, found 0"),
        ("startup_trials", -1, "hydra.sweeper.startup_trials must be at least 0, found -1"),
        ("warmup_epochs", 0, "hydra.sweeper.warmup_epochs must be at least 1, found 0"),
        ("objective", "loss", "hydra.sweeper.objective=loss: expected a name that begins with train/, valid/, test/"),
        ("storage", "sqlite:///a.db", "hydra.sweeper.storage=sqlite:///a.db: is an address, expected a file"),
    ],
)
def test_options_are_checked(begin, name, value, sentence):
    options = begin().options
    setattr(options, name, value)
    with pytest.raises(InputError) as caught:
        options.check()
    assert sentence in str(caught.value)


def test_what_only_a_whole_run_has_cannot_be_pruned(begin):
    with pytest.raises(InputError, match="known at the end of a run only, which leaves nothing to prune"):
        begin(objective="test/NSDR/vocals", pruner="median").options.check()
