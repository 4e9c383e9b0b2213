"""Suggest data layouts if the chosen layout does not fit a folder. A layout is the folder structure of a data set."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unbraid.data.tracks import SPLITS, Layout
from unbraid.runs.config import build
from unbraid.runs.errors import InputError, LayoutError

CONF_DATA = "data"


def with_layouts_that_fit(error: LayoutError, conf: Path) -> InputError:
    """Extend the hint of an error by the names of the layouts that fit the data folder.

    Args:
        error: error about a data folder whose files do not match the chosen layout.
        conf: folder of the configs.

    Returns:
        A copy of the error with the longer hint; the unchanged error if the data folder is missing or empty.
    """
    root = Path(error.where)
    if not root.is_dir() or not any(root.iterdir()):
        return error
    fitting = ", ".join(f"{CONF_DATA}={name}" for name in layouts_that_fit(root, conf))
    layouts = f"Layouts that fit this folder: {fitting}" if fitting else "No layout fits this folder"
    hint = f"{error.hint.rstrip('.')}. {layouts}" if error.hint else layouts
    return LayoutError(error.where, error.problem, found=error.found, expected=error.expected, hint=hint)


def layouts_that_fit(root: Path, conf: Path) -> list[str]:
    """Return the names of the data configs whose layout finds training, validation and test tracks in a folder.

    Each layout has its default options. Audio files are listed but not decoded.

    Args:
        root: folder of a data set.
        conf: folder of the configs.

    Returns:
        Names of the yaml files in `conf/data`, in alphabetical order.
    """
    folder = conf / CONF_DATA
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    return [name for name in names if _fits(_data_of(name, folder), root)]


def _data_of(name: str, folder: Path) -> DictConfig:
    """Load the data config `name`, merged with the yaml files in its defaults list. Hydra is too slow for this."""
    config: Any = OmegaConf.load(folder / f"{name}.yaml")
    entries = [entry for entry in config.pop("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    parents = [Path(name).parent / entry.partition("@")[0] for entry in entries]
    merged: Any = OmegaConf.merge(*(_data_of(str(parent), folder) for parent in parents), config)
    return merged


def _fits(data: DictConfig, root: Path) -> bool:
    if "layout" not in data:  # a data set of images
        return False
    try:
        layout: Layout = build(data.layout)
        tracks = layout.tracks(root).tracks
    except (InputError, OSError):
        return False
    return {track.split for track in tracks} == {*SPLITS}
