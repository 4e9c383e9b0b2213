"""Set the folder of a sweep. If the user repeats a command, the folder of the earlier sweep is used again.

This module does not import torch, so that a sweep can print its folder at once.
"""

import atexit
import shutil
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from unbraid.commands.cli import new_folders
from unbraid.commands.overrides import named, quoted
from unbraid.runs.errors import InputError
from unbraid.runs.records import LEDGER, digest, strip_launch_keys, sweep_overrides
from unbraid.sweeps.ledger import sweep_of

NOT_OF_A_SWEEP = ("n_trials", "n_jobs", "storage")  # options of a sweeper that do not change the sweep's identity


def identity_of(config: DictConfig) -> str:
    """Return a hash that identifies a sweep. With the hash, a repeated command finds the folder of the sweep again.

    The hash is computed from the config that all runs share and from the swept overrides (overrides that differ between runs).
    Paths and launcher options do not change the hash.

    Args:
        config: composed config of the sweep, with its `hydra` node.

    Returns:
        The hash, 16 characters long.
    """
    common = {key: value for key, value in tree_of(config).items() if key != "hydra"}
    sweeper = {key: value for key, value in tree_of(config.hydra.sweeper).items() if key not in NOT_OF_A_SWEEP}
    return digest([strip_launch_keys(common), sweep_overrides(config.hydra.overrides.task), sweeper])


def tree_of(config: DictConfig) -> dict[str, Any]:
    """Return a config as a dictionary without resolving its interpolations."""
    tree: Any = OmegaConf.to_container(config, resolve=False)
    return dict(tree)


def settle(config: DictConfig) -> None:
    """Set the folder of a sweep before the sweep starts.

    A dry run (`plan=true`) gets a temporary folder. Otherwise, the folder `hydra.sweep.dir=FOLDER` on the command line is used.
    If the command line contains no folder, the folder of an earlier sweep of the same command is used again. If there is no
    earlier sweep, or if the command line contains `resume=never`, a new folder is created.

    Args:
        config: composed config of the sweep, with its `hydra` node. The config is changed in place.

    Raises:
        InputError: the command line names the folder of a single run.
    """
    if word := named(config.hydra, "hydra.run.dir"):
        raise InputError(
            word, "this key only applies to a single run", hint="Set the folder of a sweep with hydra.sweep.dir=FOLDER"
        )
    if config.plan == "fit":
        raise InputError("plan=fit", "this dry run only applies to a single run", hint="Remove -m, or use plan=true")
    if config.plan:
        scratch = tempfile.mkdtemp()  # for the files that Hydra writes
        atexit.register(shutil.rmtree, scratch)
        _set_folder(config, Path(scratch))
    elif config.resume == "auto" and not named(config.hydra, "hydra.sweep.dir"):
        identity, folder = identity_of(config), Path(config.hydra.sweep.dir)
        ledgers = [path for path in folder.parent.parent.glob(f"*/*/{LEDGER}") if sweep_of(path.parent) == identity]
        if ledgers:
            _set_folder(config, max(ledgers, key=lambda path: path.stat().st_mtime).parent)
        else:
            _set_folder(config, _new_folder(folder))
    elif not named(config.hydra, "hydra.sweep.dir"):
        _set_folder(config, _new_folder(Path(config.hydra.sweep.dir)))


def _new_folder(folder: Path) -> Path:
    """Create a sweep folder and return its path. If the folder exists, append a number to its name.

    The name contains only the time in seconds, so two commands that start in the same second need different numbers.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        path = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            new_folders.append(path.absolute())
            return path
    raise AssertionError


def _set_folder(config: DictConfig, folder: Path) -> None:
    """Write the path of the sweep folder into the config of the sweep. The configs of the runs then get the same path."""
    with open_dict(config):
        config.hydra.sweep.dir = str(folder)
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")
