"""Run folders read as arms."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.reports.sweeps import PROTOCOL, TRACKS, leave_run, usual
from unbraid.reports.variants import Spread, differences, read, runs_of, variants_of
from unbraid.runs.errors import InputError
from unbraid.runs.records import LOCK


def variants(sweep):
    return variants_of(runs_of(sweep))


def test_runs_that_differ_in_the_seed_are_one_arm(tmp_path):
    usual(tmp_path)
    found = variants(tmp_path)
    assert [variant.name for variant in found] == ["net0", "net1", "net2"]
    assert [run.folder.name for run in found[0].runs] == ["0-net0-demo-0", "1-net0-demo-1"]
    assert found[0].of_tracks("vocals", "NSDR", TRACKS).shape == (2, 8)


def test_runs_come_in_the_order_of_the_sweep_and_not_of_the_alphabet(tmp_path):
    for number in (10, 9, 0):
        leave_run(tmp_path, number, f"net{number}", 0, [1.0])
    assert [path.name.split("-")[0] for path in runs_of(tmp_path)] == ["0", "9", "10"]


def test_figures_are_means_over_seeds_and_undefined_ones_are_none(tmp_path):
    for seed, value in enumerate((1.0, 3.0)):
        leave_run(tmp_path, seed, "net", seed, [value, value])
    (variant,) = variants(tmp_path)
    assert variant.summary("vocals", "NSDR") == Spread(2.0, pytest.approx(np.std([1, 3], ddof=1)), 2)
    assert variant.summary("vocals", "SAR") is None and variant.summary("drums", "NSDR") is None
    assert np.isnan(variant.of_tracks("vocals", "SAR", TRACKS[:2])).all()


def test_a_single_seed_has_no_deviation():
    assert Spread.of([4.0]) == Spread(4.0, None, 1) and Spread.of([None]) is None


def test_cost_is_that_of_training(tmp_path):
    leave_run(tmp_path, 0, "net", 0, [1.0])
    (variant,) = variants(tmp_path)
    assert variant.seconds.mean == 7.5 and variant.cost("parameters").mean == 2e6 and variant.gpu_hours.mean == 0  # on the CPU
    scores = variant.runs[0].scores | {"cost": {"device": "NVIDIA H100", "devices": 2}}
    assert replace(variant, runs=[replace(variant.runs[0], scores=scores)]).gpu_hours.mean == pytest.approx(2 * 7.5 / 3600)


def test_runs_of_before_that_have_no_record_of_cost_say_nothing(tmp_path):
    run = leave_run(tmp_path, 0, "net", 0, [1.0])
    scores = json.loads((run / "scores.json").read_text())
    del scores["cost"]
    (run / "scores.json").write_text(json.dumps(scores))
    (variant,) = variants(tmp_path)
    assert variant.cost("parameters") is None and variant.gpu_hours is None


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([["a=1"], ["a=2"]], ["net0 a=1", "net1 a=2"]),
        ([["a=1"], ["a=1"]], ["net0", "net1"]),
        ([["data.root=/one"], ["data.root=/two"]], ["net0", "net1"]),
        ([["experiment=x"], []], ["net0", "net1"]),
    ],
)
def test_an_arm_is_named_after_what_was_typed_for_it_alone(tmp_path, words, names):
    for number, own in enumerate(words):
        leave_run(tmp_path, number, f"net{number}", 0, [1.0], words=own)
    assert [variant.name for variant in variants(tmp_path)] == [
        name if " " not in name else f"model={name}" for name in names
    ]  # only where all were told one thing, its value is enough


def test_where_all_were_told_one_value_its_last_name_says_enough(tmp_path):
    for number, word in enumerate(["optim.optimizer.lr=1e-3", "+optim.optimizer.lr=1e-4"]):
        run = leave_run(tmp_path, number, "net", 0, [1.0], lr=number)
        record = json.loads((run / "run.json").read_text()) | {"overrides": [word, "seed=0"]}
        (run / "run.json").write_text(json.dumps(record))
    assert [variant.name for variant in variants(tmp_path)] == ["lr=1e-3", "lr=1e-4"]


def test_arms_of_other_values_that_nobody_typed_are_told_apart_by_their_folders(tmp_path):
    leave_run(tmp_path, 0, "net", 0, [1.0], lr=1e-3)
    leave_run(tmp_path, 1, "net", 0, [1.0], lr=1e-4)
    assert [variant.name for variant in variants(tmp_path)] == ["net (0-net-demo-0)", "net (1-net-demo-0)"]


def test_what_differs_is_what_differs_less_seeds_names_and_paths(tmp_path):
    usual(tmp_path, variants=2)
    assert differences(variants(tmp_path)) == {"model.separator.net.kind": ["net0", "net1"]}


def test_a_seed_of_something_else_is_no_seed_of_the_run(tmp_path):
    """`data.seed` follows the seed; a seed that is always 0 would differ between seeds if it were dropped in some."""
    for seed in range(2):
        run = leave_run(tmp_path, seed, "net", seed, [1.0])
        (run / "config.yaml").write_text((run / "config.yaml").read_text() + "layout: {seed: 0}\n")
    assert len(variants(tmp_path)) == 1


def test_scores_under_two_protocols_do_not_compare(tmp_path):
    leave_run(tmp_path, 0, "a", 0, [1.0])
    leave_run(tmp_path, 1, "b", 0, [1.0], protocol=PROTOCOL | {"name": "musdb18"})
    with pytest.raises(InputError, match="found ikala_nsdr for 0-a-demo-0 and musdb18"):
        variants(tmp_path)


def test_runs_of_one_name_in_two_sweeps_do_not_hide_each_other_s_protocol(tmp_path):
    one = leave_run(tmp_path / "one", 0, "a", 0, [1.0])
    two = leave_run(tmp_path / "two", 0, "a", 0, [1.0], protocol=PROTOCOL | {"name": "musdb18"})
    with pytest.raises(InputError, match="name is ikala_nsdr for one/0-a-demo-0 and musdb18 for two/0-a-demo-0"):
        variants_of([one, two])


def test_arms_of_one_name_in_two_sweeps_are_told_apart_by_them(tmp_path):
    runs = [leave_run(tmp_path / name, 0, "net", 0, [1.0], lr=lr) for name, lr in (("one", 1e-3), ("two", 1e-4))]
    assert [variant.name for variant in variants_of(runs)] == ["net (one/0-net-demo-0)", "net (two/0-net-demo-0)"]


def test_a_run_that_is_given_twice_is_no_second_seed(tmp_path):
    run = leave_run(tmp_path / "sweep", 0, "a", 0, [1.0])
    (tmp_path / "latest").symlink_to(run)
    for again in (run, run / ".." / run.name, tmp_path / "latest"):
        with pytest.raises(InputError, match=r"0-a-demo-0: this run is given twice"):
            variants_of([run, again])


def test_one_seed_of_an_arm_counts_once(tmp_path):
    runs = [leave_run(tmp_path / name, 0, "a", 3, [1.0]) for name in ("one", "two")]
    expected = "^one/0-a-demo-3 and two/0-a-demo-3 are runs of one arm with one seed, 3, and would count as two"
    with pytest.raises(InputError, match=expected):
        variants_of(runs)


def test_a_failed_try_of_a_seed_is_no_second_seed(tmp_path):
    runs = [leave_run(tmp_path / "one", 0, "a", 3, None, state="failed"), leave_run(tmp_path / "two", 0, "a", 3, [1.0])]
    (variant,) = variants_of(runs)
    assert len(variant.runs) == 1 and len(variant.without) == 1


def test_what_is_infinite_or_garbled_in_the_epochs_is_left_out(tmp_path):
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    numbers = ["0,1,2.5,inf", "1,2,2.5,nan", "2,3,2.5,-inf", "3,4,2.5,0.5"]
    lines = ["epoch,step,seconds,valid/loss", *numbers, "4,5,2.5,0.5,7,8", "x,y", "", "5,6", "1e"]
    (run / "metrics.csv").write_text("\n".join(lines))
    (variant,) = variants(tmp_path)
    assert [row.get("valid/loss") for row in variant.first.epochs] == [None, None, None, 0.5, 0.5, None]
    assert variant.seconds.mean == 12.5 and [row["epoch"] for row in variant.first.epochs] == [0, 1, 2, 3, 4, 5]


def test_epochs_that_are_no_text_are_said(tmp_path):
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    (run / "metrics.csv").write_bytes(b"epoch,step\n\xff\xfe,1\n")
    (variant,) = variants(tmp_path)
    with pytest.raises(InputError) as raised:
        _ = variant.seconds
    assert raised.value.where == str(run / "metrics.csv") and "not a table" in raised.value.problem


def test_scores_of_other_tracks_do_not_compare(tmp_path):
    leave_run(tmp_path, 0, "a", 0, [1.0, 2.0])
    leave_run(tmp_path, 1, "b", 0, [1.0])
    with pytest.raises(InputError, match="0-a-demo-0 has 2 and 1-b-demo-0 1; 'song 1' is one of 0-a-demo-0 only"):
        variants(tmp_path)


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("failed", "trainer: out of memory", "failed: trainer: out of memory"),
        ("queued", None, "has not started"),
        ("pruned", None, "pruned"),
        ("interrupted", None, "interrupted"),
        ("running", None, "was cut off while it ran"),
        ("done", None, "is done, and its scores.json is missing"),
    ],
)
def test_runs_without_scores_are_listed_with_the_reason(tmp_path, state, error, words):
    leave_run(tmp_path, 0, "a", 0, [1.0])
    leave_run(tmp_path, 1, "b", 0, None, state=state, error=error)
    found = variants(tmp_path)
    assert [variant.name for variant in found] == ["a", "b"] and found[1].runs == []
    assert [run.missing for run in found[1].without] == [words]


def test_a_run_that_another_process_is_at_is_running(tmp_path, monkeypatch):
    run = leave_run(tmp_path, 0, "a", 0, None, state="running")
    (run / LOCK).touch()
    monkeypatch.setattr("unbraid.reports.variants.is_held", lambda folder: (folder / LOCK).exists())
    assert read(run).missing == "still running, 3 epochs done"


def test_a_seed_without_scores_is_of_its_arm(tmp_path):
    leave_run(tmp_path, 0, "a", 0, [1.0])
    leave_run(tmp_path, 1, "a", 1, None, state="failed")
    (variant,) = variants(tmp_path)
    assert len(variant.runs) == 1 and len(variant.without) == 1


def test_without_any_scores_there_is_nothing_to_report(tmp_path):
    leave_run(tmp_path, 0, "a", 0, None, state="queued")
    (leave_run(tmp_path, 1, "b", 0, None) / "scores.json").write_text('{"summary": {}}')
    expected = "none of 2 runs has scores: 0-a-demo-0 has not started; 1-b-demo-0 scores.json, protocol: missing"
    with pytest.raises(InputError, match=expected):
        variants(tmp_path)


def test_what_is_no_sweep_is_said(tmp_path):
    def refused(folder, key="sweep"):
        with pytest.raises(InputError) as raised:
            runs_of(folder, key)
        assert raised.value.where == f"{key}={folder}" and raised.value.expected == "the folder of a sweep"
        return raised.value

    assert refused(tmp_path).found == "nothing" and refused(tmp_path / "none", "power_from").problem == "no such folder"
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    assert refused(run).hint == "For some runs type runs=[…]" and refused(run, "power_from").hint == ""
    assert refused(run / "run.json").problem == "is a file"
    with pytest.raises(InputError, match=r"has no run\.json, expected the folder of a run"):
        read(Path(tmp_path))


@pytest.mark.parametrize("text", ["a: [", "- a list", None])
def test_a_run_whose_config_is_damaged_is_said(tmp_path, text):
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    (run / "config.yaml").unlink() if text is None else (run / "config.yaml").write_text(text)
    with pytest.raises(InputError) as raised:
        read(run)
    assert raised.value.where.startswith(str(run / "config.yaml"))


def test_no_object_of_python_is_made_of_a_config(tmp_path):
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    (run / "config.yaml").write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError) as raised:
        read(run)
    assert raised.value.where == f"{run / 'config.yaml'}, line 1"
