"""Find the data layouts that fit a folder, for the error about one that does not."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unbraid.data.tracks import SPLITS, Layout
from unbraid.errors import InputError, LayoutError
from unbraid.runs import build

CONF_DATA = "data"


def with_layouts_that_fit(error: LayoutError, conf: Path) -> InputError:
    """Return the error with the layouts that fit its folder in the hint; unchanged if the folder is missing or empty."""
    root = Path(error.where)
    if not root.is_dir() or not any(root.iterdir()):
        return error
    fitting = ", ".join(f"{CONF_DATA}={name}" for name in layouts_that_fit(root, conf))
    said = f"Layouts that fit this folder: {fitting}" if fitting else "No layout fits this folder, see docs/data.md"
    hint = f"{error.hint}. {said}" if error.hint else said
    return LayoutError(error.where, error.problem, found=error.found, expected=error.expected, hint=hint)


def layouts_that_fit(root: Path, conf: Path) -> list[str]:
    """Return the names of the data sets in `conf/data` whose layout, with its default options, lists tracks of every split.

    Files are listed and not decoded.

    Args:
        root: folder of a data set.
        conf: folder of the configs.
    """
    return [path.stem for path in sorted((conf / CONF_DATA).glob("*.yaml")) if _fits(_layout_of(path), root)]


def _layout_of(path: Path) -> Any:
    """The layout in the yaml of a data set or in those that it starts from; Hydra would take a second to compose one."""
    own: Any = OmegaConf.load(path)
    parents = [entry.partition("@")[0] for entry in own.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    layouts = [_layout_of(path.with_name(f"{name}.yaml")) if "/" not in name else None for name in parents]
    return OmegaConf.merge({}, *(layout for layout in [*layouts, own.get("layout")] if layout is not None))


def _fits(node: Any, root: Path) -> bool:
    if "_target_" not in node:  # images
        return False
    try:
        layout: Layout = build(node)
        tracks = layout.tracks(root).tracks
    except (InputError, OSError):
        return False
    return {track.split for track in tracks} == {*SPLITS}
