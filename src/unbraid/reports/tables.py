"""The table as papers print it, in text, CSV, Markdown and LaTeX (booktabs): arms × measures, a table for each target."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from unbraid.evaluation.scorer import MIXED, WORDS
from unbraid.reports.variants import Spread, Variant
from unbraid.runs.metrics_reader import figures
from unbraid.runs.text import markdown, one_line, write_csv

Kind = Literal["arm", "published", "mixture", "oracle"]
# The first that a protocol has and defines is the one that arms are judged by.
ORDER = ("NSDR", "SDR", "uSDRi", "uSDR", "SIR", "SAR", "ISR", "SI-SDRi", "SI-SDR")
COLUMNS = ("target", "row", "kind", "measure", "mean", "deviation", "seeds")
STATISTICS = {"mean": "mean", "median": "median", "length_weighted": "mean, weighted by length,"}


@dataclass(frozen=True)
class TableRow:
    """Of a table.

    Args:
        name: what its figures are of.
        kind: an arm of the sweep, or something to compare it with.
        cells: by measure; a measure that is not there is undefined.
    """

    name: str
    kind: Kind
    cells: Mapping[str, Spread]


@dataclass(frozen=True)
class ScoreTable:
    """Of one target.

    Args:
        target: what was taken out of the mixture.
        measures: its columns.
        rows: arms first.
    """

    target: str
    measures: Sequence[str]
    rows: Sequence[TableRow]

    @cached_property
    def best(self) -> dict[str, str]:
        """The arm with the highest figure of each measure; nobody's where there is one arm only."""
        return {measure: self._best(measure) for measure in self.measures}

    def _best(self, measure: str) -> str:
        variants = [row for row in self.rows if row.kind == "arm" and measure in row.cells]
        return max(variants, key=lambda row: row.cells[measure].mean).name if len(variants) > 1 else ""


def tables(variants: Sequence[Variant]) -> list[ScoreTable]:
    """One for each target, of arms that have scores."""
    scored = [variant for variant in variants if variant.runs]
    targets = dict.fromkeys(target for variant in scored for target in variant.runs[0].scores["summary"])
    return [_table(target, scored) for target in targets]


def _table(target: str, variants: Sequence[Variant]) -> ScoreTable:
    named = {measure for variant in variants for run in variant.runs for measure in run.scores["summary"].get(target, {})}
    measures = sorted(named, key=lambda measure: (ORDER.index(measure) if measure in ORDER else len(ORDER), measure))
    rows = [TableRow(variant.name, "arm", _defined({m: variant.summary(target, m) for m in measures})) for variant in variants]
    rows += _published(target, variants) + _beside(target, variants)
    measures = [measure for measure in measures if any(measure in row.cells for row in rows)]
    return ScoreTable(target, measures, rows)


def _defined(cells: Mapping[str, Spread | None]) -> dict[str, Spread]:
    return {measure: spread for measure, spread in cells.items() if spread is not None}


def _published(target: str, variants: Sequence[Variant]) -> list[TableRow]:
    """Figures of the papers that experiments name, where data and protocol are theirs."""
    found: dict[str, TableRow] = {}
    for run in (run for variant in variants for run in variant.runs):
        reference = run.scores.get("reference", {})
        if measures := reference.get("distances", {}).get(target):
            name = f"{reference['model']}, {reference['name']}"
            found[name] = TableRow(name, "published", {m: Spread(one["reference"], None, 1) for m, one in measures.items()})
    return [*found.values()]


def _beside(target: str, variants: Sequence[Variant]) -> list[TableRow]:
    """Mixture and oracles; those that differ between arms, as masks in other transforms do, say of which arm they are."""
    kinds: dict[Kind, list[TableRow]] = {"mixture": [], "oracle": []}
    for variant in variants:
        scores = variant.runs[0].scores
        for what, summary in ({MIXED: scores["mixture"]} | scores["oracle"]).items():
            own = figures({"protocol": scores["protocol"], "summary": {target: summary.get(target, {})}})
            cells = {measure: Spread(value, None, 1) for (_, measure), value in own.items() if value is not None}
            kind: Kind = "mixture" if what == MIXED else "oracle"
            name = WORDS.get(what, what)
            alike = [row for row in kinds[kind] if row.name.split(" of ")[0] == name]
            if not any(_same(cells, row.cells) for row in alike):
                kinds[kind].append(TableRow(f"{name} of {variant.name}" if alike else name, kind, cells))
    return kinds["mixture"] + kinds["oracle"]


def _same(one: Mapping[str, Spread], other: Mapping[str, Spread]) -> bool:
    """As far as they are printed."""
    return {*one} == {*other} and all(abs(one[measure].mean - other[measure].mean) < 5e-3 for measure in one)


def caption(variants: Sequence[Variant]) -> str:
    """What the figures are: measure, tracks, protocol."""
    protocol = next(variant.runs[0].scores["protocol"] for variant in variants if variant.runs)
    tracks = len(next(variant.runs[0].scores["tracks"] for variant in variants if variant.runs))
    windows = f", {protocol['frames']} of windows" if protocol.get("window_seconds") else ""
    over = "; ± is the standard deviation over seeds" if any(len(variant.runs) > 1 for variant in variants) else ""
    statistic = STATISTICS[protocol["tracks"]]
    return f"dB, {statistic} of {tracks} test track{'s' * (tracks != 1)}{windows}; protocol {protocol['name']}{over}"


def cell_text(cell: Spread | None, plus_minus: str = " ± ") -> str:
    """A cell, with two decimals; `-` where it is undefined."""
    if cell is None:
        return "-"
    return f"{cell.mean:.2f}" + ("" if cell.deviation is None else f"{plus_minus}{cell.deviation:.2f}")


def as_text(found: Sequence[ScoreTable]) -> str:
    """For a terminal."""
    width = max(len(text) for table in found for text in [f"{table.target} (dB)", *(row.name for row in table.rows)]) + 2
    lines = []
    for table in found:
        lines.append(
            f"{f'{table.target} (dB)':<{width}}" + "".join(f"{measure:>16}" for measure in table.measures) + f"{'seeds':>7}"
        )
        for row in table.rows:
            cells = "".join(f"{cell_text(row.cells.get(measure)):>16}" for measure in table.measures)
            lines.append(f"{row.name:<{width}}{cells}" + (f"{_seeds(row):>7}" if row.kind == "arm" else ""))
    return "\n".join(lines)


def _seeds(row: TableRow) -> int:
    return max((cell.seeds for cell in row.cells.values()), default=0)


def as_csv(found: Sequence[ScoreTable]) -> str:
    """A line for each figure."""
    buffer = io.StringIO()
    lines = (
        [table.target, row.name, row.kind, measure, cell.mean, "" if cell.deviation is None else cell.deviation, cell.seeds]
        for table in found
        for row in table.rows
        for measure, cell in row.cells.items()
    )
    write_csv(buffer, COLUMNS, lines)
    return buffer.getvalue()


@dataclass(frozen=True)
class Markup:
    """How a language writes a cell."""

    plain: Callable[[str], str]  # text that it takes for nothing else
    bold: Callable[[str], str]
    plus_minus: str
    minus: str

    def rows(self, table: ScoreTable) -> list[list[str]]:
        """The cells of each row, its name first; those of the best arm in bold."""
        return [[self.plain(row.name), *(self._cell(table, row, measure) for measure in table.measures)] for row in table.rows]

    def _cell(self, table: ScoreTable, row: TableRow, measure: str) -> str:
        text = cell_text(row.cells.get(measure), self.plus_minus).replace("-", self.minus)
        return self.bold(text) if row.kind == "arm" and table.best[measure] == row.name else text

    def head(self, table: ScoreTable) -> list[str]:
        """The cells above them."""
        return [self.plain(text) for text in (table.target, *table.measures)]


TEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"}, "[": "{[}", "*": "{*}",  # would be options of the command before a row
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(TEX.get(letter, letter) for letter in one_line(text))


MARKDOWN = Markup(markdown, lambda text: f"**{text}**", " ± ", "−")
LATEX = Markup(_latex, lambda text: rf"\textbf{{{text}}}", r" $\pm$ ", "$-$")


def as_markdown(found: Sequence[ScoreTable], words: str) -> str:
    """GitHub's tables."""
    lines = []
    for table in found:
        head, *rows = [" | ".join(cells) for cells in (MARKDOWN.head(table), *MARKDOWN.rows(table))]
        lines += [f"| {head} |", "|---|" + "---:|" * len(table.measures), *(f"| {row} |" for row in rows), ""]
    return "\n".join([*lines, markdown(words), ""])


def as_latex(found: Sequence[ScoreTable], words: str) -> str:
    """For `\\usepackage{booktabs}`; a rule parts arms from what they are compared with."""
    lines = [f"% {one_line(words)}"]
    for table in found:
        head, *rows = [" & ".join(cells) + r" \\" for cells in (LATEX.head(table), *LATEX.rows(table))]
        variants = sum(row.kind == "arm" for row in table.rows)
        lines += [rf"\begin{{tabular}}{{l{'r' * len(table.measures)}}}", r"\toprule", head, r"\midrule", *rows[:variants]]
        lines += [r"\midrule"] * (variants < len(rows)) + [*rows[variants:], r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def main_measure(table: ScoreTable) -> str | None:
    """The one that arms are judged by; None where all are undefined."""
    return next((measure for measure in (*ORDER, *table.measures) if measure in table.measures), None)


def as_plain(found: Sequence[ScoreTable]) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {
            "target": table.target,
            "measures": list(table.measures),
            "rows": [
                {"name": row.name, "kind": row.kind, "cells": {m: vars(cell) for m, cell in row.cells.items()}}
                for row in table.rows
            ],
        }
        for table in found
    ]
