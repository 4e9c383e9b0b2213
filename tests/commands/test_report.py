"""scripts/report.py, and the report at the end of a sweep."""

import json
import re

import pytest

from tests.commands.conftest import has_names
from tests.conftest import SHORT, files_below, only_run
from tests.reports.sweeps import PROTOCOL, leave_run, usual

SCRIPT = "scripts/report.py"


def test_a_sweep_gets_its_report(cli, tmp_path):
    usual(tmp_path / "sweep")
    status, out, err = cli(f"sweep={tmp_path / 'sweep'}", script=SCRIPT)
    assert status == 0 and err == "" and out.splitlines()[1].startswith("vocals (dB)")
    assert out.endswith(f"report  {tmp_path / 'sweep/report/index.html'}\n")
    assert (tmp_path / "sweep/report/listen.html").is_file() and files_below(tmp_path / "work") == []


def test_the_report_of_single_runs(cli, tmp_path):
    usual(tmp_path / "sweep")
    runs = ",".join(str(path) for path in sorted((tmp_path / "sweep").glob("*-demo-0")))
    status, out, _ = cli(f"runs=[{runs}]", "baseline=net1", "measure=SIR", "songs=0", script=SCRIPT)
    assert status == 0 and "net0 is 1." in out and "above net1 in vocals SIR" in out
    work = tmp_path / "work"
    assert (work / "report/index.html").is_file() and not (work / "report/audio").exists()
    status, out, _ = cli(f"runs=[{runs}]", "output=mine/theirs", script=SCRIPT)
    assert status == 0 and (work / "mine/theirs/index.html").is_file()


def test_a_running_sweep_is_reported(cli, tmp_path):
    usual(tmp_path / "sweep")
    leave_run(tmp_path / "sweep", 6, "net9", 0, None, state="queued")
    leave_run(tmp_path / "sweep", 7, "net9", 1, None, state="failed", error="trainer: out of memory")
    status, out, _ = cli(f"sweep={tmp_path / 'sweep'}", script=SCRIPT)
    assert status == 0 and "without scores: 6-net9-demo-0 has not started" in out
    assert "without scores: 7-net9-demo-1 failed: trainer: out of memory" in out


def test_scores_of_another_protocol_are_reported(cli, tmp_path):
    sweep = usual(tmp_path / "sweep", songs=0)
    for run in sweep.iterdir():
        scores = json.loads((run / "scores.json").read_text())
        scores["protocol"]["name"] = "musdb18"
        del scores["cost"]
        (run / "scores/musdb18").mkdir(parents=True)
        (run / "scores/musdb18/scores.json").write_text(json.dumps(scores))
    (sweep / "5-net2-demo-1/scores/musdb18/scores.json").unlink()
    status, out, err = cli(f"sweep={sweep}", "protocol=musdb18", script=SCRIPT)
    assert (
        status == 0 and "protocol musdb18" in out and "without scores: 5-net2-demo-1 has no scores of protocol musdb18" in out
    )
    assert not (sweep / "report").exists()
    record = json.loads((sweep / "report-musdb18/report.json").read_text())
    assert record["protocol"]["name"] == "musdb18" and err == ""
    assert cli(f"sweep={sweep}", "protocol=ikala_nsdr", script=SCRIPT)[0] == 0  # that of the training


def test_tags_and_notes_are_in_the_report(cli, tmp_path):
    sweep = usual(tmp_path / "sweep", songs=0)
    record = sweep / "0-net0-demo-0/run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"tags": ["paper"], "notes": "a <b>note</b>"}))
    status, out, _ = cli(f"sweep={sweep}", script=SCRIPT)
    assert status == 0 and "0-net0-demo-0: [paper] a <b>note</b>" in out
    assert "a &lt;b&gt;note&lt;/b&gt;" in (sweep / "report/index.html").read_text()
    assert json.loads((sweep / "report/report.json").read_text())["labels"]["0-net0-demo-0"]["tags"] == ["paper"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], "sweep runs sweep=FOLDER"),
        (["sweep=s", "runs=[a]"], "sweep runs sweep=FOLDER"),
        (["sweep=nowhere"], "sweep=nowhere"),
        (["runs=[nowhere]"], "nowhere run.json"),
        (["sweep=."], "sweep=."),
        (["sweep=../mixed"], "sample_rate"),
        (["sweep=../sweep", "baseline=net"], "baseline net 'net"),
        (["sweep=../sweep", "measure=nsdr"], "measure nsdr NSDR"),
        (["sweep=../sweep", "songs=-1"], "songs -1"),
        (["sweep=../sweep", "songs=many"], "songs 'many'"),
        (["sweep=../sweep", "output=../sweep"], "output=../sweep"),
    ],
)
def test_invalid_keys_are_named(error_of, tmp_path, words, names):
    usual(tmp_path / "sweep", songs=0)
    leave_run(tmp_path / "mixed", 0, "a", 0, [1.0])
    leave_run(tmp_path / "mixed", 1, "b", 0, [1.0], protocol=PROTOCOL | {"sample_rate": 16000})
    before = files_below(tmp_path)
    assert has_names(str(error_of("report", *words)), names)
    assert files_below(tmp_path) == before


def test_report_exits_with_status_1(refused):
    assert has_names(refused("swep=../sweep", script=SCRIPT), "swep 'sweep'")


@pytest.mark.slow
def test_a_sweep_of_separators_ends_with_its_report(cli, songs, tmp_path):
    words = ["data=musdb", f"data.root={songs}", *SHORT]
    status, out, err = cli("-m", "model=unet,unet_noskip", *words)
    sweep = only_run(tmp_path / "work")
    assert status == 0 and err == ""
    rows = re.search(r"^unet +-?[\d.]+ .*\nunet_noskip +-?[\d.]+ .*\nmixture ", out, re.MULTILINE)
    assert rows and out.rstrip().endswith(f"report  {sweep.relative_to(tmp_path / 'work') / 'report/index.html'}")
    record = json.loads((sweep / "report/report.json").read_text())
    assert record["baseline"] == "unet" and [row["name"] for row in record["tables"][0]["rows"][:2]] == ["unet", "unet_noskip"]
    assert "unet_noskip" in (sweep / "report/listen-data.js").read_text()
    cost = json.loads((sweep / "0-model=unet/scores.json").read_text())["cost"]
    assert cost["device"] == "cpu" and cost["devices"] == 1 and cost["parameters"] > 1000 and cost["memory"] > 1e8


def test_a_sweep_of_two_protocols_has_no_report(tmp_path, capsys):
    from omegaconf import OmegaConf

    from unbraid.commands.report_callback import ReportAtEnd
    from unbraid.sweeps.ledger import Ledger

    leave_run(tmp_path, 0, "a", 0, [1.0])
    leave_run(tmp_path, 1, "b", 0, [1.0], protocol=PROTOCOL | {"sample_rate": 16000})
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    ReportAtEnd().on_multirun_end(config)
    assert capsys.readouterr().out == ""  # a sweep of another script
    Ledger(tmp_path, "sweep").open()
    ReportAtEnd().on_multirun_end(config)
    assert "no report: " in capsys.readouterr().out and not (tmp_path / "report").exists()
