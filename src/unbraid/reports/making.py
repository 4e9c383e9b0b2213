"""Make a report on training runs: write its web pages, and print tables of scores and comparisons of the variants."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from unbraid.reports.errors import report_errors
from unbraid.reports.page import Report, write
from unbraid.reports.tables import as_text, tables
from unbraid.reports.variants import Variant, runs_of, variants_of
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
    protocol: str | None = None,
    labels: Sequence[str] = (),
) -> None:
    """Write a report on training runs as web pages, and print tables of scores and comparisons between variants.

    A variant is a group of runs that differ only in the seed.

    An InputError is raised if no run has scores, or if two runs were scored on different tracks or with different protocols. It
    is also raised if the baseline or the measure does not exist.

    Args:
        folders: folders of the training runs.
        output: folder to which the report is written.
        title: title of the web pages.
        baseline: name of the variant with which all other variants are compared; None: the first variant that has scores.
        measure: name of the measure that is compared, such as `SDR`; None: the first measure with scores in the order NSDR,
            SDR, SI-SDRi, …
        songs: largest number of test tracks on the listening page.
        protocol: name of the protocol whose scores are reported; None: the protocol with which each run was scored after
            training.
        labels: one name for each variant, in the order of the variants in the report; empty: the names are taken from the
            command lines of the runs.
    """
    variants = relabelled(variants_of(folders, protocol), labels)
    report = Report(title, variants, baseline_of(variants, baseline), tables(variants), measure)
    write(report, output, songs)
    echo(f"\n{as_text(report.tables)}\n{report.caption}\n")
    for verdict in (verdict for verdicts in report.verdicts().values() for verdict in verdicts):
        echo(verdict.words)
    for name, run in report.labelled:
        echo(f"label   {name}: {' '.join(f'[{tag}]' for tag in run.tags)} {run.notes}".rstrip())
    for name, reason in report.without.items():
        echo(f"run without scores: {name} {reason}")
    echo(f"\nreport  {output / 'index.html'}")


def relabelled(variants: Sequence[Variant], labels: Sequence[str]) -> list[Variant]:
    """Rename the variants of a report with the labels that the user has chosen.

    Args:
        variants: variants, in the order of the report.
        labels: one name for each variant; empty: the variants keep their names.

    Returns:
        The variants with their new names.

    Raises:
        InputError: the number of labels differs from the number of variants, or two labels are equal.
    """
    if not labels:
        return list(variants)
    names = ", ".join(variant.name for variant in variants)
    if len(labels) != len(variants):
        problem, expected = "the number of labels is wrong", f"{len(variants)} (a label for each of {names}, in this order)"
        raise InputError("labels", problem, found=len(labels), expected=expected)
    if len({*labels}) < len(labels):
        raise InputError("labels", "two variants have the same label", found=", ".join(labels), expected="different labels")
    return [replace(variant, name=str(label)) for variant, label in zip(variants, labels, strict=True)]


def report_of(sweep: Path, protocol: str | None = None) -> Path:
    """Return the path of the report folder in the folder of a sweep.

    If a symbolic link leads out of the sweep folder, InputError is raised.

    Args:
        sweep: folder of the sweep.
        protocol: name of the protocol whose scores the report shows; None: the protocol with which each run was scored after
            training.

    Returns:
        The path `report` or `report-<protocol>` in the sweep folder. The report folder may not exist yet.
    """
    return below(sweep, FOLDER if protocol is None else f"{FOLDER}-{protocol}")


def report_after_sweep(sweep: Path) -> None:
    """Write a report on the scores of a sweep. Do nothing if no run has scores.

    For separators, the report consists of web pages. For other models, it is a table of test errors.

    Args:
        sweep: folder of the sweep.
    """
    folders = runs_of(sweep)
    if kinds := kinds_of(folders):
        make(folders, report_of(sweep), sweep.name) if True in kinds else report_errors(folders, sweep)


def kinds_of(folders: Sequence[Path]) -> set[bool]:
    """Return which kinds of test results the run folders contain, as a set.

    The set contains True if a run contains scores of separated tracks. It contains False if a run contains test errors of
    a model that is not a separator, such as an autoencoder.
    """
    kinds = set()
    for folder in folders:
        with suppress(OSError, InputError):  # the report lists this run and the error
            kinds.add(separates(read_scores(folder / "scores.json")))
    return kinds
