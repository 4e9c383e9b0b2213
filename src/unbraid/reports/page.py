"""Write a report as a folder with two web pages, `index.html` (scores and plots) and `listen.html` (audio files).

The folder also contains the data that the pages show. A browser can open the pages as local files, without a server and
without internet access.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from plotly.offline import get_plotlyjs

from unbraid.reports.differences import differences, loss_names
from unbraid.reports.listening import heard, leave, songs_of
from unbraid.reports.reference_curves import drawn_references
from unbraid.reports.tables import ScoreTable, as_csv, as_latex, as_markdown, as_plain, caption, cell_text, main_measure
from unbraid.reports.variants import RunScores, Spread, Variant, told_apart
from unbraid.reports.verdicts import Verdict, verdicts
from unbraid.reports.web import POLICY, STYLE, copy_static, environment, write_script
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import rename_synced, write_json

STATIC = ("style.css", "theme.js", "report.js", "deck.js", "listen.js")
RECORD = "report.json"
MARK = {"made_by": "unbraid report"}  # written to report.json; only a folder with this mark is replaced by a new report
STYLES = {"index.html": "style-src 'self' 'unsafe-inline'", "listen.html": STYLE}  # Plotly needs inline styles
LONGEST_VALUE = 60  # characters of a value in the table of differences


@dataclass(frozen=True)
class Report:
    """Store the content of a report on training runs.

    Args:
        title: title of the web pages.
        variants: all variants, also those without scores. A variant is a group of runs that differ only in the seed.
        baseline: variant with which all other variants are compared.
        tables: one table of scores for each target.
        measure: name of the measure that is compared, such as `SDR`; None: the main measure of each table.
    """

    title: str
    variants: Sequence[Variant]
    baseline: Variant
    tables: Sequence[ScoreTable]
    measure: str | None = None

    @property
    def scored(self) -> list[Variant]:
        """Variants in which at least one run has scores."""
        return [variant for variant in self.variants if variant.runs]

    @property
    def without(self) -> dict[str, str | None]:
        """Dictionary from the name of each run without scores to the reason why the scores are missing."""
        runs = [run for variant in self.variants for run in variant.without]
        return dict(zip(told_apart([run.folder for run in runs]), (run.missing for run in runs), strict=True))

    @property
    def labelled(self) -> list[tuple[str, RunScores]]:
        """List of pairs, one for each run with tags or notes: the name of the run on the page, and the run."""
        runs = [run for variant in self.variants for run in [*variant.runs, *variant.without]]
        names = told_apart([run.folder for run in runs])
        return [(name, run) for name, run in zip(names, runs, strict=True) if run.tags or run.notes]

    @property
    def caption(self) -> str:
        """Caption of the tables of scores: unit, statistic (such as the median), number of tracks and protocol."""
        return caption(self.variants)

    def main(self, table: ScoreTable) -> str | None:
        """Return the measure by which the variants in a table are compared.

        Args:
            table: table with the scores of a target.

        Returns:
            The name of the measure; None if the table has no measures, because all scores are undefined.

        Raises:
            InputError: the table lacks the measure that the user has chosen.
        """
        if self.measure is not None and self.measure not in table.measures:
            problem = f"the scores of the target {table.target} do not contain this measure"
            expected = f"one of {', '.join(table.measures)}"
            raise InputError(f"measure={self.measure}", problem, expected=expected)
        return self.measure or main_measure(table)

    def verdicts(self) -> dict[str, list[Verdict]]:
        """Compare all variants with the baseline.

        Return a dictionary from target and measure, such as `vocals, SDR`, to the results of the comparisons.
        """
        return {
            f"{table.target}, {measure}": verdicts(self.variants, self.baseline, table.target, measure)
            for table in self.tables
            if (measure := self.main(table)) is not None
        }


def write(report: Report, folder: Path, songs: int) -> None:
    """Write the folder of a report. An older report in the folder is replaced. After an error, the folder is unchanged.

    If the folder must not be replaced, InputError is raised, see `refuse_to_replace`.

    Args:
        report: content of the report.
        folder: folder to which the report is written.
        songs: largest number of test tracks on the listening page.
    """
    refuse_to_replace(folder)
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=folder.parent) as partial:
        fresh = Path(partial) / folder.name
        fresh.mkdir()
        _fill(report, fresh, songs)
        rename_synced(fresh, folder, aside=Path(partial) / "replaced")


def refuse_to_replace(folder: Path) -> None:
    """Check that a new report can replace a folder: the folder does not exist, or contains only an older report.

    Args:
        folder: folder to which the report will be written.

    Raises:
        InputError: the folder exists, but is not a report; or it contains files that do not belong to the report; or it
            contains the working directory.
    """
    if not folder.exists():
        return
    where, hint = f"output={folder}", "Choose another output."
    if (written := _written(folder)) is None:
        raise InputError(where, "this folder already exists and is not a report of this version of unbraid", hint=hint)
    if others := sorted({*_files(folder)} - {*written, RECORD}):
        problem, hint = (
            "this folder contains a file that is not part of the report",
            "Move this file, or choose another output.",
        )
        raise InputError(where, problem, found=others[0], hint=hint)
    if Path.cwd().is_relative_to(folder.resolve()):
        problem = "the working directory cannot be replaced by a report"
        hint = "Change to another directory, or choose another output."
        raise InputError(where, problem, hint=hint)


def _written(folder: Path) -> list[str] | None:
    """Return the names of all files of a report, as listed in its `report.json`.

    If the folder does not contain a report, return None.
    """
    try:
        record = read_json(folder / RECORD)
    except (OSError, InputError):
        return None
    if not isinstance(record, dict) or record.get("made_by") != MARK["made_by"]:
        return None
    files = record.get("files", [])
    return files if isinstance(files, list) and all(isinstance(name, str) for name in files) else None


def _files(folder: Path) -> list[str]:
    """Return the paths of all files in a folder, relative to the folder."""
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _fill(report: Report, folder: Path, songs: int) -> None:
    verdicts_by_table = report.verdicts()
    copy_static(STATIC, folder)
    (folder / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    for name, text in _table_files(report).items():
        (folder / name).write_text(text, encoding="utf-8")
    write_script(folder / "report-data.js", "REPORT", _data(report))
    players = heard(report.variants)
    tracks = [leave(players, track, number, folder) for number, track in enumerate(songs_of(players, songs), 1)]
    write_script(folder / "listen-data.js", "SONGS", {"title": report.title, "songs": tracks})
    _write_pages(report, folder, verdicts_by_table, tracks, songs)
    write_json(folder / RECORD, MARK | _record(report, verdicts_by_table) | {"files": _files(folder)})


def _table_files(report: Report) -> dict[str, str]:
    return {
        "table.csv": as_csv(report.tables),
        "table.md": as_markdown(report.tables, report.caption),
        "table.tex": as_latex(report.tables, report.caption),
    }


def _write_pages(
    report: Report, folder: Path, verdicts: Mapping[str, Sequence[Verdict]], songs: Sequence[Mapping[str, Any]], most: int
) -> None:
    pages = environment()
    pages.filters |= {"cell": cell_text, "shortened": _shortened}
    typed = [[word for word in variant.first.words if not word.startswith("seed=")] for variant in report.variants]
    shared = {
        "report": report, "songs": songs, "most": most, "verdicts": verdicts, "costs": _costs(report.scored), "typed": typed,
        "differences": differences(report.variants), "made": f"{datetime.now():%Y-%m-%d %H:%M}",
    }  # fmt: skip
    for page, styles in STYLES.items():
        text = pages.get_template(f"{page}.j2").render(shared, policy=POLICY + styles)
        (folder / page).write_text(text, encoding="utf-8")


def _shortened(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _record(report: Report, verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, Any]:
    """Return the content of `report.json`: tables of scores and comparisons, for use in other programs."""
    return {
        "title": report.title,
        "protocol": report.scored[0].runs[0].scores["protocol"],
        "baseline": report.baseline.name,
        "tables": as_plain(report.tables),
        "verdicts": {
            name: [
                {"variant": verdict.variant, "p_after_holm": verdict.p, "words": verdict.words}
                | ({} if verdict.difference is None else {"difference": vars(verdict.difference)})
                for verdict in of_table
            ]
            for name, of_table in verdicts.items()
        },
        "without_scores": report.without,
        "labels": {name: {"tags": list(run.tags), "notes": run.notes} for name, run in report.labelled},
    }


def _costs(variants: Sequence[Variant]) -> list[dict[str, Any]]:
    """Return the rows of the table `Cost of training`, one per variant.

    A row contains four values: number of parameters in millions, training time in minutes, GPU hours, and peak memory in GiB.
    Each value is given as mean and standard deviation over the seeds.
    """
    return [
        {
            "variant": variant.name,
            "parameters": _scaled(variant.cost("parameters"), 1e6),
            "minutes": _scaled(variant.seconds, 60),
            "gpu_hours": _scaled(variant.gpu_hours, 1),
            "memory": _scaled(variant.cost("memory"), 2**30),
            "device": ", ".join(
                dict.fromkeys(str(run.scores["cost"]["device"]) for run in variant.runs if "cost" in run.scores)
            ),
        }
        for variant in variants
    ]


def _scaled(spread: Spread | None, unit: float) -> Spread | None:
    if spread is None:
        return None
    return Spread(spread.mean / unit, spread.deviation / unit if spread.deviation else None, spread.seeds)


def _data(report: Report) -> dict[str, Any]:
    """Collect the data of the plots on the page `index.html`: names, scores, costs and learning curves."""
    variants, tracks = report.scored, [*report.baseline.runs[0].scores["tracks"]]
    return {
        "variants": [variant.name for variant in variants],
        "baseline": report.baseline.name,
        "tracks": tracks,
        "targets": {table.target: {"measures": list(table.measures), "main": report.main(table)} for table in report.tables},
        "scores": {
            table.target: {m: [_means(variant, table.target, m, tracks) for variant in variants] for m in table.measures}
            for table in report.tables
        },
        "figures": {
            table.target: {m: [_mean(variant.summary(table.target, m)) for variant in variants] for m in table.measures}
            for table in report.tables
        },
        "parameters": [_mean(variant.cost("parameters")) for variant in variants],
        "seconds": [_mean(variant.seconds) for variant in variants],
        "curves": _curves(report.variants),
        "references": drawn_references([run for variant in report.variants for run in [*variant.runs, *variant.without]]),
    }  # fmt: skip


def _mean(spread: Spread | None) -> float | None:
    return None if spread is None else spread.mean


def _means(variant: Variant, target: str, measure: str, tracks: Sequence[str]) -> list[float | None]:
    """Return a list of scores of a variant: for each track, the mean over the seeds, or None if no seed has a defined score."""
    scores = variant.of_tracks(target, measure, tracks)
    return [round(float(column[np.isfinite(column)].mean()), 4) if np.isfinite(column).any() else None for column in scores.T]


def _curves(variants: Sequence[Variant]) -> dict[str, list[dict[str, Any]]]:
    """Return a dictionary from each logged value, such as `valid/loss`, to the learning curves of all variants.

    A variant is a group of runs that differ only in the seed. A learning curve contains mean, lowest and highest value over
    these runs, for each epoch.
    """
    by_name: dict[str, list[dict[str, Any]]] = {}
    losses = loss_names(variants)
    for variant in variants:
        rows = [run.epochs for run in [*variant.runs, *variant.without]]
        for name in dict.fromkeys(name for run in rows for row in run for name in row if "/" in name):
            curves = [{row["epoch"]: row[name] for row in run if name in row} for run in rows]
            if epochs := sorted({epoch for curve in curves for epoch in curve}):
                values = [[curve[epoch] for curve in curves if epoch in curve] for epoch in epochs]
                is_loss = name.rpartition("/")[2] == "loss"
                by_name.setdefault(f"{name} ({losses[variant.name]})" if is_loss and losses else name, []).append({
                    "variant": variant.name, "epochs": [epoch + 1 for epoch in epochs], "seeds": sum(map(bool, curves)),
                    "mean": [fmean(v) for v in values], "low": [min(v) for v in values], "high": [max(v) for v in values],
                })  # fmt: skip
    return dict(sorted(by_name.items(), key=lambda item: (not item[0].startswith("valid/loss"), item[0])))
