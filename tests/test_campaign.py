"""Test the campaign: the page of promises names tests that exist, and every lost attempt is counted."""

import ast

import pytest

from tests import campaign
from tests.campaign import PROJECT, Promise, count, promises


def test_page_has_promises_of_every_form():
    assert all(any(promise.attempts[form] for promise in promises()) for form in campaign.MINUTES)
    assert all(promise.area and promise.attempts["full"] >= promise.attempts["quick"] for promise in promises())
    rows = [line for line in campaign.PAGE.read_text().splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) == len(promises())


@pytest.mark.parametrize("holder", sorted({holder for promise in promises() for holder in promise.holders}))
def test_what_holds_a_promise_exists(holder):
    path, _, name = (holder.split()[1] if holder.startswith("python ") else holder).partition("::")
    assert (PROJECT / path).exists()
    if name:
        tests = [node.name for node in ast.walk(ast.parse((PROJECT / path).read_text())) if isinstance(node, ast.FunctionDef)]
        assert name.partition("[")[0] in tests


ONE = Promise("area", "text", ("tests/test_a.py::test_x",), {"quick": 1, "full": 3})


@pytest.mark.parametrize(
    ("record", "held", "lost", "skipped"),
    [
        ([("", ""), ("passed", "")], 1, 0, 0),
        ([("", ""), ("failed", "")], 0, 1, 0),
        ([("failed", ""), ("", "")], 0, 1, 0),  # in the set-up
        ([("", ""), ("passed", ""), ("failed", "")], 0, 1, 0),  # in the tear-down
        ([("skipped", ""), ("", "")], 0, 0, 1),
        ([("", "")], 0, 1, 0),  # ended by the time limit
        ([("passed", "[0]"), ("failed", "[1]")], 1, 1, 0),
        ([("passed", "_of_another_name")], 0, 1, 0),  # nothing was tried
    ],
)
def test_results_are_counted(record, held, lost, skipped):
    lines = [(f"{ONE.holders[0]}{end}", outcome, 1.0) for outcome, end in record]
    (result,) = count([ONE], [(test, "started", 0.0) for test, *_ in lines] + lines)
    assert (result.held, len(result.lost), result.skipped) == (held, lost, skipped)


def test_seeds_are_those_of_the_attempts(monkeypatch):
    monkeypatch.setattr(campaign, "promises", lambda: [ONE])
    assert campaign.seeds("tests/test_a.py::test_x") == [0]
    monkeypatch.setenv(campaign.FORM, "full")
    monkeypatch.setenv(campaign.SEED, "7")
    assert campaign.seeds("tests/test_a.py::test_x") == [7, 8, 9] and campaign.seeds("tests/test_a.py::test_y") == [7]


@pytest.mark.parametrize(("code", "status"), [("", 0), ("raise SystemExit(1)", 1)])
def test_a_lost_command_fails_the_campaign(tmp_path, monkeypatch, capsys, code, status):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(campaign.tempfile, "tempdir", None)
    script = tmp_path / "script.py"
    script.write_text(code)
    row = Promise("area", "text", (f"python {script}",), {"quick": 2, "full": 2})
    monkeypatch.setattr(campaign, "promises", lambda: [row])
    assert campaign.main("quick") == status
    assert capsys.readouterr().out.count("lost: python") == 2 * status
    assert bool([*tmp_path.glob("unbraid-campaign-*")]) == bool(status)


@pytest.mark.parametrize(
    "words", [["fast"], ["--help"], ["seed=x"], ["seed=1.5"], ["quick", "full"], ["sed=3"], ["only=stor3"]]
)
def test_wrong_words_are_one_line(tmp_path, monkeypatch, words):
    monkeypatch.setattr(campaign.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        campaign.main(*words)
    assert isinstance(ended.value.code, str) and "\n" not in ended.value.code and [*tmp_path.iterdir()] == []


def test_a_promise_whose_tests_are_skipped_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_x(): pytest.skip()\n")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setattr(campaign, "PROJECT", tmp_path)
    monkeypatch.setattr(
        campaign, "promises", lambda: [Promise("area", "all is well", ("test_it.py",), {"quick": 1, "full": 1})]
    )
    assert campaign.main("quick") == 0 and "were skipped: all is well" in capsys.readouterr().out


def test_a_lost_test_fails_the_campaign(tmp_path, monkeypatch):
    (tmp_path / "test_it.py").write_text(
        "import os\ndef test_good(): pass\ndef test_bad(): assert 0\ndef test_end(): os._exit(1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setattr(campaign, "PROJECT", tmp_path)
    (result,), _ = campaign.campaign([Promise("area", "text", ("test_it.py",), {"quick": 1})], "quick", 0, tmp_path)
    assert result.held == 1 and sorted(result.lost) == ["test_it.py::test_bad", "test_it.py::test_end"]


def test_a_campaign_that_does_not_end_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    (tmp_path / "test_it.py").write_text("import time\ndef test_slow(): time.sleep(60)\n")
    monkeypatch.setattr(campaign, "PROJECT", tmp_path)
    monkeypatch.setattr(campaign, "MINUTES", {"quick": 0.05, "full": 0.05})
    monkeypatch.setattr(campaign, "promises", lambda: [Promise("area", "text", ("test_it.py",), {"quick": 1, "full": 1})])
    monkeypatch.setattr(campaign.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    assert campaign.main("quick") == 1
    assert "did not end" in capsys.readouterr().out
