"""Command `dashboard`: make a dashboard on Weights & Biases (W&B) for the runs of a sweep.

A variant is a group of runs that differ only in the seed. The panels of the dashboard show the scores of each variant, learning
curves, audio, pictures and the scores of each track. More panels show the scores for each value of a swept key (a config key
that differs between the runs). The dashboard is written to a JSON file. If W&B can be reached, the dashboard is also saved as a
view of the W&B project.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unbraid.commands.keys import require
from unbraid.runs.config import check, own_config
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import refuse_missing, write_json
from unbraid.runs.metrics_reader import epochs, figures
from unbraid.runs.records import read_record, strip_launch_keys
from unbraid.runs.scores import read_scores
from unbraid.runs.text import echo
from unbraid.training.loggers.media import media_of
from unbraid.training.loggers.wandb_page import failures, in_line, why_offline

VARIANT = "config.run.variant"  # key of the W&B config, see loggers.wandb_page
BOOKKEEPING = ("epoch", "step", "seconds", "lr")


@dataclass
class DashboardConfig:
    """Command-line keys of `scripts/dashboard.py`.

    Args:
        sweep: folder of a sweep.
        project: W&B project; None: the project of the sweep's runs.
        entity: W&B user or team; None: the default user or team of the W&B account.
        output: JSON file of the dashboard; None: `dashboard.json` in the sweep folder.
    """

    sweep: str | None
    project: str | None
    entity: str | None
    output: str | None


@dataclass(frozen=True)
class Sweep:
    """Describe which results the runs of a sweep contain. The dashboard has a panel for each result.

    Args:
        name: name of the sweep folder, which is also the W&B group of the runs.
        project: W&B project of the runs.
        columns: names of the columns in the `metrics.csv` files of the runs, such as `valid/loss`.
        scores: names of the test scores, in the form `test/<measure>/<target>`.
        media: names of the logged audio and pictures.
        swept: config keys whose values differ between the runs.
    """

    name: str
    project: str
    columns: Sequence[str]
    scores: Sequence[str]
    media: Sequence[str]
    swept: Sequence[str]


def dashboard(config: DictConfig) -> None:
    """Write the dashboard of a sweep to a JSON file. If W&B can be reached, also save the dashboard as a W&B view.

    Args:
        config: composed config, see `DashboardConfig`.

    Raises:
        InputError: a key is invalid, wandb-workspaces is not installed, no run of the sweep has a W&B project, or W&B rejects
            the view.
    """
    check(config, DashboardConfig)
    try:
        import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError as error:
        hint = "Run pip install 'unbraid[dashboard]'"
        raise InputError("wandb-workspaces", "this Python package is not installed", hint=hint) from error
    require(config, sweep="FOLDER")
    sweep = sweep_in(Path(config.sweep).expanduser(), config.project)
    output = Path(config.output or Path(config.sweep) / "dashboard.json").expanduser()
    if output.exists() and not _is_dashboard(output):
        hint = "Choose another path or remove the file"
        raise InputError(f"output={output}", "the file already exists and is not a dashboard", hint=hint)
    view = ws.Workspace(
        entity=config.entity or "", project=sweep.project, name=f"unbraid {sweep.name}",
        sections=_sections(sweep), runset_settings=ws.RunsetSettings(filters=f"Metric('Group') == {sweep.name!r}"),
    )  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, json.loads(view._to_model().model_dump_json(by_alias=True)))  # the package lacks a public way to a file
    panels = sum(len(section.panels) for section in view.sections)
    echo(f"wrote   {output} with {len(view.sections)} sections, {panels} panels")
    if offline := why_offline():
        echo(f"wandb   offline ({offline}), the view was not saved. The same command saves it when W&B can be reached")
    else:
        _save(view, output)


def _save(view: Any, output: Path) -> None:
    """Save the dashboard as a view of the W&B project and print the address of the view."""
    try:
        view.entity = view.entity or _default_entity()
        view.save()
    except failures() as error:
        raise InputError(
            "W&B",
            f"the dashboard cannot be saved on the server ({in_line(error)})",
            hint=f"The file {output} on this computer contains the dashboard",
        ) from error
    echo(f"wandb   {view.url}")


def _is_dashboard(path: Path) -> bool:
    try:
        content = read_json(path)
    except InputError:
        return False
    return isinstance(content, dict) and {"project", "displayName", "spec"} <= {*content}


def sweep_in(folder: Path, project: str | None) -> Sweep:
    """Find the results in the runs of a sweep, and the config keys that differ between the runs.

    Args:
        folder: folder of the sweep.
        project: W&B project of the runs; None: read the project from the configs of the runs.

    Returns:
        The results (metrics, scores, audio and pictures) and the config keys.

    Raises:
        InputError: the folder does not exist or contains no runs, or no run has a W&B project.
    """
    if not folder.exists():
        refuse_missing(f"sweep={folder}", folder, expected="the folder of a sweep")
    if not folder.is_dir():
        raise InputError(f"sweep={folder}", "this path is not a folder")
    runs = sorted(path.parent for path in folder.glob("*/run.json") if read_record(path.parent))
    if not runs:
        raise InputError(f"sweep={folder}", "the folder contains no runs", expected="the folder of a sweep")
    configs = [own_config(run) for run in runs]
    projects = (OmegaConf.select(config, "logger.wandb.project") for config in configs)
    project = project or next(filter(None, projects), None)
    if project is None:
        hint = "Train with logger=wandb, or type project=NAME"
        raise InputError(f"sweep={folder}", "the runs of the sweep lack a W&B project", hint=hint)
    trees = [_flat(strip_launch_keys(OmegaConf.to_container(config, resolve=True))) for config in configs]  # type: ignore[arg-type]
    return Sweep(
        folder.resolve().name, project,
        _unique(name for run in runs for row in epochs(run) for name in row),
        _unique(f"test/{measure}/{target}" for run in runs for target, measure in _figures(run)),
        _unique(item.key for run in runs for epoch in (run / "media").glob("*") for item in media_of(epoch, "valid")),
        differing(trees),
    )  # fmt: skip


def _unique(names: Iterable[str]) -> list[str]:
    return [*dict.fromkeys(names)]


def _figures(run: Path) -> list[tuple[str, str]]:
    path = run / "scores.json"
    if not path.is_file():
        return []
    try:
        return [*figures(read_scores(path))]
    except InputError as error:
        echo(f"skipped {error}")
        return []


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the config keys whose values differ between runs.

    The key `name` of the run and all keys `_target_` are left out, because the values of these keys follow from other keys.

    Args:
        configs: for each run, its config as a flat mapping from dotted key, such as `data.batch_size`, to value.

    Returns:
        Dotted keys, in the order in which the configs contain the keys.
    """
    keys = _unique(key for config in configs for key in config)
    unequal = [key for key in keys if len({str(config.get(key)) for config in configs}) > 1]
    return [key for key in unequal if key != "name" and not key.endswith("._target_")]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {key: value for name, item in tree.items() for key, value in _flat(item, f"{prefix}.{name}".lstrip(".")).items()}
    return {prefix: tree}


def _sections(sweep: Sweep) -> list[Any]:
    """Return the sections (groups of panels) of the dashboard. Sections without panels are left out."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    panels_by_section = {
        "Scores": _bars(sweep),
        "Learning curves": [_curve(name) for name in sweep.columns if name.startswith(("train/", "valid/"))],
        "Audio and pictures": [wr.MediaBrowser(title=key, media_keys=[key]) for key in sweep.media],
        "Swept keys": _parallel(sweep),
        "Speed": [_curve(name) for name in sweep.columns if "/" not in name and name not in BOOKKEEPING],
    }
    return [ws.Section(name, panels, is_open=name != "Speed") for name, panels in panels_by_section.items() if panels]


def _bars(sweep: Sweep) -> list[Any]:
    """Return the panels of the test scores: a bar plot for each score and the table of scores by track.

    A bar shows the mean score of one variant (runs that differ only in the seed), with the standard deviation over the seeds.
    """
    import wandb_workspaces.reports.v2 as wr

    bars = [
        wr.BarPlot(title=name, metrics=[name], groupby=VARIANT, groupby_aggfunc="mean", groupby_rangefunc="stddev")
        for name in sweep.scores
    ]
    return [*bars, wr.WeavePanelSummaryTable(table_name="test/tracks")] if bars else []


def _curve(name: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(title=name, x="epoch", y=[name], groupby=VARIANT, groupby_aggfunc="mean", groupby_rangefunc="minmax")


def _parallel(sweep: Sweep) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    if not sweep.swept:
        return []
    axes = [wr.ParallelCoordinatesPlotColumn(wr.Config(key)) for key in sweep.swept]
    axes += [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(name)) for name in sweep.scores[:1] or ["valid/loss"]]
    return [wr.ParallelCoordinatesPlot(title="Swept keys and score", columns=axes), wr.RunComparer(diff_only="split")]


def _default_entity() -> str:
    import wandb

    entity = wandb.Api().default_entity
    if entity is None:
        raise InputError("entity", "the W&B account lacks a default user or team", hint="Type entity=NAME")
    return str(entity)
