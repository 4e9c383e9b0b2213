"""A dashboard of W&B for a sweep, without a network."""

import json
import sys
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from wandb.errors import AuthenticationError

from unbraid.runs.files import atomic_write

DOOR = "scripts/dashboard.py"


@pytest.fixture(autouse=True)
def _nobodys_key(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def write_run(folder, model, seed, logger="wandb", scored=True):
    (folder / "media/0000/song 2").mkdir(parents=True)
    (folder / "media/0000/song 2/mixture.flac").write_bytes(b"")
    record = {"identity": folder.name, "overrides": [f"model={model}", f"seed={seed}"], "choices": {}, "state": "done"}
    (folder / "run.json").write_text(json.dumps(record))
    own = {
        "logger": {logger: {"project": "songs"}},
        "seed": seed,
        "model": {"net": {"skips": model == "unet"}},
        "name": folder.name,
    }
    OmegaConf.save(OmegaConf.create(own), folder / "config.yaml")
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


def test_a_sweep_has_the_panels_of_what_it_has_measured(cli, sweep):
    status, out, err = cli('sweep="outputs/12-00 o\'clock"', script=DOOR)
    assert status == 0, err
    assert f"{sweep.relative_to(sweep.parents[1])}/dashboard.json" in out
    assert "wandb   offline, no API key: nothing was saved there" in out
    spec = json.loads((sweep / "dashboard.json").read_text())
    shown = panels(spec)
    assert spec["project"] == "songs" and [*shown] == ["Scores", "Learning curves", "Heard and seen", "What was swept", "Speed"]
    (group,) = spec["spec"]["section"]["runSets"][0]["filters"]["filters"]
    assert (group["key"]["name"], group["op"], group["value"]) == ("group", "=", "12-00 o'clock")
    bars = [one["config"] for one in shown["Scores"] if one["viewType"] == "Bar Chart"]
    assert [bar["metrics"] for bar in bars] == [["test/uSDR/vocals"], ["test/SI-SDR/vocals"]]
    assert bars[0]["groupBy"] == "run.value.arm" and (bars[0]["groupAgg"], bars[0]["groupArea"]) == ("mean", "stddev")
    assert [one["config"]["metrics"] for one in shown["Learning curves"]] == [
        ["train/loss"],
        ["valid/loss"],
        ["valid/uSDR/vocals"],
    ]
    assert {one["config"]["groupBy"] for one in shown["Learning curves"]} == {"run.value.arm"}
    assert [one["config"]["mediaKeys"] for one in shown["Heard and seen"]] == [["valid/audio/song 2"]]
    axes = [axis["accessor"] for axis in shown["What was swept"][0]["config"]["columns"]]
    assert axes == ["config:seed.value", "config:model.value.net.skips", "summary:test/uSDR/vocals"]
    assert [one["config"]["metrics"] for one in shown["Speed"]] == [["steps_per_second"]]


def test_a_file_and_a_project_of_ones_own(cli, sweep):
    assert cli('sweep="outputs/12-00 o\'clock"', "project=other", "output=mine/board.json", script=DOOR)[0] == 0
    assert json.loads((sweep.parents[1] / "mine/board.json").read_text())["project"] == "other"
    assert not (sweep / "dashboard.json").exists()


def test_what_has_no_dashboard_is_said(cli, sweep, monkeypatch):
    (sweep.parent / "empty").mkdir()
    write_run(sweep.parent / "silent/0-unet", "unet", 0, logger="csv")
    for words, sentence in {
        (): "sweep has no default and must be given: sweep=FOLDER",
        ("sweep=nowhere",): "sweep=nowhere: no such folder",
        ("sweep=outputs/empty",): "sweep=outputs/empty: holds no runs; expected the folder of a sweep",
        ("sweep=outputs/silent",): "sweep=outputs/silent: none of its runs has logger=wandb",
        ("swep=x",): "swep: there is no such key; did you mean 'sweep'?",
    }.items():
        status, _, err = cli(*words, script=DOOR)
        assert status == 1 and f"error: {sentence}" in err and err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    status, _, err = cli('sweep="outputs/12-00 o\'clock"', script=DOOR)
    assert status == 1 and "needs the package wandb-workspaces: pip install 'unbraid[dashboard]'" in err


def refusing(*_):
    raise AuthenticationError("the key\nis not known")


@pytest.mark.parametrize("place", ["unbraid.commands.dashboard._own_entity", "wandb_workspaces.workspaces.Workspace.save"])
def test_where_w_and_b_refuses_the_file_is_there(cli, sweep, monkeypatch, place):
    monkeypatch.setattr("unbraid.commands.dashboard.why_offline", lambda: None)
    monkeypatch.setattr("unbraid.commands.dashboard._own_entity", lambda: "me")
    monkeypatch.setattr(place, refusing)
    status, _, err = cli('sweep="outputs/12-00 o\'clock"', "output=board.json", script=DOOR)
    assert (status, err) == (1, "error: W&B has not saved it: the key is not known; what is shown lies in board.json\n")
    assert panels(json.loads((sweep.parents[1] / "board.json").read_text()))


def test_an_account_without_an_entity_is_said(cli, sweep, monkeypatch):
    monkeypatch.setattr("unbraid.commands.dashboard.why_offline", lambda: None)
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(default_entity=None))
    status, _, err = cli('sweep="outputs/12-00 o\'clock"', script=DOOR)
    assert (status, err) == (1, "error: entity: the account has none of its own; name one with entity=…\n")


def test_damaged_scores_are_left_out(cli, sweep):
    (sweep / "3-unet_noskip/scores.json").write_text('{"summary":')
    status, out, _ = cli('sweep="outputs/12-00 o\'clock"', script=DOOR)
    assert status == 0 and out.count("its scores are not shown") == 1 and "3-unet_noskip/scores.json" in out
    assert "Scores" in panels(json.loads((sweep / "dashboard.json").read_text()))


def test_only_a_dashboard_is_ever_overwritten(cli, sweep):
    work = sweep.parents[1]
    (work / "folder").mkdir()
    for name, text in {"precious.json": '{"mine": 1}', "list.json": "[]", "bytes.json": "\udcff"}.items():
        (work / name).write_text(text, errors="surrogateescape")
    kept = {path.name: path.read_bytes() for path in work.glob("*.json")}
    for name in (*kept, "folder"):
        status, out, err = cli('sweep="outputs/12-00 o\'clock"', f"output={name}", script=DOOR)
        sentence = f"output={name}: is there already and is no dashboard; choose another name or remove it"
        assert (status, out, err) == (1, "", f"error: {sentence}\n")
    assert {path.name: path.read_bytes() for path in work.glob("*.json")} == kept
    for _ in range(2):
        assert cli('sweep="outputs/12-00 o\'clock"', "output=board.json", script=DOOR)[0] == 0
