"""Table of the test errors of autoencoders or instruments (DDSP synthesizers): mean and standard deviation over seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unbraid.reports.variants import RunScores, Spread, Variant, variants_of
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.scores import separates
from unbraid.runs.text import echo, write_csv

FILE = "errors.csv"
COLUMNS = ("data", "row", "measure", "mean", "deviation", "seeds")
BASELINES = {"pca": "PCA", "constant": "constant spectrum", "corrupted": "corrupted input"}  # keys of scores.json


def report_errors(folders: Sequence[Path], output: Path) -> None:
    """Print a table of test errors, and write the table to `errors.csv`.

    The models of the runs are autoencoders or instruments (DDSP synthesizers).

    InputError is raised if no run contains test errors, or if the test errors of two runs cannot be compared.

    Args:
        folders: run folders.
        output: folder in which `errors.csv` is written.
    """
    variants = variants_of(folders, wanted=lambda scores: not separates(scores))
    _refuse_other_errors([run for variant in variants for run in variant.runs])
    rows = error_rows([variant for variant in variants if variant.runs])
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / FILE) as partial, partial.open("w", newline="") as file:
        write_csv(
            file, COLUMNS, [(*names, m, c.mean, c.deviation, c.seeds) for *names, cells in rows for m, c in cells.items()]
        )
    echo(f"\n{as_text(rows)}\n")
    for run in (run for variant in variants for run in variant.without):
        echo(f"without scores: {run.folder.name} {run.missing}")
    echo(f"table   {output / FILE}")


def _refuse_other_errors(runs: Sequence[RunScores]) -> None:
    """Raise InputError if the test errors of two runs cannot be compared, for example because the losses differ."""
    for key in ("name", "vectors", "loss"):
        found = {str(run.scores["protocol"].get(key)): run.folder.name for run in runs}
        if len(found) > 1:
            names = " and ".join(list(found.values())[:2])
            raise InputError(
                names,
                f"the test errors of these runs cannot be compared, because the runs have different values of {key}",
                found=", ".join(found),
                hint=f"Choose runs with the same {key}",
            )


def error_rows(variants: Sequence[Variant]) -> list[tuple[str, str, dict[str, Spread]]]:
    """Return the rows of the table of test errors. A variant is a group of runs that differ only in the seed.

    Args:
        variants: variants with scores.

    Returns:
        The rows. A row contains the name of the source or image set, the name of the variant or of a baseline such as PCA,
        and the errors. The errors are a dictionary from each measure to its mean and standard deviation over the seeds. The row
        of each variant is followed by the rows of the baselines of this variant.
    """
    rows = []
    for target in dict.fromkeys(target for variant in variants for target in variant.runs[0].scores["summary"]):
        for variant in variants:
            for key in ("summary", *BASELINES):
                tables = [run.scores.get(key, {}).get(target, {}) for run in variant.runs]
                if cells := _spreads(tables):
                    rows.append((target, f"  {BASELINES[key]}" if key in BASELINES else variant.name, cells))
    return rows


def _spreads(tables: Sequence[dict[str, Any]]) -> dict[str, Spread]:
    """Compute mean and standard deviation of each measure over several runs.

    Each of the tables belongs to one run. The value of a run is the mean error over the test items.
    """
    measures = dict.fromkeys(measure for table in tables for measure in table)
    spreads = {measure: Spread.of([table.get(measure, {}).get("mean") for table in tables]) for measure in measures}
    return {measure: spread for measure, spread in spreads.items() if spread is not None}


def as_text(rows: Sequence[tuple[str, str, dict[str, Spread]]]) -> str:
    """Format the rows of the table of test errors as text for a terminal, one block of lines per source or image set."""
    width = max(len(text) for target, name, _ in rows for text in (target, name)) + 2
    lines = []
    for target in dict.fromkeys(target for target, _, _ in rows):
        block = [(name, cells) for other, name, cells in rows if other == target]
        measures = list(dict.fromkeys(measure for _, cells in block for measure in cells))
        lines.append(f"{target:<{width}}{''.join(f'{measure:>20}' for measure in measures)}{'seeds':>7}")
        for name, cells in block:
            texts = "".join(f"{_cell(cells.get(measure)):>20}" for measure in measures)
            lines.append(f"{name:<{width}}{texts}{max(cell.seeds for cell in cells.values()):>7}")
    return "\n".join(lines)


def _cell(cell: Spread | None) -> str:
    if cell is None:
        return "-"
    return f"{cell.mean:.4g}" + ("" if cell.deviation is None else f" ± {cell.deviation:.2g}")
