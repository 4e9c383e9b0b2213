"""A report made and said: what the pages say first is printed too."""

from collections.abc import Sequence
from pathlib import Path

from unbraid.errors import InputError
from unbraid.files import below
from unbraid.reporting.arms import arms_of, runs_of
from unbraid.reporting.page import Report, write
from unbraid.reporting.tables import as_text, tables
from unbraid.reporting.verdicts import baseline_of
from unbraid.scores import read_scores, separates
from unbraid.text import echo

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
    arms = arms_of(folders)
    found = Report(title, arms, baseline_of(arms, baseline), tables(arms), measure)
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


def at_end(sweep: Path) -> None:
    """Write the report of a sweep of separators if a run has scores."""
    if any(_is_separated(path) for path in sweep.glob("*/scores.json")):
        make(runs_of(sweep), report_of(sweep), sweep.name)


def _is_separated(path: Path) -> bool:
    try:
        return separates(read_scores(path))
    except InputError:  # the report of the others names the damage
        return False
