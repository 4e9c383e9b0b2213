"""Make a report from run folders: write its web pages, and print the tables of scores and the comparisons of the variants."""

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
    """Write a report on training runs as web pages, and print tables of scores and comparisons between variants.

    A variant is a group of runs that differ only in the seed.

    An InputError is raised if no run has scores, if the runs were scored on different tracks or with different protocols, or
    if the baseline or measure does not exist.

    Args:
        folders: folders of the training runs.
        output: folder to which the report is written.
        title: title of the web pages.
        baseline: name of the variant with which all other variants are compared; None: the first variant that has scores.
        measure: name of the measure that is compared, such as `SDR`; None: the first measure with scores in the order NSDR,
            SDR, uSDRi, …
        songs: largest number of test tracks on the listening page.
    """
    variants = variants_of(folders)
    report = Report(title, variants, baseline_of(variants, baseline), tables(variants), measure)
    write(report, output, songs)
    echo(f"\n{as_text(report.tables)}\n{report.caption}\n")
    for verdict in (verdict for verdicts in report.verdicts().values() for verdict in verdicts):
        echo(verdict.words)
    for name, reason in report.without.items():
        echo(f"run without scores: {name} {reason}")
    echo(f"\nreport  {output / 'index.html'}")


def report_of(sweep: Path) -> Path:
    """Return the folder `report` in the folder of a sweep. InputError if it is a symbolic link that leads out of the sweep."""
    return below(sweep, FOLDER)


def report_after_sweep(sweep: Path) -> None:
    """Write the report of a sweep, if at least one run of the sweep has scores of separated tracks.

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
