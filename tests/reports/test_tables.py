"""Tables of scores as text, CSV, Markdown and LaTeX."""

import csv
import io
import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from markdown_it import MarkdownIt

from tests.reports.sweeps import leave_run, usual
from unbraid.reports.tables import as_csv, as_latex, as_markdown, as_text, caption, main_measure, tables
from unbraid.reports.variants import runs_of, variants_of


@pytest.fixture
def variants(tmp_path):
    return variants_of(runs_of(usual(tmp_path)))


def two_targets(folder, name="net_a|b & 50%"):
    for number, (model, value) in enumerate([(name, 1.0), ("plain", 2.0)]):
        leave_run(folder, number, model, 0, [value, value], targets=("vocals", "rest_of_all"))
    best = {"NSDR": "plain", "SIR": "plain"}
    return [replace(table, best=best) for table in tables(variants_of(runs_of(folder)))]


def test_variants_come_before_mixture_and_oracle(variants):
    (table,) = tables(variants)
    assert [(row.name, row.kind) for row in table.rows] == [
        ("net0", "variant"), ("net1", "variant"), ("net2", "variant"), ("mixture", "mixture"), ("ideal ratio mask", "oracle"),
    ]  # fmt: skip
    assert table.measures == ["NSDR", "SIR"]  # SAR is undefined in all tracks
    assert main_measure(table) == "NSDR"


def by_verdict(folder, *shifts, seeds=3):
    """Return the table of variants whose scores differ from those of the first variant by the shifts of the songs."""
    songs, noise = np.random.default_rng(0).normal(5, 2, 8), np.random.default_rng(1)
    for variant, shift in enumerate([np.zeros(8), *shifts]):
        for seed in range(seeds):
            scores = songs + shift + noise.normal(0, 0.05, 8)
            leave_run(folder, variant * seeds + seed, f"net{variant}", seed, scores.tolist())
    (table,) = tables(variants_of(runs_of(folder)))
    return table


def test_best_needs_a_significant_difference(tmp_path):
    mixed = np.array([1, -1.1, 2, -1.9, 1.5, -1.4, 0.5, -0.5])
    assert by_verdict(tmp_path / "clear", np.ones(8)).best == {"NSDR": "net1", "SIR": "net1"}
    for name, shifts in {"luck": [mixed], "second": [np.ones(8), np.ones(8) + mixed]}.items():
        table = by_verdict(tmp_path / name, *shifts)
        assert table.best == {"NSDR": "", "SIR": ""} and "**" not in as_markdown([table], "") + as_latex([table], "")
    assert by_verdict(tmp_path / "one seed", np.ones(8), seeds=1).best == {"NSDR": "", "SIR": ""}


def test_published_row_needs_the_same_data(tmp_path):
    distances = {"vocals": {"NSDR": {"score_tables": 1.0, "reference": 11.09, "distance": -10.09}}}
    same, other = {"model": "unet", "distances": distances}, {"differs": "reference is for data=ikala, score_tables data=demo"}
    for number, compared in enumerate((same, other)):
        run = leave_run(tmp_path, number, f"net{number}", 0, [1.0])
        scores = json.loads((run / "scores.json").read_text()) | {"reference": {"name": "A Paper"} | compared}
        (run / "scores.json").write_text(json.dumps(scores))
    (table,) = tables(variants_of(runs_of(tmp_path)))
    (row,) = [row for row in table.rows if row.kind == "published"]
    assert row.name == "unet, A Paper" and row.cells["NSDR"].mean == 11.09 and "SIR" not in row.cells


def test_different_oracles_name_their_variant(tmp_path):
    for number, figure in enumerate((20.0, 20.001, 15.0)):
        run = leave_run(tmp_path, number, f"net{number}", 0, [1.0])
        scores = json.loads((run / "scores.json").read_text())
        scores["oracle"]["irm"]["vocals"]["NSDR"]["mean"] = figure
        (run / "scores.json").write_text(json.dumps(scores))
    (table,) = tables(variants_of(runs_of(tmp_path)))
    assert [row.name for row in table.rows if row.kind == "oracle"] == ["ideal ratio mask", "ideal ratio mask of net2"]


def test_text_shows_mean_and_deviation(variants):
    lines = as_text(tables(variants)).splitlines()
    assert lines[0].split() == ["vocals", "(dB)", "NSDR", "SIR", "seeds"]
    assert re.fullmatch(r"net0 +\d\.\d\d ± \d\.\d\d +\d+\.\d\d ± \d\.\d\d +2", lines[1])
    assert re.fullmatch(r"ideal ratio mask +20\.00 +-", lines[5]) and len({len(line) for line in lines[:4]}) == 1


def test_caption_names_statistic_tracks_and_protocol(variants):
    assert caption(variants) == "dB, mean of 8 test tracks; mean ± standard deviation over 2 seeds; protocol ikala_nsdr"
    assert "; mean ± standard deviation over 1 to 2 seeds;" in caption(
        [variants[0], replace(variants[1], runs=variants[1].runs[:1])]
    )
    assert caption([replace(variant, runs=variant.runs[:1]) for variant in variants]).split("; ")[1] == "one seed"


def test_csv_has_every_figure_unrounded(variants):
    rows = list(csv.DictReader(io.StringIO(as_csv(tables(variants)))))
    assert len(rows) == 3 * 2 + 2 + 1
    spread = variants[1].summary("vocals", "SIR")
    (row,) = [row for row in rows if (row["row"], row["measure"]) == ("net1", "SIR")]
    assert (float(row["mean"]), float(row["deviation"]), row["seeds"]) == (spread.mean, spread.deviation, "2")
    assert [row["deviation"] for row in rows if row["kind"] != "variant"] == [""] * 3


def test_markdown_parses_to_the_cells_of_the_table(tmp_path):
    score_tables = two_targets(tmp_path)
    tokens = MarkdownIt("commonmark").enable("table").parse(as_markdown(score_tables, "words"))
    assert sum(token.type == "table_open" for token in tokens) == 2
    cells = [
        "".join(child.content for child in token.children)
        for before, token in pairwise(tokens)
        if before.type in ("td_open", "th_open")
    ]
    width = 1 + len(score_tables[0].measures)
    assert cells[:width] == ["vocals", "NSDR", "SIR"] and len(cells) == 2 * width * 5
    assert cells[width : 2 * width] == ["net_a|b & 50%", "1.00", "4.00"]
    strong = [token for token in tokens for child in token.children or () if child.type == "strong_open"]
    assert len(strong) == 4  # the better variant in two measures of two targets


def latex_rows(text):
    """Return the cells of each booktabs table, row by row."""
    score_tables = []
    for columns, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        body = re.sub(r"\\(toprule|midrule|bottomrule)", "", body)
        rows = [re.split(r"(?<!\\)&", row) for row in body.split(r"\\") if row.strip()]
        assert all(len(row) == len(columns) for row in rows)
        score_tables.append([[cell.strip() for cell in row] for row in rows])
    return score_tables


def test_latex_parses_to_the_cells_of_the_table(tmp_path):
    text = as_latex(two_targets(tmp_path), "words ± \nmore")
    first, second = latex_rows(text)
    assert first[0] == ["vocals", "NSDR", "SIR"] and second[0][0] == r"rest\_of\_all"
    assert first[1] == [r"net\_a|b \& 50\%", "1.00", "4.00"] and first[2] == ["plain", r"\textbf{2.00}", r"\textbf{5.00}"]
    assert first[4] == ["ideal ratio mask", "20.00", "--"]
    captions = re.findall(r"\\caption\{(.*)\}", text)
    assert captions[0] == r"vocals: words $\pm$ more; bold: better than every other variant, p \textless{} 0.05"
    assert captions[1].startswith(r"rest\_of\_all: ") and text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert text.count("{") == text.count("}") and text.count(r"\begin") == text.count(r"\end{")


def test_latex_without_other_rows_has_one_rule(tmp_path):
    run = leave_run(tmp_path, 0, "net", 0, [1.0])
    score_tables = [
        replace(table, rows=[row for row in table.rows if row.kind == "variant"]) for table in tables(variants_of([run]))
    ]
    assert as_latex(score_tables, "").count(r"\midrule") == 1


def test_deviations_in_latex_use_math_mode(variants):
    ((_, first, *_),) = latex_rows(as_latex(tables(variants), ""))
    assert re.fullmatch(r"\d\.\d\d \$\\pm\$ \d\.\d\d", first[1])
