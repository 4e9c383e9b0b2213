"""A reference curve is a median with a prediction band, and the command `curve` writes it as a choice of the group `curve`."""

import numpy as np
import pytest
import yaml
from scipy import stats

from tests.reports.sweeps import leave_run
from unbraid.reports.reference_curves import curve_of, drawn_references, reference_curve
from unbraid.reports.variants import read
from unbraid.runs.errors import InputError

MEASURE = "valid/uSDR/mean"


def leave(folder, number, values, seed=None, lr=1e-3, steps=None):
    """Write a run whose metrics.csv has `values` of the measure. Other rows have no value, as in epochs without validation."""
    run = leave_run(folder, number, "net", number if seed is None else seed, [1.0], lr=lr)
    rows = [
        f"{epoch},{step},{value}" for epoch, (step, value) in enumerate(zip(steps or range(10, 99, 10), values, strict=False))
    ]
    (run / "metrics.csv").write_text("\n".join([f"epoch,step,{MEASURE}", *rows, "99,990,"]) + "\n")
    return run


def runs_of_seeds(folder, values, **options):
    return [read(leave(folder, number, row, **options)) for number, row in enumerate(values)]


def test_the_band_is_the_prediction_interval_with_the_mean_variance_of_five_steps(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 7)) + np.arange(7)
    found = reference_curve(runs_of_seeds(tmp_path, values), MEASURE)
    assert found["measure"] == MEASURE and found["seeds"] == 4 and found["steps"] == [10, 20, 30, 40, 50, 60, 70]
    for step in range(7):
        near = range(max(0, step - 2), min(7, step + 3))
        variance = np.mean([np.sum((values[:, i] - values[:, i].mean()) ** 2) / 3 for i in near])
        width = stats.t(3).ppf(0.975) * np.sqrt(variance * 5 / 4)
        median = sum(sorted(values[:, step])[1:3]) / 2
        assert found["median"][step] == pytest.approx(median, abs=1e-4)
        assert (found["low"][step], found["high"][step]) == pytest.approx((median - width, median + width), abs=1e-4)


def test_a_further_seed_is_inside_with_the_stated_probability():
    generator, inside = np.random.default_rng(1), 0
    from unbraid.reports.reference_curves import _half_width

    for _ in range(2000):
        *first, further = generator.normal(size=4)
        width = _half_width(np.array(first)[:, None])[0]
        inside += abs(further - np.mean(first)) <= width
    assert 0.935 < inside / 2000 < 0.965


def test_only_steps_with_a_value_in_every_run_count(tmp_path):
    long, short = np.ones(5), np.zeros(3)
    found = reference_curve(runs_of_seeds(tmp_path, [long, short, long]), MEASURE)
    assert found["steps"] == [10, 20, 30]


def refused(runs):
    with pytest.raises(InputError) as error:
        reference_curve(runs, MEASURE)
    return error.value


def test_runs_that_do_not_belong_together_are_refused(tmp_path):
    runs = runs_of_seeds(tmp_path, np.ones((3, 2)))
    assert refused(runs[:2]).expected == "at least 3"
    assert refused([*runs[:2], runs[0]]).expected == "different seeds"
    other = read(leave(tmp_path, 3, [1, 2], lr=1e-2))
    assert refused([*runs, other]).found.endswith("(different keys: optim.lr)")
    later = read(leave(tmp_path, 4, [1], steps=[15]))
    assert refused([*runs, later]).where == "runs"
    empty = read(leave(tmp_path, 5, []))
    assert (refused([*runs, empty]).where, refused([*runs, empty]).found) == (str(empty.folder), "no validation values")


def test_several_variants_are_named_with_the_runs_of_one(tmp_path):
    """The same seeds in two variants are not the error that is reported."""
    sweep = [leave_run(tmp_path, number, f"net{number // 2}", number % 2, [1.0]) for number in range(4)]
    error = refused([read(run) for run in sweep])
    assert error.where == "runs" and error.found == "net0, net1 (different keys: model.separator.net.kind)"
    assert error.hint.endswith(f"'runs=[{sweep[0]},{sweep[1]}]'")


def test_the_command_writes_a_choice_that_train_accepts(tmp_path, cli):
    runs = [leave(tmp_path / "sweep", number, [number, number + 1.0]) for number in range(3)]
    words = [f"runs=[{','.join(map(str, runs))}]", f"output={tmp_path / 'conf/curve/mine.yaml'}"]
    status, out, error = cli(*words, script="scripts/curve.py")
    assert status == 0 and error == "" and "mine.yaml" in out
    text = (tmp_path / "conf/curve/mine.yaml").read_text()
    assert text.startswith("# @package callbacks.curve\n")
    expected = reference_curve([read(run) for run in runs], MEASURE)
    assert {key: value for key, value in yaml.safe_load(text).items() if key not in ("_target_", "name")} == expected
    status, out, error = cli("--config-dir", str(tmp_path / "conf"), "--cfg", "job", "curve=mine")
    assert status == 0 and "name: mine" in out
    status, _, error = cli(*words, script="scripts/curve.py")  # an existing file stays
    assert status == 1 and "mine.yaml" in error and (tmp_path / "conf/curve/mine.yaml").read_text() == text


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["output=x.yaml"], "sweep, runs"),
        (["output=x.yaml", "sweep=.", "runs=[.]"], "sweep, runs"),
        (["runs=[a,b,c]", "output=x.txt"], "output=x.txt"),
        (["runs=[a,b,c]"], "output"),
        (["sweep=nowhere", "output=x.yaml"], "nowhere"),
    ],
)
def test_wrong_words_leave_nothing_behind(cli, tmp_path, words, key):
    before = sorted(tmp_path.rglob("*"))
    status, _, error = cli(*words, script="scripts/curve.py")
    assert status == 1 and key in error and sorted(tmp_path.rglob("*")) == before


def test_the_report_draws_the_curve_over_epochs(tmp_path):
    run = leave(tmp_path, 0, [1, 2, 3])
    config = yaml.safe_load((run / "config.yaml").read_text())
    curve = {
        "name": "c",
        "measure": MEASURE,
        "seeds": 3,
        "steps": [5, 15, 30],
        "median": [1, 2, 3],
        "low": [0, 1, 2],
        "high": [2, 3, 4],
    }
    config["callbacks"] = {"curve": {"_target_": "unbraid.training.callbacks.reference_curve.ReferenceCurve", **curve}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert curve_of(read(run).config) == curve
    expected = {"name": "c", "seeds": 3, "epochs": [1.5, 3.0], "median": [2, 3], "low": [1, 2], "high": [3, 4]}
    assert drawn_references([read(run), read(run)]) == {MEASURE: [expected]}
