"""Report folders: their files, their pages, and when a folder is replaced."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import files_below
from tests.reports.sweeps import leave_audio, leave_run, usual
from unbraid.reports.making import make
from unbraid.reports.variants import runs_of
from unbraid.runs.errors import InputError


def made(sweep, **options):
    make(runs_of(sweep), sweep / "report", "the sweep", **options)
    return sweep / "report"


def test_pages_load_files_of_the_folder_only(tmp_path):
    folder = made(usual(tmp_path))
    assert {path for path in files_below(folder) if "/" not in path} == {
        "audio", "spectrograms", "index.html", "listen.html", "style.css", "theme.js", "report.js", "deck.js", "listen.js",
        "plotly.min.js", "report-data.js", "listen-data.js", "table.csv", "table.md", "table.tex", "report.json",
    }  # fmt: skip
    for page in ("index.html", "listen.html"):
        text = (folder / page).read_text()
        linked = re.findall(r'(?:src|href)="([^"]+)"', text)
        assert linked and all(link == "data:," or (folder / link).is_file() for link in linked)
    for name in ("style.css", "theme.js", "report.js", "deck.js", "listen.js"):
        assert "http" not in (folder / name).read_text()


def test_names_from_files_are_text_and_not_markup(tmp_path):
    run = leave_run(tmp_path, 0, "<script>alert(1)</script>".replace("/", "_"), 0, [1.0, 2.0])
    leave_audio(run, "song 0")
    text = (made(tmp_path) / "index.html").read_text()
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text


def test_record_has_tables_and_verdicts(tmp_path):
    leave_run(usual(tmp_path), 6, "net9", 0, None, state="failed", error="out of memory")
    record = json.loads((made(tmp_path) / "report.json").read_text())
    assert record["baseline"] == "net0" and record["protocol"]["name"] == "ikala_nsdr"
    assert record["without_scores"] == {"6-net9-demo-0": "failed: out of memory"}
    verdict = record["verdicts"]["vocals, NSDR"][0]
    assert verdict["variant"] == "net1" and verdict["difference"]["mean"] == pytest.approx(-1, abs=0.3)
    assert record["tables"][0]["rows"][0]["name"] == "net0"


def test_table_and_verdicts_are_printed(tmp_path, capsys):
    leave_run(usual(tmp_path), 6, "net9", 0, None, state="failed", error="out of memory")
    folder = made(tmp_path)
    out = capsys.readouterr().out
    assert out.startswith("\nvocals (dB)") and "net1 is 1." in out
    assert "without scores: 6-net9-demo-0 failed: out of memory" in out
    assert out.endswith(f"report  {folder / 'index.html'}\n")
    assert "failed: out of memory" in (folder / "index.html").read_text()


def test_older_report_is_replaced(tmp_path):
    made(usual(tmp_path))
    before = files_below(tmp_path)
    made(tmp_path, songs=1)
    assert files_below(tmp_path) == [path for path in before if "2-song" not in path]


@pytest.mark.parametrize("name", ["votes.json", "audio/1-song_0/mine.flac", "link"])
def test_report_with_other_files_is_not_replaced(tmp_path, name):
    folder = made(usual(tmp_path, variants=1, songs=1))
    (folder / name).symlink_to("/") if name == "link" else (folder / name).write_text("mine")
    before = files_below(tmp_path)
    with pytest.raises(InputError) as error:
        made(tmp_path)
    assert (error.value.where, error.value.found) == (f"output={folder}", name)
    assert files_below(tmp_path) == before and (folder / name).exists()


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"title": "of another program"}'])
def test_report_json_of_other_programs_is_kept(tmp_path, text):
    usual(tmp_path)
    (tmp_path / "report").mkdir()
    (tmp_path / "report/report.json").write_text(text)
    with pytest.raises(InputError, match="not a report") as error:
        made(tmp_path)
    assert error.value.where == f"output={tmp_path / 'report'}"
    assert (tmp_path / "report/report.json").read_text() == text


@pytest.mark.parametrize("output", [".", "..", "../report"])
def test_working_directory_is_not_replaced(tmp_path, monkeypatch, output):
    folder = made(usual(tmp_path, variants=1, songs=1))
    monkeypatch.chdir(folder / "audio" if output == ".." else folder)
    before = files_below(tmp_path)
    with pytest.raises(InputError, match="working directory") as error:
        make(runs_of(tmp_path), Path(output), "the sweep")
    assert error.value.where == f"output={output}"
    assert files_below(tmp_path) == before


def test_other_folders_are_not_replaced(tmp_path):
    usual(tmp_path)
    (tmp_path / "report").mkdir()
    (tmp_path / "report/thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not a report"):
        made(tmp_path)
    assert files_below(tmp_path / "report") == ["thesis.txt"]


def test_failed_report_keeps_the_old_report(tmp_path, monkeypatch):
    folder = made(usual(tmp_path))
    before = files_below(tmp_path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unbraid.reports.page.leave", full)
    with pytest.raises(OSError, match="No space left"):
        made(tmp_path)
    assert files_below(tmp_path) == before and (folder / "index.html").is_file()


def test_measure_can_be_chosen(tmp_path):
    record = json.loads((made(usual(tmp_path), measure="SIR") / "report.json").read_text())
    assert [*record["verdicts"]] == ["vocals, SIR"]
    with pytest.raises(InputError) as error:
        made(tmp_path, measure="SDR")
    assert (error.value.where, error.value.expected) == ("measure=SDR", "one of NSDR, SIR")


def test_page_without_audio_names_the_option(tmp_path):
    text = (made(usual(tmp_path, songs=0)) / "listen.html").read_text()
    assert "evaluation.clips" in text and "listen-data.js" not in text


def test_page_names_songs_0(tmp_path):
    text = (made(usual(tmp_path), songs=0) / "listen.html").read_text()
    assert "songs=0" in text and "evaluation.clips" not in text


def test_single_variant_has_no_comparisons(tmp_path):
    folder = made(usual(tmp_path, variants=1))
    assert 'class="verdicts"' not in (folder / "index.html").read_text()
    assert json.loads((folder / "report.json").read_text())["verdicts"] == {"vocals, NSDR": []}


def data_of(script):
    return json.loads(json.loads(script.read_text().partition("JSON.parse(")[2].removesuffix(");\n")))


def test_curves_include_runs_without_scores(tmp_path):
    leave_run(usual(tmp_path, variants=1), 6, "net9", 0, None, state="failed")
    data = data_of(made(tmp_path) / "report-data.js")
    first, failed = data["curves"]["valid/loss"]
    assert (first["variant"], first["seeds"], failed["variant"]) == ("net0", 2, "net9") and first["epochs"] == [1, 2, 3]
    assert first["low"][0] < first["mean"][0] < first["high"][0] == 1.0
    assert data["scores"]["vocals"]["SIR"][0][0] == pytest.approx(data["scores"]["vocals"]["NSDR"][0][0] + 3, abs=1e-3)


def test_curves_of_different_losses_are_apart(tmp_path):
    sweep = usual(tmp_path, variants=2)
    for run in sweep.glob("[23]-*"):
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"model": config["model"] | {"loss": {"_target_": "a.MSE"}}}))
    curves = data_of(made(sweep) / "report-data.js")["curves"]
    assert {name: [curve["variant"] for curve in of_name] for name, of_name in curves.items()} == {
        "valid/loss (loss)": ["net0"], "valid/loss (MSE)": ["net1"],
    }  # fmt: skip


def test_curve_ends_at_the_first_infinite_value(tmp_path):
    run = leave_run(tmp_path, 0, "net", 0, [1.0])
    (run / "metrics.csv").write_text("epoch,step,seconds,valid/loss\n0,1,2.5,0.5\n1,2,2.5,inf\n")
    (curve,) = data_of(made(tmp_path) / "report-data.js")["curves"]["valid/loss"]
    assert curve["epochs"] == [1] and curve["mean"] == [0.5]


def test_runs_with_equal_names_are_all_listed(tmp_path, capsys):
    leave_run(tmp_path / "one", 1, "net", 0, [1.0])
    failed = [leave_run(tmp_path / name, 0, "net", 0, None, state="failed") for name in ("two", "six")]
    make([*runs_of(tmp_path / "one"), *failed], tmp_path / "report", "runs")
    record = json.loads((tmp_path / "report/report.json").read_text())
    assert [*record["without_scores"]] == ["two/0-net-demo-0", "six/0-net-demo-0"]
    assert "without scores: six/0-net-demo-0 failed" in capsys.readouterr().out
    assert "<code>two/0-net-demo-0</code>" in (tmp_path / "report/index.html").read_text()
