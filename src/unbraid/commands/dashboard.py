"""A dashboard of W&B for a sweep: what its runs have measured says which panels there are.

Scores by arm, learning curves of arms with the spread of their seeds, what is heard and seen, scores of each track, and how
scores follow from what was swept. What is shown lies in a file; online it becomes a view of the project too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unbraid.runs.config import check, own_config, write_json
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError
from unbraid.runs.metrics_reader import epochs, figures
from unbraid.runs.records import read_record, strip_launch_keys
from unbraid.runs.scores import read_scores
from unbraid.runs.text import echo
from unbraid.training.loggers.media import media_of
from unbraid.training.loggers.wandb_page import failures, in_line, why_offline

ARM = "config.run.arm"  # see loggers.wandb_page
BOOKKEEPING = ("epoch", "step", "seconds", "lr")


@dataclass
class Dashboard:
    """What to show.

    Args:
        sweep: folder of a sweep.
        project: of W&B; None: that of the sweep's runs.
        entity: user or team; None: the account's own.
        output: the file that says what is shown; None: `dashboard.json` in the sweep.
    """

    sweep: str | None
    project: str | None
    entity: str | None
    output: str | None


@dataclass(frozen=True)
class Sweep:
    """What is known of one.

    Args:
        name: of its folder, which is the group of its pages.
        project: of its pages.
        columns: of `metrics.csv`.
        scores: `test/<measure>/<target>`.
        media: keys of what is heard and seen.
        swept: keys of the config in which runs differ.
    """

    name: str
    project: str
    columns: Sequence[str]
    scores: Sequence[str]
    media: Sequence[str]
    swept: Sequence[str]


def dashboard(config: DictConfig) -> None:
    """Write what is shown, and save it as a view where W&B can be reached."""
    check(config, Dashboard)
    try:
        import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError as error:
        raise InputError("dashboard: needs the package wandb-workspaces: pip install 'unbraid[dashboard]'") from error
    if config.sweep is None:
        raise InputError("sweep has no default and must be given: sweep=FOLDER")
    found = sweep_in(Path(config.sweep).expanduser(), config.project)
    place = _free(Path(config.output or Path(config.sweep) / "dashboard.json").expanduser())
    view = ws.Workspace(
        entity=config.entity or "", project=found.project, name=f"unbraid {found.name}",
        sections=_sections(found), runset_settings=ws.RunsetSettings(filters=f"Metric('Group') == {found.name!r}"),
    )  # fmt: skip
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, json.loads(view._to_model().model_dump_json(by_alias=True)))  # the package has no public way to a file
    echo(f"shows   {len(view.sections)} sections, {sum(len(one.panels) for one in view.sections)} panels: {place}")
    if offline := why_offline():
        echo(f"wandb   offline, {offline}: nothing was saved there; the same command saves it once W&B can be reached")
    else:
        _save(view, place)


def _save(view: Any, place: Path) -> None:
    """As a view of the project."""
    try:
        view.entity = view.entity or _own_entity()
        view.save()
    except failures() as error:
        raise InputError(f"W&B has not saved it: {in_line(error)}; what is shown lies in {place}") from error
    echo(f"wandb   {view.url}")


def _free(place: Path) -> Path:
    """The same, where nothing but an earlier dashboard lies there; InputError otherwise."""
    if place.exists() and not _is_dashboard(place):
        raise InputError(f"output={place}: is there already and is no dashboard; choose another name or remove it")
    return place


def _is_dashboard(path: Path) -> bool:
    try:
        found = read_json(path)
    except InputError:
        return False
    return isinstance(found, dict) and {"project", "displayName", "spec"} <= {*found}


def sweep_in(folder: Path, project: str | None) -> Sweep:
    """What the runs of a sweep have measured; InputError where it has none, or none with a page."""
    if not folder.is_dir():
        raise InputError(f"sweep={folder}: {'is a file, expected a folder' if folder.exists() else 'no such folder'}")
    runs = sorted(path.parent for path in folder.glob("*/run.json") if read_record(path.parent))
    if not runs:
        raise InputError(f"sweep={folder}: holds no runs; expected the folder of a sweep")
    configs = [own_config(run) for run in runs]
    asked = project or next((name for one in configs if (name := OmegaConf.select(one, "logger.wandb.project"))), None)
    if asked is None:
        raise InputError(f"sweep={folder}: none of its runs has logger=wandb; run it with that, or name a project=…")
    return Sweep(
        folder.resolve().name, asked,
        _once(name for run in runs for row in epochs(run) for name in row),
        _once(f"test/{measure}/{target}" for run in runs for target, measure in _figures(run)),
        _once(one.key for run in runs for epoch in (run / "media").glob("*") for one in media_of(epoch, "valid")),
        differing([_flat(strip_launch_keys(OmegaConf.to_container(one, resolve=True))) for one in configs]),  # type: ignore[arg-type]
    )  # fmt: skip


def _once(names: Any) -> list[str]:
    return [*dict.fromkeys(names)]


def _figures(run: Path) -> list[tuple[str, str]]:
    path = run / "scores.json"
    if not path.is_file():
        return []
    try:
        return [*figures(read_scores(path))]
    except InputError as error:
        echo(f"left    {error}: its scores are not shown")
        return []


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys of single values in which configs differ; names, which follow from others, left out."""
    keys = _once(key for config in configs for key in config)
    unlike = [key for key in keys if len({str(config.get(key)) for config in configs}) > 1]
    return [key for key in unlike if key != "name" and not key.endswith("._target_")]


def _flat(tree: Any, place: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {key: value for name, item in tree.items() for key, value in _flat(item, f"{place}.{name}".lstrip(".")).items()}
    return {place: tree}


def _sections(found: Sweep) -> list[Any]:
    """Those that would be empty are left out."""
    import wandb_workspaces.workspaces as ws

    made = {
        "Scores": _bars(found),
        "Learning curves": [_curve(name) for name in found.columns if name.startswith(("train/", "valid/"))],
        "Heard and seen": _media(found),
        "What was swept": _parallel(found),
        "Speed": [_curve(name) for name in found.columns if "/" not in name and name not in BOOKKEEPING],
    }
    return [ws.Section(name, panels, is_open=name != "Speed") for name, panels in made.items() if panels]


def _bars(found: Sweep) -> list[Any]:
    """The mean over the seeds of each arm, with their deviation; then the scores of each track."""
    import wandb_workspaces.reports.v2 as wr

    bars = [
        wr.BarPlot(title=name, metrics=[name], groupby=ARM, groupby_aggfunc="mean", groupby_rangefunc="stddev")
        for name in found.scores
    ]
    return [*bars, wr.WeavePanelSummaryTable(table_name="test/tracks")] if bars else []


def _curve(name: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(title=name, x="epoch", y=[name], groupby=ARM, groupby_aggfunc="mean", groupby_rangefunc="minmax")


def _media(found: Sweep) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [wr.MediaBrowser(title=key, media_keys=[key]) for key in found.media]


def _parallel(found: Sweep) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    if not found.swept:
        return []
    axes = [wr.ParallelCoordinatesPlotColumn(wr.Config(key)) for key in found.swept]
    axes += [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(name)) for name in found.scores[:1] or ["valid/loss"]]
    return [wr.ParallelCoordinatesPlot(title="what was swept, and the score", columns=axes), wr.RunComparer(diff_only="split")]


def _own_entity() -> str:
    import wandb

    found = wandb.Api().default_entity
    if found is None:
        raise InputError("entity: the account has none of its own; name one with entity=…")
    return str(found)
