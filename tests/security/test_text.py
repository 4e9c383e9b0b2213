"""Tests of hostile text in terminals, spreadsheets and Markdown: escape sequences, formulas, HTML, links, front matter."""

import csv
import io
import re
import sys
import unicodedata

import pytest
import yaml

from tests.reports.sweeps import leave_run
from unbraid.commands.publish import _card
from unbraid.reports.tables import ScoreTable, TableRow, as_csv, as_latex, as_markdown, as_text
from unbraid.reports.variants import Spread
from unbraid.runs.errors import InputError
from unbraid.runs.text import csv_cell, echo, markdown, printable

CLEAR, TITLE, C1, REVERSED = "\x1b[2J\x1b[1A", "\x1b]0;title\x07", "\x9b31m", "\u202egpj.exe"
TERMINAL = [
    CLEAR,
    TITLE,
    C1,
    REVERSED,
    "line\rhidden",
    "\b\b\bx",
    "\x00",
    "\x7f",
    "\u2066x",
    "\x1b_Gpayload\x1b\\",
    "\udcff",
    "\u061cx",
    "\u200bx",
    "\u2060x",
    "\ufeffx",
    "\u00adx",
    "\U000e0041x",
]
FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    '=HYPERLINK("http://x")',
    "＝1",
    "\n=1",
    "-x",
    "+x",
    "\ufeff=1",
    "x;=1+1",
    'x;"=1"',
    " =1",
    "x\n=1",
    "x\t=1",
    "a;b; @SUM(1)",
]
MARKUP = [
    "<img src=http://x>", "a|b", "a\nb", "a\r\n\r\n# b", "[a](http://x)", "![a](http://x)", "http://x.y", "www.x.y", "`a`",
    "&lt;b>", "<!-- ", "x@y.z", "a\n---\nlicense: mit", "\u2028# b", "**a**", "~~~\n", "$x$", "$`x`$",
]  # fmt: skip
ACTIVE = set("\x1b\x07\x9b\r\b\x00\x7f")


def table(name):
    return ScoreTable(name, [f"{name}2"], [TableRow(f"{name}3", "variant", {f"{name}2": Spread(-3.2, None, 1)})])


@pytest.mark.parametrize("text", TERMINAL)
def test_terminal_control_characters_are_not_printed(text, capsys):
    echo(text, f"song {text}", sep="/", file=sys.stderr)
    echo(as_text([table(text)]))
    out, err = capsys.readouterr()
    assert not ACTIVE & {*out, *err} and not [letter for letter in out + err if unicodedata.category(letter) in ("Cf", "Cs")]
    assert printable("a\tb\nc é 音 −3") == "a\tb\nc é 音 −3"


@pytest.mark.parametrize("text", [CLEAR, TITLE, C1])
def test_errors_are_printed_without_control_characters(text, cli, monkeypatch, capfd):
    from unbraid.commands import report

    for error, status in ((InputError("where", text, found=text), 1), (RuntimeError(text), None)):
        monkeypatch.setattr(report, "check", lambda *_, error=error: (_ for _ in ()).throw(error))
        if status is None:
            with pytest.raises(RuntimeError) as caught:
                cli(script="scripts/report.py")
            sys.excepthook(caught.type, caught.value, caught.tb)
            err = capfd.readouterr().err
        else:
            exit_status, _, err = cli(script="scripts/report.py")
            assert exit_status == status
        assert "\ufffd" in err and not ACTIVE & {*err}


@pytest.mark.parametrize("text", [CLEAR, C1, "[link=http://x]a[/link]", "[blink]a", "a\nb"])
def test_the_progress_table_displays_names_unchanged(text):
    from rich.console import Console
    from rich.table import Table as Shown

    from unbraid.sweeps.progress import _plain

    shown = Shown("run", "error")
    shown.add_row(*_plain(text, text))
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=200, color_system=None).print(shown)
    body = out.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert not ACTIVE & {*body} and text.split("\n")[0].translate(dict.fromkeys(map(ord, "\x1b\x9b"), "\ufffd")) in body


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_a_csv_file_is_a_formula(text):
    rows = [*csv.reader(io.StringIO(as_csv([table(text)])))]
    assert [row[4] for row in rows] == ["mean", "-3.2"]
    for cell in [cell for row in rows for cell in row if cell != "-3.2"]:
        for part in re.split(r"[;\t\r\n]", cell):
            assert not part.lstrip().lstrip('"').startswith(("=", "+", "-", "@", "＝"))


@pytest.mark.parametrize("value", [-3.2, "-3.2", "-1e-5", "+7", "-inf", 5, None, "vocals", ""])
def test_numbers_and_names_of_a_csv_file_are_kept(value):
    assert csv_cell(value) == value


@pytest.mark.parametrize("text", MARKUP)
def test_markdown_displays_names_unchanged(text):
    found = as_markdown([table(text)], text)
    lines = found.splitlines()
    assert len(lines) == 5 and all(line.replace("\\|", "").count("|") == 3 for line in lines[:3])
    assert is_plain(found)
    assert len(as_latex([table(text)], text).splitlines()) == 11


@pytest.mark.parametrize("text", MARKUP)
def test_a_model_card_has_only_its_own_front_matter(text):
    class Separator:
        targets, sample_rate, channels = [text], 44100, 2

        def parameters(self):
            return []

    scores = {"protocol": {"name": text, "tracks": "mean"}, "summary": {text: {text: {"mean": 1.0}}}}
    card = _card(Separator(), {"model": text, "data": text}, scores, "mit")
    _, front, body = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert {*facts} == {"license", "library_name", "pipeline_tag", "tags"} and facts["license"] == "mit"
    assert len(facts["tags"]) == 2
    own = body.replace("```python", "").replace("```", "").replace("**", "")
    assert is_plain(own.split("## Scores")[1]) and is_plain(own.split("```")[0].split("import unbraid")[0])
    assert body.count("\n# ") + body.startswith("# ") == 1 and body.count("\n## ") == 2


def is_plain(text):
    """Return whether all characters with a meaning in Markdown are escaped, except those of tables and headings."""
    rest = text
    for letter in "\\`*_{}[]<>#|~&:@$!.":
        rest = rest.replace(f"\\{letter}", "")
    return not {*"<>[]&`@"} & {*rest} and "http:" not in rest and "www." not in rest and "~~~" not in rest


@pytest.mark.parametrize("name", ["=cmd|' /C x'!A0", "<b>x</b>|y", f"{CLEAR}x"])
def test_the_report_of_a_hostile_sweep_is_escaped(tmp_path, cli, name):
    for number in range(2):
        leave_run(tmp_path / "sweep", number, f"net{number}", 0, [1.0, 2.0], targets=(name.replace("/", ""),))
    status, out, err = cli(f"sweep={tmp_path / 'sweep'}", f"output={tmp_path / 'report'}", script="scripts/report.py")
    if status == 0:  # else the names were refused
        assert "\n=" not in (tmp_path / "report/table.csv").read_text()
        assert is_plain((tmp_path / "report/table.md").read_text().replace("**", ""))
    assert not ACTIVE & {*out, *err}


def test_escaped_markdown_keeps_ordinary_names():
    assert markdown("SI-SDR") == "SI-SDR" and markdown("net 2, seed=1 (a)") == "net 2, seed=1 (a)"


@pytest.mark.parametrize("text", ["[99cm] x", "*", "*[9cm]", "a\\[9cm]"])
def test_names_cannot_be_options_of_latex_commands(text):
    lines = as_latex([table(text)], text).splitlines()
    assert not [line for line in lines if line.startswith(("[", "*"))] and "\\[" not in "".join(lines)
