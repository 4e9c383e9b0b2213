"""Describe a file with weights: kind of model, layers, targets, sample rate, size and hash.

Python code in the file is not executed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor

from unbraid.inference.export.onnx_file import OnnxSeparator
from unbraid.inference.export.onnx_graph import stored_sizes
from unbraid.inference.loading import separator_builder
from unbraid.interop.foreign import OPENUNMIX, openunmix_separator, read_translation, translated_tensors
from unbraid.interop.msst.checkpoint import ForeignState, family_of, read_foreign
from unbraid.interop.msst.pair import is_msst_config
from unbraid.interop.origins import KINDS, Origin, find_origin, separator_of, sha256_of
from unbraid.models.instruments import is_instrument
from unbraid.models.separators.base import Separator
from unbraid.runs.config import node_at
from unbraid.runs.errors import InputError
from unbraid.runs.records import own_choices, read_record

DEEPEST = 5  # number of words in the name of a listed layer
EXPORTED = "separator."  # the names of weights in an ONNX file start with this text
MOST_LAYERS = 40  # number of listed layers
USE_ONNX = "PyTorch would execute code in the file. Use the run folder or an .onnx file instead"


@dataclass(frozen=True)
class Description:
    """Describe a file with weights.

    Args:
        kind: kind of the file, such as `run`.
        model: description of the model, such as `separator unet, trained on demo`; empty if unknown.
        files: files with the weights.
        layers: number of values of each part of the network, by the name of the part, see `layers_of`.
        targets: names of the targets; empty if the model is not a separator, or if the targets are unknown.
        sample_rate: sample rate in Hz; None if unknown.
        channels: number of channels; None if unknown.
        chunk_seconds: length of a chunk in seconds; None if unknown.
        options: options of the separation that the config file of another tool implies, as texts; empty for other kinds.
        note: text that states what is missing to use the file, for example the config; empty if nothing is missing.
        choice: choice of `model=` with which a run was trained; empty if unknown.
        separator: config of the separator that the config file of another tool implies; empty for other kinds.
    """

    kind: str
    model: str
    files: tuple[Path, ...]
    layers: Mapping[str, int] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    sample_rate: int | None = None
    channels: int | None = None
    chunk_seconds: float | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    choice: str = ""
    separator: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Total size of the files in bytes."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def sha256(self) -> str:
        """SHA-256 hash of the file. If there are several files, their hashes are joined, and the result is hashed again."""
        return sha256_of(*self.files)


def describe(path: Path, checkpoint: str = "best", config: str | None = None) -> Description:
    """Describe a file with weights. If the config of the model is known, check that the weights fit the model.

    Args:
        path: run folder, checkpoint, safetensors file, `.onnx` file, folder of the package openunmix, or translation file
            (yaml), see `unbraid.interop.foreign`.
        checkpoint: `best`, `last` or a checkpoint file; used only if `path` is a run folder.
        config: config file of Music-Source-Separation-Training, if `path` is a checkpoint of that tool.

    Returns:
        The description.

    Raises:
        InputError: the file is missing or damaged, contains objects other than tensors, or does not fit the config.
    """
    if path.suffix == ".onnx":
        found = _of_separator("ONNX file", OnnxSeparator(path), (path,), "separator")
        return replace(found, layers=_stored_layers(stored_sizes(path)))
    if (path / OPENUNMIX).is_file():
        files = tuple(sorted(path.glob("*.pth")))
        return _of_separator("folder of the openunmix package", openunmix_separator(path), files, "separator Open-Unmix")
    if config is None and path.suffix in (".yaml", ".yml") and path.is_file() and not is_msst_config(path):
        translation = read_translation(path)
        layers = layers_of(translated_tensors(path, translation))
        return Description("translation file", "separator", (path, path.parent / translation.weights), layers)
    if path.is_file() and path.suffix == ".pt2":
        raise InputError(path, "unbraid does not read .pt2 files", hint=USE_ONNX)
    origin = find_origin(path, checkpoint, config)
    return _without_config(origin) if origin.config is None else _of_origin(origin)


def _of_origin(origin: Origin) -> Description:
    config, choices, kind = origin.config, own_choices(origin.folder), KINDS[origin.kind]
    assert config is not None
    known = f" {choices['model']}, trained on {choices['data']}" if {"model", "data"} <= {*choices} else ""
    if node_at(config, "model.separator") is not None:
        separator = separator_of(origin, separator_builder(config, origin.folder))
        network = family_of(origin.foreign).network.__name__ if origin.foreign is not None else ""
        found = _of_separator(kind, separator, (origin.file,), f"separator{known or f' {network}'.rstrip()}{_state(origin)}")
        if origin.settings is None:
            return replace(found, choice=choices.get("model", ""))
        built: Any = OmegaConf.to_container(config.model.separator)
        return replace(found, options=origin.settings.options, separator=built)
    model = "instrument" if is_instrument(config) else "autoencoder"
    rate = node_at(config, "features.sample_rate")
    layers = layers_of(origin.tensors())
    rate = rate if isinstance(rate, int) else None
    choice = choices.get("model", "")
    return Description(kind, f"{model}{known}{_state(origin)}", (origin.file,), layers, sample_rate=rate, choice=choice)


def _state(origin: Origin) -> str:
    record = read_record(origin.folder) if origin.kind in ("run", "checkpoint") else None
    return f", state {record['state']}" if record else ""


def _of_separator(kind: str, separator: Separator, files: tuple[Path, ...], model: str) -> Description:
    return Description(
        kind, model, files, layers_of(separator.state_dict()), tuple(separator.targets), separator.sample_rate,
        separator.channels, separator.chunk_samples / separator.sample_rate,
    )  # fmt: skip


def _without_config(origin: Origin) -> Description:
    """Describe a file that contains tensors, but not the config of the model."""
    state = ForeignState(origin.file, origin.tensors(), None, "") if origin.kind == "safetensors" else read_foreign(origin.file)
    layers = layers_of(state.tensors)
    try:
        family = family_of(state)
    except InputError as error:
        return Description("tensors of an unknown network", "", (origin.file,), layers, note=f"{error.problem}. {error.hint}")
    try:
        options = family.guess({name: tuple(tensor.shape) for name, tensor in state.tensors.items()})
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):  # damaged tensors of the family
        options = {}
    shown = ", ".join(f"{key}={value}" for key, value in options.items())
    note = f"the config of the model is missing: add config=FILE with its yaml file ({' or '.join(family.model_types)})"
    return Description(
        KINDS["msst"], f"separator {family.network.__name__} {shown}".rstrip(), (origin.file,), layers, note=note
    )


def layers_of(tensors: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of values in each part of a network.

    Args:
        tensors: tensors by name.

    Returns:
        Dictionary from the name of each part to the number of values in the part. The name of a part is the first word of the
        names of its tensors: the tensor `encoder.0.weight` belongs to the part `encoder`. If all names start with the same
        word, the name of a part has more words, such as `encoder.0`.
    """
    return _layers({name: math.prod(tensor.shape) for name, tensor in tensors.items() if isinstance(tensor, Tensor)})


def _stored_layers(sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the number of values of each part of an exported graph. The exporter has computed the part `constants`."""
    weights = {name.removeprefix(EXPORTED): size for name, size in sizes.items() if name.startswith(EXPORTED)}
    constants = sum(size for name, size in sizes.items() if not name.startswith(EXPORTED))
    return _layers(weights) | ({"constants": constants} if constants else {})


def _layers(sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the number of values in each part of a network, see `layers_of`. The argument is the number of each tensor."""
    layers: dict[str, int] = {}
    for depth in range(1, DEEPEST + 1):
        layers = {}
        for name, size in sizes.items():
            words = name.split(".")
            part = ".".join(words[: min(depth, max(len(words) - 1, 1))])
            layers[part] = layers.get(part, 0) + size
        if len(layers) > 1:
            break
    return layers
