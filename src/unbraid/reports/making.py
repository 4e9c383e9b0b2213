"""Make a report from run folders: write its pages, and print its tables and comparisons."""

from collections.abc import Sequence
from pathlib import Path

from unbraid.reports.page import Report, write
from unbraid.reports.tables import as_text, tables
from unbraid.reports.variants import runs_of, variants_of
from unbraid.reports.verdicts import baseline_of
from unbraid.runs.errors import InputError
from unbraid.runs.files import below
from unbraid.runs.scores import read_scores, separates
from unbraid.runs.text import echo

FOLDER = "report"
SONGS = 5


def make(
    folders: Sequence[Path],
    output: Path,
    title: str,
    baseline: str | None = None,
    measure: str | None = None,
    songs: int = SONGS,
) -> None:
    """Write the folder of a report, and print its tables and comparisons.

    An InputError is raised if no run has scores, if the scores cannot be compared, or if the baseline or the measure does not
    exist.

    Args:
        folders: run folders.
        output: folder of the report.
        title: title of the pages.
        baseline: name of the variant that the others are compared with; None: the first variant.
        measure: measure that is compared; None: the main measure of the protocol.
        songs: largest number of test tracks on the listening page.
    """
    variants = variants_of(folders)
    report = Report(title, variants, baseline_of(variants, baseline), tables(variants), measure)
    write(report, output, songs)
    echo(f"\n{as_text(report.tables)}\n{report.caption}\n")
    for verdict in (verdict for verdicts in report.verdicts().values() for verdict in verdicts):
        echo(verdict.words)
    for name, reason in report.without.items():
        echo(f"without scores: {name} {reason}")
    echo(f"\nreport  {output / 'index.html'}")


def report_of(sweep: Path) -> Path:
    """Return the report folder of a sweep. An InputError is raised if a link leads out of the sweep."""
    return below(sweep, FOLDER)


def report_after_sweep(sweep: Path) -> None:
    """Write the report of a sweep if a run of it has scores of separated tracks.

    Args:
        sweep: folder of the sweep.
    """
    if any(_is_separated(path) for path in sweep.glob("*/scores.json")):
        make(runs_of(sweep), report_of(sweep), sweep.name)


def _is_separated(path: Path) -> bool:
    try:
        return separates(read_scores(path))
    except InputError:  # the report lists this run and the error
        return False
