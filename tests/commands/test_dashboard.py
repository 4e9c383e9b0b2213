"""scripts/dashboard.py writes a W&B dashboard for a sweep, without a network."""

import json
import sys
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from wandb.errors import AuthenticationError

from tests.commands.conftest import has_names
from unbraid.runs.files import atomic_write

SCRIPT = "scripts/dashboard.py"


@pytest.fixture(autouse=True)
def _no_key(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def write_run(folder, model, seed, logger="wandb", scored=True):
    (folder / "media/0000/song 2").mkdir(parents=True)
    (folder / "media/0000/song 2/mixture.flac").write_bytes(b"")
    record = {"identity": folder.name, "overrides": [f"model={model}", f"seed={seed}"], "choices": {}, "state": "done"}
    (folder / "run.json").write_text(json.dumps(record))
    config = {
        "logger": {logger: {"project": "songs"}},
        "seed": seed,
        "model": {"net": {"skips": model == "unet"}},
        "name": folder.name,
    }
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    with atomic_write(folder / "metrics.csv") as partial:
        partial.write_text("epoch,step,seconds,lr,steps_per_second,train/loss,valid/loss,valid/uSDR/vocals\n0,1,1,1,1,1,1,1\n")
    if scored:
        scores = {
            "protocol": {"tracks": "median"},
            "summary": {"vocals": {"uSDR": {"median": 1.0}, "SI-SDR": {"median": None}}},
        }
        (folder / "scores.json").write_text(json.dumps(scores))


@pytest.fixture
def sweep(tmp_path):
    folder = tmp_path / "work/outputs/12-00 o'clock"
    for number, (model, seed) in enumerate((m, s) for m in ("unet", "unet_noskip") for s in (0, 1)):
        write_run(folder / f"{number}-{model}", model, seed, scored=number != 3)  # the last one still runs
    return folder


def panels(spec):
    sections = spec["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections}


def test_a_sweep_has_panels_of_its_metrics(cli, sweep):
    status, out, err = cli('sweep="outputs/12-00 o\'clock"', script=SCRIPT)
    assert status == 0, err
    assert f"{sweep.relative_to(sweep.parents[1])}/dashboard.json" in out
    assert "offline (no API key)" in out
    spec = json.loads((sweep / "dashboard.json").read_text())
    shown = panels(spec)
    assert spec["project"] == "songs" and [*shown] == ["Scores", "Learning curves", "Audio and pictures", "Swept keys", "Speed"]
    (group,) = spec["spec"]["section"]["runSets"][0]["filters"]["filters"]
    assert (group["key"]["name"], group["op"], group["value"]) == ("group", "=", "12-00 o'clock")
    bars = [panel["config"] for panel in shown["Scores"] if panel["viewType"] == "Bar Chart"]
    assert [bar["metrics"] for bar in bars] == [["test/uSDR/vocals"], ["test/SI-SDR/vocals"]]
    assert bars[0]["groupBy"] == "run.value.variant" and (bars[0]["groupAgg"], bars[0]["groupArea"]) == ("mean", "stddev")
    assert [panel["config"]["metrics"] for panel in shown["Learning curves"]] == [
        ["train/loss"],
        ["valid/loss"],
        ["valid/uSDR/vocals"],
    ]
    assert {panel["config"]["groupBy"] for panel in shown["Learning curves"]} == {"run.value.variant"}
    assert [panel["config"]["mediaKeys"] for panel in shown["Audio and pictures"]] == [["valid/audio/song 2"]]
    axes = [axis["accessor"] for axis in shown["Swept keys"][0]["config"]["columns"]]
    assert axes == ["config:seed.value", "config:model.value.net.skips", "summary:test/uSDR/vocals"]
    assert [panel["config"]["metrics"] for panel in shown["Speed"]] == [["steps_per_second"]]


def test_output_and_project_can_be_chosen(cli, sweep):
    assert cli('sweep="outputs/12-00 o\'clock"', "project=other", "output=mine/board.json", script=SCRIPT)[0] == 0
    assert json.loads((sweep.parents[1] / "mine/board.json").read_text())["project"] == "other"
    assert not (sweep / "dashboard.json").exists()


def test_a_folder_without_a_sweep_is_refused(error_of, sweep, monkeypatch):
    (sweep.parent / "empty").mkdir()
    write_run(sweep.parent / "silent/0-unet", "unet", 0, logger="csv")
    for words, names in {
        (): "sweep sweep=FOLDER",
        ("sweep=nowhere",): "sweep=nowhere",
        ("sweep=outputs/empty",): "sweep=outputs/empty",
        ("sweep=outputs/silent",): "sweep=outputs/silent logger=wandb",
    }.items():
        assert has_names(str(error_of("dashboard", *words)), names)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert has_names(str(error_of("dashboard", "sweep=nowhere")), "wandb-workspaces unbraid[dashboard]")


def refusing(*_):
    raise AuthenticationError("the key\nis not known")


@pytest.mark.parametrize("place", ["unbraid.commands.dashboard._default_entity", "wandb_workspaces.workspaces.Workspace.save"])
def test_the_file_is_written_if_w_and_b_fails(cli, sweep, monkeypatch, place):
    monkeypatch.setattr("unbraid.commands.dashboard.why_offline", lambda: None)
    monkeypatch.setattr("unbraid.commands.dashboard._default_entity", lambda: "me")
    monkeypatch.setattr(place, refusing)
    status, _, err = cli('sweep="outputs/12-00 o\'clock"', "output=board.json", script=SCRIPT)
    assert status == 1 and has_names(err, "W&B the key is not known board.json") and len(err.splitlines()) == 1
    assert panels(json.loads((sweep.parents[1] / "board.json").read_text()))


def test_an_account_without_an_entity_is_refused(error_of, sweep, monkeypatch):
    monkeypatch.setattr("unbraid.commands.dashboard.why_offline", lambda: None)
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(default_entity=None))
    assert error_of("dashboard", 'sweep="outputs/12-00 o\'clock"').where == "entity"


def test_damaged_scores_are_left_out(cli, sweep):
    (sweep / "3-unet_noskip/scores.json").write_text('{"summary":')
    status, out, _ = cli('sweep="outputs/12-00 o\'clock"', script=SCRIPT)
    assert status == 0 and out.count("3-unet_noskip/scores.json") == 1
    assert "Scores" in panels(json.loads((sweep / "dashboard.json").read_text()))


def test_only_a_dashboard_is_overwritten(cli, error_of, sweep):
    work = sweep.parents[1]
    (work / "folder").mkdir()
    for name, text in {"precious.json": '{"mine": 1}', "list.json": "[]", "bytes.json": "\udcff"}.items():
        (work / name).write_text(text, errors="surrogateescape")
    before = {path.name: path.read_bytes() for path in work.glob("*.json")}
    for name in (*before, "folder"):
        assert error_of("dashboard", 'sweep="outputs/12-00 o\'clock"', f"output={name}").where == f"output={name}"
    assert {path.name: path.read_bytes() for path in work.glob("*.json")} == before
    for _ in range(2):
        assert cli('sweep="outputs/12-00 o\'clock"', "output=board.json", script=SCRIPT)[0] == 0
