"""Find the checkpoint of a config file of Music-Source-Separation-Training (MSST): the file with the same name next to it."""

from pathlib import Path

from unbraid.interop.published import SAFETENSORS
from unbraid.runs.documents import read_yaml
from unbraid.runs.errors import InputError

SUFFIXES = (".ckpt", ".pt", ".pth", ".th", ".chpt", ".bin", SAFETENSORS)  # of files with weights
SECTIONS = {"audio", "training", "inference"}  # of a config file of MSST
TRANSLATION = {"weights", "names"}  # required keys of a translation file, see `unbraid.interop.foreign`


def is_msst_config(path: Path) -> bool:
    """Return whether a path is a config file of MSST, and not a translation file.

    Args:
        path: any path.

    Returns:
        True for a yaml file with a section that only config files of MSST have. A damaged yaml file raises InputError.
    """
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    tree = read_yaml(path, tuples=True)
    return isinstance(tree, dict) and bool(SECTIONS & {*tree}) and not TRANSLATION & {*tree}


def msst_pair(path: str, config: str | None) -> tuple[str, str | None]:
    """Replace the path of a config file of MSST by the paths of its checkpoint and of the config file.

    Args:
        path: path that the user has typed.
        config: config file of MSST that the user has typed in addition; None if there is none.

    Returns:
        The paths of the checkpoint and of the config file. If `path` is another kind of file, both arguments are returned.

    Raises:
        InputError: `path` is a config file of MSST, and its folder contains no checkpoint of the same name, or several.
    """
    given = Path(path).expanduser()
    if config is not None or not is_msst_config(given):
        return path, config
    candidates = [file for suffix in SUFFIXES if (file := given.with_suffix(suffix)).is_file()]
    if len(candidates) == 1:
        return str(candidates[0]), path
    names = ", ".join(file.name for file in candidates)
    if not candidates:
        others = sorted(file.name for file in given.parent.iterdir() if file.suffix in SUFFIXES and file.is_file())
        names = ", ".join(others[:5]) or "no checkpoint in the folder"
    raise InputError(
        given,
        "this config file of MSST needs exactly one checkpoint with the same name next to it",
        found=names,
        expected=f"one of {', '.join(f'{given.stem}{suffix}' for suffix in SUFFIXES)}",
        hint=f"Give the checkpoint and config={path}, for example run=CHECKPOINT config={path}",
    )
