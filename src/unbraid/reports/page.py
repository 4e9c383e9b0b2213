"""The folder of a report: two pages that a browser opens from the disk, without a network, and what they show."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from plotly.offline import get_plotlyjs

from unbraid.reports.listening import heard, leave, songs_of
from unbraid.reports.tables import ScoreTable, as_csv, as_latex, as_markdown, as_plain, caption, cell_text, main_measure
from unbraid.reports.variants import Spread, Variant, differences, told_apart
from unbraid.reports.verdicts import Verdict, verdicts
from unbraid.runs.config import write_json
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"
STATIC = ("style.css", "theme.js", "report.js", "listen.js")
RECORD = "report.json"
MARK = {"made_by": "unbraid report"}  # in the record: it makes a folder one of ours
# Pages load files of the report and nothing from a network, and no inline script is run.
POLICY = "default-src 'none'; script-src 'self'; img-src 'self' data:; media-src 'self'; base-uri 'none'; form-action 'none'; "
STYLES = {"index.html": "style-src 'self' 'unsafe-inline'", "listen.html": "style-src 'self'"}  # Plotly needs inline styles
LONGEST_VALUE = 60  # letters of a value in the table of differences


@dataclass(frozen=True)
class Report:
    """What is shown.

    Args:
        title: of the pages.
        variants: with scores and without.
        baseline: the arm that others are compared with.
        tables: one for each target.
        measure: what arms are judged by; None: the main one of each table.
    """

    title: str
    variants: Sequence[Variant]
    baseline: Variant
    tables: Sequence[ScoreTable]
    measure: str | None = None

    @property
    def scored(self) -> list[Variant]:
        """Arms with scores."""
        return [variant for variant in self.variants if variant.runs]

    @property
    def without(self) -> dict[str, str | None]:
        """Why runs have no scores, by what tells them apart."""
        runs = [run for variant in self.variants for run in variant.without]
        return dict(zip(told_apart([run.folder for run in runs]), (run.missing for run in runs), strict=True))

    @property
    def words(self) -> str:
        """What the figures of the tables are."""
        return caption(self.variants)

    def main(self, table: ScoreTable) -> str | None:
        """The measure that arms are judged by; InputError where a table has none of this name."""
        if self.measure is not None and self.measure not in table.measures:
            raise InputError(f"measure={self.measure}: {table.target} has no such measure; known: {', '.join(table.measures)}")
        return self.measure or main_measure(table)

    def verdicts(self) -> dict[str, list[Verdict]]:
        """By target and measure."""
        return {
            f"{table.target}, {measure}": verdicts(self.variants, self.baseline, table.target, measure)
            for table in self.tables
            if (measure := self.main(table)) is not None
        }


def write(report: Report, folder: Path, songs: int) -> None:
    """The whole folder, or nothing; an older report of this name is replaced.

    Args:
        report: what is shown.
        folder: of the report.
        songs: how many test tracks can be heard at most.

    Raises:
        InputError: the folder is no report, holds something that no report wrote, or is the one that we work in.
    """
    refuse_to_replace(folder)
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=folder.parent) as partial:
        fresh = Path(partial) / folder.name
        fresh.mkdir()
        _fill(report, fresh, songs)
        if folder.exists():
            folder.rename(Path(partial) / "replaced")
        fresh.rename(folder)


def refuse_to_replace(folder: Path) -> None:
    """InputError where something would be lost but an older report."""
    if not folder.exists():
        return
    if (written := _written(folder)) is None:
        raise InputError(f"output={folder}: is there already and is no report of this version; choose another name")
    if others := sorted({*_files(folder)} - {*written, RECORD}):
        raise InputError(f"output={folder}: holds {others[0]}, which no report wrote; move it away or choose another name")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise InputError(f"output={folder}: is the folder that you work in; go elsewhere or choose another name")


def _written(folder: Path) -> list[str] | None:
    """The files that the report in a folder says it wrote; None where there is no report."""
    try:
        record = read_json(folder / RECORD)
    except (OSError, InputError):
        return None
    if not isinstance(record, dict) or record.get("made_by") != MARK["made_by"]:
        return None
    files = record.get("files", [])
    return files if isinstance(files, list) and all(isinstance(name, str) for name in files) else None


def _files(folder: Path) -> list[str]:
    """By their paths from the folder."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _fill(report: Report, folder: Path, songs: int) -> None:
    found = report.verdicts()
    for name in STATIC:
        shutil.copyfile(TEMPLATES / name, folder / name)
    (folder / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    for name, text in _table_files(report).items():
        (folder / name).write_text(text, encoding="utf-8")
    _write_script(folder / "report-data.js", "REPORT", _data(report))
    players = heard(report.variants)
    played = [leave(players, track, number, folder) for number, track in enumerate(songs_of(players, songs), 1)]
    _write_script(folder / "listen-data.js", "SONGS", {"title": report.title, "songs": played})
    _write_pages(report, folder, found, played, songs)
    write_json(folder / RECORD, MARK | _record(report, found) | {"files": _files(folder)})


def _table_files(report: Report) -> dict[str, str]:
    return {
        "table.csv": as_csv(report.tables),
        "table.md": as_markdown(report.tables, report.words),
        "table.tex": as_latex(report.tables, report.words),
    }


def _write_script(path: Path, name: str, value: Any) -> None:
    """Write a script that a page loads from the disk, from where no browser lets it fetch data.

    The value is parsed at run time: in an object literal of JavaScript the key `__proto__` is not a key.
    """
    text = json.dumps(json.dumps(value, allow_nan=False))
    path.write_text(f"const {name} = JSON.parse({text});\n", encoding="utf-8")


def _write_pages(
    report: Report, folder: Path, found: Mapping[str, Sequence[Verdict]], songs: Sequence[Mapping[str, Any]], most: int
) -> None:
    environment = Environment(loader=PackageLoader("unbraid.reports"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"said": cell_text, "shown": _shown}
    typed = [[word for word in variant.first.words if not word.startswith("seed=")] for variant in report.variants]
    shared = {
        "report": report, "songs": songs, "most": most, "verdicts": found, "costs": _costs(report.scored), "typed": typed,
        "differences": differences(report.variants), "made": f"{datetime.now():%Y-%m-%d %H:%M}",
    }  # fmt: skip
    for page, styles in STYLES.items():
        text = environment.get_template(f"{page}.j2").render(shared, policy=POLICY + styles)
        (folder / page).write_text(text, encoding="utf-8")


def _shown(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _record(report: Report, found: Mapping[str, Sequence[Verdict]]) -> dict[str, Any]:
    """For programs."""
    return {
        "title": report.title,
        "protocol": report.scored[0].runs[0].scores["protocol"],
        "baseline": report.baseline.name,
        "tables": as_plain(report.tables),
        "verdicts": {
            what: [
                {"arm": one.variant, "p_after_holm": one.p, "words": one.words}
                | ({} if one.found is None else {"difference": vars(one.found)})
                for one in those
            ]
            for what, those in found.items()
        },
        "without_scores": report.without,
    }


def _costs(variants: Sequence[Variant]) -> list[dict[str, Any]]:
    """In the units that people speak of."""
    return [
        {
            "arm": variant.name,
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
    """What the plots are drawn of."""
    variants, tracks = report.scored, [*report.baseline.runs[0].scores["tracks"]]
    return {
        "arms": [variant.name for variant in variants],
        "baseline": report.baseline.name,
        "tracks": tracks,
        "targets": {table.target: {"measures": list(table.measures), "main": report.main(table)} for table in report.tables},
        "scores": {
            table.target: {m: [_of_tracks(variant, table.target, m, tracks) for variant in variants] for m in table.measures}
            for table in report.tables
        },
        "figures": {
            table.target: {m: [_mean(variant.summary(table.target, m)) for variant in variants] for m in table.measures}
            for table in report.tables
        },
        "parameters": [_mean(variant.cost("parameters")) for variant in variants],
        "seconds": [_mean(variant.seconds) for variant in variants],
        "curves": _curves(report.variants),
    }  # fmt: skip


def _mean(spread: Spread | None) -> float | None:
    return None if spread is None else spread.mean


def _of_tracks(variant: Variant, target: str, measure: str, tracks: Sequence[str]) -> list[float | None]:
    """Means over the seeds in which a track is defined."""
    scores = variant.of_tracks(target, measure, tracks)
    return [round(float(column[np.isfinite(column)].mean()), 4) if np.isfinite(column).any() else None for column in scores.T]


def _curves(variants: Sequence[Variant]) -> dict[str, list[dict[str, Any]]]:
    """By what is logged, of each arm: mean over seeds, and the lowest and highest, by epoch."""
    found: dict[str, list[dict[str, Any]]] = {}
    for variant in variants:
        rows = [run.epochs for run in [*variant.runs, *variant.without]]
        for name in dict.fromkeys(name for run in rows for row in run for name in row if "/" in name):
            curves = [{row["epoch"]: row[name] for row in run if name in row} for run in rows]
            if epochs := sorted({epoch for curve in curves for epoch in curve}):
                values = [[curve[epoch] for curve in curves if epoch in curve] for epoch in epochs]
                found.setdefault(name, []).append({
                    "arm": variant.name, "epochs": [epoch + 1 for epoch in epochs], "seeds": sum(map(bool, curves)),
                    "mean": [fmean(v) for v in values], "low": [min(v) for v in values], "high": [max(v) for v in values],
                })  # fmt: skip
    return dict(sorted(found.items(), key=lambda item: (item[0] != "valid/loss", item[0])))
