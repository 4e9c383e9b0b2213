"""A report made and said: what the pages say first is printed too."""

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
    """Write the folder of a report and print its table.

    Args:
        folders: of the runs.
        output: the folder.
        title: of the pages.
        baseline: the arm that others are compared with; None: the first.
        measure: what arms are judged by; None: the main one of the protocol.
        songs: how many test tracks can be heard at most.

    Raises:
        InputError: no run has scores, scores do not compare, or there is no such arm or measure.
    """
    variants = variants_of(folders)
    found = Report(title, variants, baseline_of(variants, baseline), tables(variants), measure)
    write(found, output, songs)
    echo(f"\n{as_text(found.tables)}\n{found.words}\n")
    for verdict in (one for those in found.verdicts().values() for one in those):
        echo(verdict.words)
    for name, why in found.without.items():
        echo(f"without scores: {name} {why}")
    echo(f"\nreport  {output / 'index.html'}")


def report_of(sweep: Path) -> Path:
    """Return the folder of the report of a sweep; InputError if a link leads out of the sweep."""
    return below(sweep, FOLDER)


def report_after_sweep(sweep: Path) -> None:
    """Write the report of a sweep of separators if a run has scores."""
    if any(_is_separated(path) for path in sweep.glob("*/scores.json")):
        make(runs_of(sweep), report_of(sweep), sweep.name)


def _is_separated(path: Path) -> bool:
    try:
        return separates(read_scores(path))
    except InputError:  # the report of the others names the damage
        return False
