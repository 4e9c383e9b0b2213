"""Grouping of run folders into variants."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.reports.sweeps import PROTOCOL, TRACKS, leave_run, usual
from unbraid.reports.differences import differences, loss_names
from unbraid.reports.making import relabelled
from unbraid.reports.variants import Spread, read, runs_of, variants_of
from unbraid.runs.errors import InputError
from unbraid.runs.locks import LOCK


def variants(sweep):
    return variants_of(runs_of(sweep))


def test_runs_that_differ_in_seed_are_one_variant(tmp_path):
    usual(tmp_path)
    read_variants = variants(tmp_path)
    assert [variant.name for variant in read_variants] == ["net0", "net1", "net2"]
    assert [run.folder.name for run in read_variants[0].runs] == ["0-net0-demo-0", "1-net0-demo-1"]
    assert read_variants[0].of_tracks("vocals", "NSDR", TRACKS).shape == (2, 8)


def test_runs_are_sorted_by_number(tmp_path):
    for number in (10, 9, 0):
        leave_run(tmp_path, number, f"net{number}", 0, [1.0])
    assert [path.name.split("-")[0] for path in runs_of(tmp_path)] == ["0", "9", "10"]


def test_summary_is_the_mean_over_seeds(tmp_path):
    for seed, value in enumerate((1.0, 3.0)):
        leave_run(tmp_path, seed, "net", seed, [value, value])
    (variant,) = variants(tmp_path)
    assert variant.summary("vocals", "NSDR") == Spread(2.0, pytest.approx(np.std([1, 3], ddof=1)), 2)
    assert variant.summary("vocals", "SAR") is None and variant.summary("drums", "NSDR") is None
    assert np.isnan(variant.of_tracks("vocals", "SAR", TRACKS[:2])).all()


def test_single_seed_has_no_deviation():
    assert Spread.of([4.0]) == Spread(4.0, None, 1) and Spread.of([None]) is None


def test_costs_are_read_from_scores(tmp_path):
    leave_run(tmp_path, 0, "net", 0, [1.0])
    (variant,) = variants(tmp_path)
    assert variant.seconds.mean == 7.5 and variant.cost("parameters").mean == 2e6 and variant.gpu_hours.mean == 0  # on the CPU
    scores = variant.runs[0].scores | {"cost": {"device": "NVIDIA H100", "devices": 2}}
    assert replace(variant, runs=[replace(variant.runs[0], scores=scores)]).gpu_hours.mean == pytest.approx(2 * 7.5 / 3600)


def test_missing_cost_is_none(tmp_path):
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
def test_name_consists_of_overrides_that_differ(tmp_path, words, names):
    for number, overrides in enumerate(words):
        leave_run(tmp_path, number, f"net{number}", 0, [1.0], words=overrides)
    assert [variant.name for variant in variants(tmp_path)] == [
        name if " " not in name else f"model={name}" for name in names
    ]  # the key is omitted if each variant has one override of the same key


def test_long_keys_are_shortened_in_names(tmp_path):
    for number, word in enumerate(["optim.optimizer.lr=1e-3", "+optim.optimizer.lr=1e-4"]):
        run = leave_run(tmp_path, number, "net", 0, [1.0], lr=number)
        record = json.loads((run / "run.json").read_text()) | {"overrides": [word, "seed=0"]}
        (run / "run.json").write_text(json.dumps(record))
    assert [variant.name for variant in variants(tmp_path)] == ["lr=1e-3", "lr=1e-4"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["model.loss._target_=a.b.L1", "model.loss._target_=a.b.SISDR"], ["lr=0.0077 loss=L1", "lr=0.0012 loss=SISDR"]),
        (["model.loss._target_=a.L1", "model.loss._target_=b.L1"], None),
    ],
)
def test_several_long_keys_are_shortened(tmp_path, words, names):
    rates = "optim.lr=0.00770001", "optim.lr=0.00120001"
    for number, (rate, word) in enumerate(zip(rates, words, strict=True)):
        run = leave_run(tmp_path, number, "net", 0, [1.0], lr=number)
        record = json.loads((run / "run.json").read_text()) | {"overrides": [rate, word, "seed=0"]}
        (run / "run.json").write_text(json.dumps(record))
    expected = names or [f"optim.lr={rate} {word}" for rate, word in zip(("0.0077", "0.0012"), words, strict=True)]
    assert [variant.name for variant in variants(tmp_path)] == expected


def test_equal_names_get_their_folder(tmp_path):
    leave_run(tmp_path, 0, "net", 0, [1.0], lr=1e-3)
    leave_run(tmp_path, 1, "net", 0, [1.0], lr=1e-4)
    assert [variant.name for variant in variants(tmp_path)] == ["net (0-net-demo-0)", "net (1-net-demo-0)"]


def test_differences_omit_seeds_names_and_paths(tmp_path):
    usual(tmp_path, variants=2)
    assert differences(variants(tmp_path)) == {"model.separator.net.kind": ["net0", "net1"]}


def test_constant_seed_of_data_is_no_difference(tmp_path):
    """`data.seed` equals the seed and is ignored. `layout.seed` is 0 in all runs, and must not be ignored in some of them."""
    for seed in range(2):
        run = leave_run(tmp_path, seed, "net", seed, [1.0])
        (run / "config.yaml").write_text((run / "config.yaml").read_text() + "layout: {seed: 0}\n")
    assert len(variants(tmp_path)) == 1


def test_different_protocols_are_refused(tmp_path):
    leave_run(tmp_path, 0, "a", 0, [1.0])
    leave_run(tmp_path, 1, "b", 0, [1.0], protocol=PROTOCOL | {"name": "musdb18"})
    with pytest.raises(InputError, match="ikala_nsdr for 0-a-demo-0 and musdb18"):
        variants(tmp_path)


def test_protocols_of_runs_with_equal_names_are_compared(tmp_path):
    first = leave_run(tmp_path / "one", 0, "a", 0, [1.0])
    second = leave_run(tmp_path / "two", 0, "a", 0, [1.0], protocol=PROTOCOL | {"name": "musdb18"})
    with pytest.raises(InputError, match="ikala_nsdr for one/0-a-demo-0 and musdb18 for two/0-a-demo-0"):
        variants_of([first, second])


def test_equal_names_in_two_sweeps_get_the_sweep(tmp_path):
    runs = [leave_run(tmp_path / name, 0, "net", 0, [1.0], lr=lr) for name, lr in (("one", 1e-3), ("two", 1e-4))]
    assert [variant.name for variant in variants_of(runs)] == ["net (one/0-net-demo-0)", "net (two/0-net-demo-0)"]


def test_run_given_twice_is_refused(tmp_path):
    run = leave_run(tmp_path / "sweep", 0, "a", 0, [1.0])
    (tmp_path / "latest").symlink_to(run)
    for again in (run, run / ".." / run.name, tmp_path / "latest"):
        with pytest.raises(InputError, match="twice") as error:
            variants_of([run, again])
        assert error.value.where == str(run)


def test_equal_seeds_of_a_variant_are_refused(tmp_path):
    runs = [leave_run(tmp_path / name, 0, "a", 3, [1.0]) for name in ("one", "two")]
    with pytest.raises(InputError) as error:
        variants_of(runs)
    assert (error.value.where, error.value.found) == ("one/0-a-demo-3 and two/0-a-demo-3", 3)


def test_failed_run_of_equal_seed_is_accepted(tmp_path):
    runs = [leave_run(tmp_path / "one", 0, "a", 3, None, state="failed"), leave_run(tmp_path / "two", 0, "a", 3, [1.0])]
    (variant,) = variants_of(runs)
    assert len(variant.runs) == 1 and len(variant.without) == 1


def test_infinite_and_damaged_epoch_values_are_omitted(tmp_path):
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    numbers = ["0,1,2.5,inf", "1,2,2.5,nan", "2,3,2.5,-inf", "3,4,2.5,0.5"]
    lines = ["epoch,step,seconds,valid/loss", *numbers, "4,5,2.5,0.5,7,8", "x,y", "", "5,6", "1e"]
    (run / "metrics.csv").write_text("\n".join(lines))
    (variant,) = variants(tmp_path)
    assert [row.get("valid/loss") for row in variant.first.epochs] == [None, None, None, 0.5, 0.5, None]
    assert variant.seconds.mean == 12.5 and [row["epoch"] for row in variant.first.epochs] == [0, 1, 2, 3, 4, 5]


def test_binary_metrics_file_is_refused(tmp_path):
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    (run / "metrics.csv").write_bytes(b"epoch,step\n\xff\xfe,1\n")
    (variant,) = variants(tmp_path)
    with pytest.raises(InputError) as error:
        _ = variant.seconds
    assert error.value.where == str(run / "metrics.csv")


def test_scores_of_different_tracks_are_refused(tmp_path):
    leave_run(tmp_path, 0, "a", 0, [1.0, 2.0])
    leave_run(tmp_path, 1, "b", 0, [1.0])
    with pytest.raises(InputError) as error:
        variants(tmp_path)
    assert error.value.where == "0-a-demo-0 and 1-b-demo-0"
    assert error.value.found == "the track 'song 1' only in 0-a-demo-0"


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("failed", "trainer: out of memory", "failed: trainer: out of memory"),
        ("queued", None, "has not started"),
        ("pruned", None, "pruned"),
        ("interrupted", None, "interrupted"),
        ("running", None, "was killed while it ran"),
        ("done", None, "is done, but its scores.json is missing"),
    ],
)
def test_runs_without_scores_are_listed_with_the_reason(tmp_path, state, error, words):
    leave_run(tmp_path, 0, "a", 0, [1.0])
    leave_run(tmp_path, 1, "b", 0, None, state=state, error=error)
    scored, other = variants(tmp_path)
    assert [scored.name, other.name] == ["a", "b"] and other.runs == []
    assert [run.missing for run in other.without] == [words]


def test_locked_run_is_still_running(tmp_path, monkeypatch):
    run = leave_run(tmp_path, 0, "a", 0, None, state="running")
    (run / LOCK).touch()
    monkeypatch.setattr("unbraid.reports.variants.is_held", lambda folder: (folder / LOCK).exists())
    assert read(run).missing == "still running, 3 epochs done"


def test_run_without_scores_joins_its_variant(tmp_path):
    leave_run(tmp_path, 0, "a", 0, [1.0])
    leave_run(tmp_path, 1, "a", 1, None, state="failed")
    (variant,) = variants(tmp_path)
    assert len(variant.runs) == 1 and len(variant.without) == 1


def test_sweep_without_scores_is_refused(tmp_path):
    leave_run(tmp_path, 0, "a", 0, None, state="queued")
    (leave_run(tmp_path, 1, "b", 0, None) / "scores.json").write_text('{"summary": {}}')
    with pytest.raises(InputError) as error:
        variants(tmp_path)
    assert error.value.where == "2 runs"
    assert "0-a-demo-0 has not started; 1-b-demo-0 scores.json, protocol: " in error.value.problem


def test_other_folders_are_refused_as_sweeps(tmp_path):
    def refused(folder, key="sweep"):
        with pytest.raises(InputError) as error:
            runs_of(folder, key)
        assert error.value.where == f"{key}={folder}" and error.value.expected == "the folder of a sweep"
        return error.value

    assert refused(tmp_path).found is None
    assert refused(tmp_path / "none", "power_from").problem == "this path does not exist"
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    assert refused(run).hint == "To name single run folders, type runs=[FOLDER,…]" and refused(run, "power_from").hint == ""
    assert refused(run / "run.json").problem == "this path is a file"
    with pytest.raises(InputError, match=r"run\.json"):
        read(Path(tmp_path))


@pytest.mark.parametrize("text", ["a: [", "- a list", None])
def test_damaged_config_is_refused(tmp_path, text):
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    (run / "config.yaml").unlink() if text is None else (run / "config.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        read(run)
    assert error.value.where.startswith(str(run / "config.yaml"))


def test_config_cannot_create_python_objects(tmp_path):
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    (run / "config.yaml").write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError) as error:
        read(run)
    assert error.value.where == f"{run / 'config.yaml'}, line 1"


def test_labels_replace_names(tmp_path):
    found = variants(usual(tmp_path, variants=2))
    assert [variant.name for variant in relabelled(found, ["U-Net", "no skips"])] == ["U-Net", "no skips"]
    assert relabelled(found, []) == found
    for labels, problem in ((["one"], 1), (["same", "same"], "same, same")):
        with pytest.raises(InputError) as error:
            relabelled(found, labels)
        assert (error.value.where, error.value.found) == ("labels", problem)


def test_different_losses_have_names(tmp_path):
    for number, loss in enumerate(({"_target_": "a.L1"}, {"_target_": "a.L1", "p": 2}, {"_target_": "b.MSE"})):
        run = leave_run(tmp_path, number, f"net{number}", 0, [1.0])
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["model"]["loss"] = loss
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    found = variants(tmp_path)
    assert loss_names(found) == {"net0": "L1 1", "net1": "L1 2", "net2": "MSE"}
    assert loss_names(found[:1]) == {}


def test_names_have_rounded_numbers(tmp_path):
    for number, rate in enumerate((0.0076999, 0.0123456)):
        leave_run(tmp_path, number, "net", 0, [1.0], lr=rate, words=[f"optim.optimizer.lr={rate}"])
    assert [variant.name for variant in variants(tmp_path)] == ["lr=0.0077", "lr=0.0123"]
