"""What a sweep of separators says in the end."""

import csv
import json

import pytest
from omegaconf import OmegaConf

from unbraid.commands.comparison import Comparison
from unbraid.errors import InputError


def leave(folder, number, overrides, value, protocol="ikala_nsdr"):
    """A run with one figure for vocals."""
    run = folder / f"{number}-run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"overrides": overrides}))
    summary = {"vocals": {"NSDR": {"mean": value, "median": -1.0}, "SIR": {"mean": None}}}
    (run / "scores.json").write_text(json.dumps({"protocol": {"name": protocol, "tracks": "mean"}, "summary": summary}))


def end(folder, measures=("NSDR", "SIR")):
    Comparison(measures).on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}}))


def test_seeds_of_a_choice_are_one_row(tmp_path, capsys):
    for number, (model, seed, value) in enumerate([("a", 0, 1.0), ("a", 1, 3.0), ("b", 0, 7.0), ("b", 1, 7.0)]):
        leave(tmp_path, number, [f"model={model}", f"seed={seed}", "experiment=x"], value)
    end(tmp_path)
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()[1:4]] == [
        ["vocals", "(dB)", "NSDR", "runs"], ["model=a", "2.00", "±", "1.00", "2"], ["model=b", "7.00", "±", "0.00", "2"],
    ]  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "comparison.csv").open()))
    assert [(row["choice"], row["measure"], float(row["mean"]), float(row["deviation"])) for row in rows] == [
        ("model=a", "NSDR", 2.0, 1.0), ("model=b", "NSDR", 7.0, 0.0),
    ]  # fmt: skip


def test_two_protocols_share_no_table(tmp_path):
    leave(tmp_path, 0, ["model=a"], 1.0)
    leave(tmp_path, 1, ["model=b"], 1.0, protocol="musdb18")
    with pytest.raises(InputError, match="scores under two protocols do not compare"):
        end(tmp_path)
    assert not (tmp_path / "comparison.csv").exists()


def test_a_sweep_without_scores_says_nothing(tmp_path, capsys):
    end(tmp_path)
    assert capsys.readouterr().out == "" and not list(tmp_path.iterdir())


def test_of_a_protocol_without_these_measures_its_own_are_shown(tmp_path, capsys):
    leave(tmp_path, 0, ["model=a"], 1.0)
    end(tmp_path, ["uSDR"])
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:3]] == [
        ["vocals", "(dB)", "NSDR", "runs"], ["model=a", "1.00", "±", "0.00", "1"],
    ]  # fmt: skip


def test_runs_without_a_figure_make_no_table(tmp_path, capsys):
    leave(tmp_path, 0, ["model=a"], None)
    end(tmp_path)
    assert capsys.readouterr().out == "" and not (tmp_path / "comparison.csv").exists()
