"""Tests that a package outside of unbraid adds one class of each kind."""

import csv
import json
from shutil import copytree

import pytest
import torch

import unbraid
from tests.plugins.conftest import SMALL
from unbraid.commands.unknown_keys import unknown_choice
from unbraid.runs.errors import InputError
from unbraid.runs.plugins import named, names
from unbraid.runs.source_version import source_hash


def test_a_run_uses_every_part(run):
    scores = json.loads((run / "scores.json").read_text())
    closeness = scores["summary"]["vocals"]["closeness"]
    assert closeness["mean"] < 0 and scores["summary"]["vocals"]["undefined"]["undefined"] == 1
    assert scores["protocol"]["measure"] == "mypkg.parts.MeanError(factor=2.0)" and scores["protocol"]["unit"] == "no unit"
    assert scores["settings"]["estimate"]["phase"] == "mine"
    assert (run / "counted.txt").read_text() == "0\n"
    lines = (run / "lines.txt").read_text().splitlines()
    (row,) = csv.DictReader((run / "metrics.csv").open())
    assert lines[0] == f"0 {float(row['train/loss'])}" and lines[1].startswith("result ['test/closeness") and lines[2] == "done"
    (rows,) = run.parent.glob("rows/*/*/metrics.csv")
    logged = list(csv.DictReader(rows.open()))
    assert float(logged[0]["train/loss"]) == float(row["train/loss"]) and "test/closeness/vocals" in logged[1]


def test_the_record_names_the_plugin(run, installed):
    record = json.loads((run / "run.json").read_text())
    assert record["plugins"] == {"mypkg": {"version": None, "source": source_hash([installed / "mypkg"])}}
    assert not any("plugins" in word for word in record["overrides"])


def test_loading_needs_the_name(run, mypkg):
    with pytest.raises(InputError) as raised:
        unbraid.load(run)
    assert raised.value.where == "model.separator._target_" and raised.value.found == "mypkg.parts.MySeparator"
    assert "plugins=mypkg" in raised.value.hint and 'plugins=["mypkg"]' in raised.value.hint
    loaded = unbraid.load(run, plugins=["mypkg"])
    assert loaded.separate(torch.rand(1, 8192) - 0.5, 8192)["vocals"].shape == (1, 8192) and names() == ()


def test_loading_names_a_package_that_is_missing(run):
    with pytest.raises(InputError) as raised:
        unbraid.load(run, plugins=["mypkg"])
    assert (raised.value.where, raised.value.found) == ("plugins", "mypkg")


@pytest.mark.parametrize("script", ["separate", "evaluate"])
def test_scripts_need_the_name(run, mypkg, cli, songs, tmp_path, script, monkeypatch):
    words = [f"run={run}", f"output={tmp_path / 'out'}"]
    words += [f"input={songs / 'test/song 3/mixture.wav'}"] if script == "separate" else ["protocol=energy_ratios"]
    status, _, err = cli(*words, script=f"scripts/{script}.py")
    assert status == 1 and "plugins=mypkg" in err and len(err.splitlines()) == 1 and not (tmp_path / "out").exists()
    status, _, err = cli(*words, "plugins=[mypkg]", script=f"scripts/{script}.py")
    assert status == 0, err
    monkeypatch.setenv("UNBRAID_PLUGINS", "mypkg")
    assert cli(*words, *(["overwrite=true"] if script == "separate" else []), script=f"scripts/{script}.py")[0] == 0


def test_a_report_needs_no_plugin(run, cli, tmp_path):
    status, _, err = cli(f"runs=[{run}]", f"output={tmp_path / 'report'}", script="scripts/report.py")
    assert status == 0, err


def test_a_report_shows_a_protocol_of_a_plugin(run, mypkg, cli):
    words = [f"runs=[{run}]", "protocol=mine"]
    status, _, err = cli(*words, script="scripts/report.py")
    assert status == 1 and err.startswith("error: protocol") and len(err.splitlines()) == 1 and "plugins=PACKAGE" in err
    status, _, err = cli(*words, "plugins=[mypkg]", script="scripts/report.py")
    assert "protocol: unknown choice" not in err and "plugins" not in err


def test_an_unknown_choice_names_the_key_plugins(mypkg):
    for name in ("level", "energy_ratio"):
        error = unknown_choice(f"protocol/{name}", ["energy_ratios"])
        assert (error.where, error.found) == ("protocol", name) and error.hint.endswith("add plugins=PACKAGE")
    with named(["mypkg"]):
        assert "plugins" not in unknown_choice("protocol/level", ["energy_ratios"]).hint


def test_a_scored_sweep_prints_the_plugin(run, mypkg, cli, tmp_path):
    """The printed command of the report contains the plugin of the protocol."""
    copytree(run, tmp_path / "sweep/0-seed=0")
    for protocol, words in {"mine": ["protocol=mine", "plugins=mypkg"], "energy_ratios": ["protocol=energy_ratios"]}.items():
        status, out, err = cli(
            f"sweep={tmp_path / 'sweep'}", f"protocol={protocol}", "plugins=mypkg", script="scripts/evaluate.py"
        )
        assert status == 0, err
        *_, printed = [line.split()[3:] for line in out.splitlines() if line.startswith("report  ")]
        assert printed == [f"sweep={tmp_path / 'sweep'}", *words]


def test_features_and_their_choice(mypkg, cli):
    words = ["model=ae", "data=digits", "features=mine", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    status, _, err = cli("plugins=[mypkg]", *words, "+trainer.limit_train_batches=2")
    assert status == 0, err


def test_known_optimizers_train(cli, songs):
    for optim in ("adamw", "muon"):
        words = [f"optim={optim}", "data=musdb", f"data.root={songs}", "model=open_unmix", "data.chunk_seconds=0.5"]
        words += ["model.separator.chunk_seconds=0.5", f"hydra.run.dir={optim}"]
        status, _, err = cli(*words, *SMALL)
        assert status == 0, err
