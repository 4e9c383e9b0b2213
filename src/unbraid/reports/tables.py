"""Tables of scores for a report, as text, CSV, Markdown and LaTeX. Rows are variants, columns are measures.

A variant is a group of training runs that differ only in the seed. Each target has a separate table. Further rows are shown for
comparison: published scores, scores of the unprocessed mixture, and scores of oracles (ideal masks computed from the true
sources).
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from unbraid.evaluation.methods import BASELINES, MIXED, SILENCE
from unbraid.reports.variants import Spread, Variant
from unbraid.reports.verdicts import winner
from unbraid.runs.metrics_reader import figures
from unbraid.runs.text import markdown, one_line, write_csv

Kind = Literal["variant", "published", "mixture", "oracle"]
# The main measure of a table, by which variants are compared, is the first measure of this list that the table has.
# SI-SDRi precedes uSDRi: silence has an uSDRi of several dB, and its SI-SDRi is undefined.
ORDER = ("NSDR", "SDR", "SI-SDRi", "uSDRi", "uSDR", "SIR", "SAR", "ISR", "SI-SDR")
COLUMNS = ("target", "row", "kind", "measure", "mean", "deviation", "seeds")
BOLD = "bold: better than every other variant, p < 0.05"
STATISTICS = {"mean": "mean", "median": "median", "length_weighted": "mean, weighted by length,"}


@dataclass(frozen=True)
class TableRow:
    """Store a row of a table of scores.

    Args:
        name: name of the variant, of the oracle, or of the publication.
        kind: `variant` for a trained variant; `published`, `mixture` or `oracle` for rows that are shown for comparison.
        cells: dictionary from the name of each measure to mean and standard deviation of the score over seeds. Measures without
            a defined score are missing.
    """

    name: str
    kind: Kind
    cells: Mapping[str, Spread]


@dataclass(frozen=True)
class ScoreTable:
    """Store the table of scores of one target.

    Args:
        target: name of the separated source, such as `vocals`.
        measures: names of the measures, one per column.
        rows: rows of the table; the rows of variants come first.
        best: dictionary from each measure to the variant that is better than every other variant, see
            `unbraid.reports.verdicts.winner`. The name is empty if there is no such variant.
    """

    target: str
    measures: Sequence[str]
    rows: Sequence[TableRow]
    best: Mapping[str, str] = field(default_factory=dict)


def tables(variants: Sequence[Variant]) -> list[ScoreTable]:
    """Build one table of scores for each target, with a row for each variant that has scores.

    Args:
        variants: all variants of the report, also those without scores.

    Returns:
        The tables, in the order of the targets.
    """
    scored = [variant for variant in variants if variant.runs]
    targets = dict.fromkeys(target for variant in scored for target in variant.runs[0].scores["summary"])
    return [_table(target, scored) for target in targets]


def _table(target: str, variants: Sequence[Variant]) -> ScoreTable:
    names = {measure for variant in variants for run in variant.runs for measure in run.scores["summary"].get(target, {})}
    measures = sorted(names, key=lambda measure: (ORDER.index(measure) if measure in ORDER else len(ORDER), measure))
    rows = []
    for variant in variants:
        cells = {measure: variant.summary(target, measure) for measure in measures}
        rows.append(TableRow(variant.name, "variant", {m: spread for m, spread in cells.items() if spread is not None}))
    rows += _published(target, variants) + _mixture_and_oracles(target, variants)
    measures = [measure for measure in measures if any(measure in row.cells for row in rows)]
    return ScoreTable(target, measures, rows, {measure: winner(variants, target, measure) for measure in measures})


def _published(target: str, variants: Sequence[Variant]) -> list[TableRow]:
    """Return table rows with published scores.

    A publication is included if at least one run has the same data set and the same protocol as the publication.
    """
    rows: dict[str, TableRow] = {}
    for run in (run for variant in variants for run in variant.runs):
        reference = run.scores.get("reference", {})
        if measures := reference.get("distances", {}).get(target):
            name = f"{reference['model']}, {reference['name']}"
            rows[name] = TableRow(name, "published", {m: Spread(score["reference"], None, 1) for m, score in measures.items()})
    return [*rows.values()]


def _mixture_and_oracles(target: str, variants: Sequence[Variant]) -> list[TableRow]:
    """Return table rows with the scores of the unprocessed mixture and of the oracles (ideal masks from the true sources).

    The score of an oracle depends on the STFT, which can differ between variants. If an oracle has different scores for two
    variants, the table has two rows for this oracle. The second row is named after the oracle and its variant.
    """
    kinds: dict[Kind, list[TableRow]] = {"mixture": [], "oracle": []}
    for variant in variants:
        scores = variant.runs[0].scores
        for method, summary in ({MIXED: scores["mixture"], SILENCE: scores.get(SILENCE, {})} | scores["oracle"]).items():
            values = figures({"protocol": scores["protocol"], "summary": {target: summary.get(target, {})}})
            cells = {measure: Spread(value, None, 1) for (_, measure), value in values.items() if value is not None}
            kind: Kind = "mixture" if method in (MIXED, SILENCE) else "oracle"
            if not cells:
                continue
            name = BASELINES.get(method, method)
            namesakes = [row for row in kinds[kind] if row.name.split(" of ")[0] == name]
            if not any(_equal_when_printed(cells, row.cells) for row in namesakes):
                kinds[kind].append(TableRow(f"{name} of {variant.name}" if namesakes else name, kind, cells))
    return kinds["mixture"] + kinds["oracle"]


def _equal_when_printed(cells: Mapping[str, Spread], others: Mapping[str, Spread]) -> bool:
    return {*cells} == {*others} and all(abs(cells[measure].mean - others[measure].mean) < 5e-3 for measure in cells)


def caption(variants: Sequence[Variant]) -> str:
    """Return the caption of the tables of scores: unit, statistic (such as the median), numbers of tracks and seeds, protocol.

    Args:
        variants: variants of the report, at least one of them with scores.

    Returns:
        The caption in one line.
    """
    protocol = next(variant.runs[0].scores["protocol"] for variant in variants if variant.runs)
    tracks = len(next(variant.runs[0].scores["tracks"] for variant in variants if variant.runs))
    windows = f", {protocol['frames']} of windows" if protocol.get("window_seconds") else ""
    seeds = sorted({len(variant.runs) for variant in variants if variant.runs})
    span = " to ".join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))
    over = "one seed" if seeds == [1] else f"mean ± standard deviation over {span} seeds"
    statistic = STATISTICS[protocol["tracks"]]
    unit, count = protocol.get("unit", "dB"), f"{tracks} test track{'s' * (tracks != 1)}"
    return f"{unit}, {statistic} of {count}{windows}; {over}; protocol {protocol['name']}"


def cell_text(cell: Spread | None, plus_minus: str = " ± ") -> str:
    """Format the score in a table cell with two decimals, as in `6.21 ± 0.13`.

    Args:
        cell: mean and standard deviation over seeds. None gives the text `-`. With one seed, only the mean is written.
        plus_minus: text between mean and standard deviation.

    Returns:
        The text.
    """
    if cell is None:
        return "-"
    return f"{cell.mean:.2f}" + ("" if cell.deviation is None else f"{plus_minus}{cell.deviation:.2f}")


def as_text(tables: Sequence[ScoreTable]) -> str:
    """Format tables of scores as text for a terminal, with columns of equal width."""
    width = max(len(text) for table in tables for text in [f"{table.target} (dB)", *(row.name for row in table.rows)]) + 2
    lines = []
    for table in tables:
        measures = "".join(f"{measure:>16}" for measure in table.measures)
        lines.append(f"{f'{table.target} (dB)':<{width}}{measures}{'seeds':>7}")
        for row in table.rows:
            cells = "".join(f"{cell_text(row.cells.get(measure)):>16}" for measure in table.measures)
            seeds = max((cell.seeds for cell in row.cells.values()), default=0)
            lines.append(f"{row.name:<{width}}{cells}" + (f"{seeds:>7}" if row.kind == "variant" else ""))
    return "\n".join(lines)


def as_csv(tables: Sequence[ScoreTable]) -> str:
    """Format tables of scores as CSV with one line for each score. Numbers are not rounded."""
    buffer = io.StringIO()
    lines = (
        [table.target, row.name, row.kind, measure, cell.mean, "" if cell.deviation is None else cell.deviation, cell.seeds]
        for table in tables
        for row in table.rows
        for measure, cell in row.cells.items()
    )
    write_csv(buffer, COLUMNS, lines)
    return buffer.getvalue()


@dataclass(frozen=True)
class Markup:
    """Define how the cells of a table are written in a markup language (Markdown or LaTeX).

    Args:
        plain: function that escapes the special characters of the markup language in a text.
        bold: function that makes escaped text bold.
        plus_minus: text between mean and standard deviation.
        minus: minus sign.
    """

    plain: Callable[[str], str]
    bold: Callable[[str], str]
    plus_minus: str
    minus: str

    def rows(self, table: ScoreTable) -> list[list[str]]:
        """Return the text of all cells of each row. The first cell is the name of the row.

        In each column, the score of the variant in `ScoreTable.best` is bold.
        """
        return [[self.plain(row.name), *(self._cell(table, row, measure) for measure in table.measures)] for row in table.rows]

    def _cell(self, table: ScoreTable, row: TableRow, measure: str) -> str:
        text = cell_text(row.cells.get(measure), self.plus_minus).replace("-", self.minus)
        return self.bold(text) if row.kind == "variant" and table.best.get(measure) == row.name else text

    def head(self, table: ScoreTable) -> list[str]:
        """Return the text of the cells of the table head: the name of the target, and the names of the measures."""
        return [self.plain(text) for text in (table.target, *table.measures)]


TEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"}, "[": "{[}", "*": "{*}",  # LaTeX reads [ and * after \\ as arguments
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(TEX.get(letter, letter) for letter in one_line(text))


MARKDOWN = Markup(markdown, lambda text: f"**{text}**", " ± ", "−")
LATEX = Markup(_latex, lambda text: rf"\textbf{{{text}}}", r" $\pm$ ", "--")


def as_markdown(tables: Sequence[ScoreTable], caption: str) -> str:
    """Format tables of scores as Markdown tables (GitHub). The caption is written below all tables."""
    lines = []
    for table in tables:
        head, *rows = [" | ".join(cells) for cells in (MARKDOWN.head(table), *MARKDOWN.rows(table))]
        lines += [f"| {head} |", "|---|" + "---:|" * len(table.measures), *(f"| {row} |" for row in rows), ""]
    return "\n".join([*lines, markdown(_with_bold(caption, tables)), ""])


def _with_bold(caption: str, tables: Sequence[ScoreTable]) -> str:
    return f"{caption}; {BOLD}" if any(name for table in tables for name in table.best.values()) else caption


def as_latex(tables: Sequence[ScoreTable], caption: str) -> str:
    """Format tables of scores as LaTeX tables, which need the LaTeX package booktabs.

    A horizontal rule separates the rows of variants from all other rows (mixture, oracles and published scores).

    Args:
        tables: one table for each target.
        caption: caption of the tables.

    Returns:
        The LaTeX source, with one floating table for each target.
    """
    lines = []
    for table in tables:
        head, *rows = [" & ".join(cells) + r" \\" for cells in (LATEX.head(table), *LATEX.rows(table))]
        variants = sum(row.kind == "variant" for row in table.rows)
        text = _latex(f"{table.target}: {_with_bold(caption, [table])}").replace(" ± ", LATEX.plus_minus)
        lines += [r"\begin{table}", r"\centering", rf"\caption{{{text}}}"]
        lines += [rf"\begin{{tabular}}{{l{'r' * len(table.measures)}}}", r"\toprule", head, r"\midrule", *rows[:variants]]
        lines += [r"\midrule"] * (variants < len(rows)) + [
            *rows[variants:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    return "\n".join(lines)


def main_measure(table: ScoreTable) -> str | None:
    """Return the measure by which the variants of a table are compared; None if the table has no measures."""
    return next((measure for measure in (*ORDER, *table.measures) if measure in table.measures), None)


def as_plain(tables: Sequence[ScoreTable]) -> list[dict[str, Any]]:
    """Convert tables of scores to lists and dictionaries that can be written as JSON."""
    return [
        {
            "target": table.target,
            "measures": list(table.measures),
            "rows": [
                {"name": row.name, "kind": row.kind, "cells": {m: vars(cell) for m, cell in row.cells.items()}}
                for row in table.rows
            ],
        }
        for table in tables
    ]
