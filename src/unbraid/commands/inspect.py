"""Command `inspect`: describe a file with weights, and print the commands that can use the file.

The repository does not contain a script `scripts/inspect.py`, because Python would import this script in place of the
module `inspect` of the standard library.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unbraid.commands.choices import choices, file_of
from unbraid.commands.compose import compose
from unbraid.commands.keys import require
from unbraid.data.store import spell_size
from unbraid.inference.description import MOST_LAYERS, Description, describe
from unbraid.runs.config import check, flat
from unbraid.runs.errors import InputError
from unbraid.runs.plugins import trusted
from unbraid.runs.text import echo

ENSEMBLE = {"members", "weights"}  # parts of an ensemble, which is neither exported nor trained


@dataclass
class InspectConfig:
    """Command-line keys of `unbraid inspect`.

    Args:
        file: run folder, checkpoint, safetensors file, `.onnx` file, folder of the package openunmix, or translation file
            (yaml), see `unbraid.interop.foreign`.
        checkpoint: checkpoint that is described if `file` is a run folder: best, last, ema or a file.
        config: config file of Music-Source-Separation-Training, if `file` is a checkpoint of that tool.
        plugins: packages whose classes the model may use, see `unbraid.runs.plugins`.
    """

    file: str | None
    checkpoint: str
    config: str | None
    plugins: list[str]


def inspect(config: DictConfig) -> None:
    """Print the description of a file, and the commands that can use the file.

    Args:
        config: composed config, see `InspectConfig`.

    Raises:
        InputError: the file cannot be read or is not a model.
    """
    check(config, InspectConfig)
    require(config, file="FILE")
    path = Path(config.file).expanduser()
    try:
        with trusted(config.plugins):
            found = describe(path, config.checkpoint, config.config)
    except InputError as error:
        if error.where != f"run={path}":
            raise
        error.raise_at(path)
    echo(*_lines(found), sep="\n")
    for number, command in enumerate(commands(found, path, config.config)):
        echo(f"{'' if number else 'use':<9}{command}")


def _lines(found: Description) -> list[str]:
    audio = [f"{found.sample_rate} Hz"] if found.sample_rate else []
    audio += [{1: "mono", 2: "stereo"}[found.channels]] if found.channels else []
    audio += [f"chunks of {found.chunk_seconds:.3g} s"] if found.chunk_seconds else []
    rows = {
        "type": ", ".join(filter(None, [found.kind, found.model])),
        "file": ", ".join([*map(str, found.files), spell_size(found.bytes)]),
        "sha256": found.sha256,
        "targets": ", ".join(found.targets),
        "audio": ", ".join(audio),
        "options": ", ".join(f"{key}={value}" for key, value in found.options.items()),
    }
    largest = sorted(found.layers, key=lambda name: found.layers[name], reverse=True)[:MOST_LAYERS]
    layers = [f"{'' if number else 'layers':<9}{name:<32} {found.layers[name]:>12,}" for number, name in enumerate(largest)]
    total = f"{'values':<9}{sum(found.layers.values()):,} in {len(found.layers)} parts"
    note = [f"{'note':<9}{found.note}"] if found.note else []
    return [f"{name:<9}{value}" for name, value in rows.items() if value] + layers + [total] + note


def training_words(found: Description) -> list[str]:
    """Return the words of `unbraid train` that build the network of a file, such as `model=scnet`.

    Args:
        found: description of the file.

    Returns:
        The choice of `model`. For a checkpoint of Music-Source-Separation-Training, also the keys whose values differ from this
        choice. `model=…` if the choice is unknown.
    """
    if not found.separator:
        return [f"model={found.choice or '…'}"]
    choice = next(name for name in choices("model") if _network_of(name) == found.separator["net"]["_target_"])
    default: Any = OmegaConf.to_container(compose(f"model={choice}", "data=demo").model.separator, resolve=True)
    values, defaults = (flat({**tree, "targets": None}) for tree in (found.separator, default))
    changed = [f"model.separator.{key}={_spelled(value)}" for key, value in values.items() if value != defaults.get(key)]
    return [f"model={choice}", f"targets=[{','.join(found.targets)}]", *changed]


def _network_of(choice: str) -> Any:
    """Return the class name of the network that the yaml file of a model itself sets; None if its parent sets the class."""
    file = file_of("model", choice)
    return None if file is None else OmegaConf.select(OmegaConf.load(file), "separator.net._target_")


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def commands(found: Description, path: Path, config: str | None) -> list[str]:
    """Return the commands that can use a file.

    Args:
        found: description of the file.
        path: path of the file.
        config: config file of Music-Source-Separation-Training; None if the user has not given it.

    Returns:
        Command lines for a shell, such as `unbraid separate run=model.ckpt input=song.wav`; an empty list if unbraid cannot use
        the file.
    """
    words = [f"{path}"] if config is None else [f"{path}", f"config={config}"]
    named = [shlex.quote(word) for word in (f"run={words[0]}", *words[1:])]
    start = [shlex.quote(word) for word in (f"init={path}", *([] if config is None else [f"init.config={config}"]))]
    train = " ".join(["unbraid train", *map(shlex.quote, training_words(found)), "data=…", *start])
    if found.model.startswith("instrument"):
        return [f"unbraid transfer run={shlex.quote(words[0])} input=recording.wav", train]
    if found.model.startswith("autoencoder"):
        return [f"unbraid encode run={shlex.quote(words[0])} split=test", train]
    if not found.targets:
        return []
    run = " ".join(named)
    lines = [f"unbraid separate {run} input=song.wav"]
    if found.kind in ("run", "checkpoint of a run", "published weights", "checkpoint of another tool"):
        own_data = found.kind in ("run", "checkpoint of a run")
        lines.append(f"unbraid evaluate {run}" + ("" if own_data else " data=musdb data.root=…"))
        lines += [] if {*found.layers} == ENSEMBLE else [f"unbraid export {run}", train]
    return lines
