"""Find weights on this machine: in run folders, checkpoints, published folders, and checkpoints of other tools.

`unbraid.load`, the commands, and the key `init` of a training call the function `find_origin`.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from unbraid.interop.msst.checkpoint import ForeignState, family_of, read_foreign, separator_tensors, with_spare
from unbraid.interop.msst.config import MsstConfig, read_msst_config
from unbraid.interop.msst.fit import fitting_family, refuse_options
from unbraid.interop.msst.pair import SUFFIXES, msst_pair
from unbraid.interop.published import SAFETENSORS, read_weights, safetensors
from unbraid.models.separators.base import Separator
from unbraid.runs import plugins
from unbraid.runs.averages import average_in, is_average, mode_of
from unbraid.runs.config import node_at, own_config, plain_config, read_config
from unbraid.runs.documents import open_regular, parse_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import refuse_missing
from unbraid.runs.records import read_record
from unbraid.runs.text import echo
from unbraid.runs.weights import checkpoint_path, fill, limited_size, memory_of, misfits, tensors_of

PUBLISHED_WEIGHTS = f"model{SAFETENSORS}"
CONFIG_KEY = "unbraid_config"  # key in the metadata of a safetensors file
MOST_HEADER = 16 << 20  # bytes of the header of a safetensors file

Kind = Literal["run", "checkpoint", "safetensors", "msst"]
KINDS: dict[Kind, str] = {
    "run": "run", "checkpoint": "checkpoint of a run", "safetensors": "published weights", "msst": "checkpoint of another tool",
}  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """Describe a file with weights, and store the config of the model.

    Args:
        kind: `run`: run folder; `checkpoint`: checkpoint file of a run; `safetensors`: file or folder that
            `scripts/publish.py` has written; `msst`: checkpoint of another tool with its config file.
        file: file with the weights.
        folder: folder of the run, or of the file.
        config: config of the model in unbraid; None if the file is a checkpoint without a config.
        settings: config file of another tool; None for all other kinds.
        foreign: tensors of a checkpoint of another tool; None for all other kinds.
        average: name of an average of the weights (EMA) in the file, such as `ema_0.999_step`, or `ema` for the best average;
            None: the trained weights.
    """

    kind: Kind
    file: Path
    folder: Path
    config: DictConfig | None
    settings: MsstConfig | None = None
    foreign: ForeignState | None = None
    average: str | None = None

    def tensors(self, part: str = "") -> dict[str, Tensor]:
        """Read the tensors of the file.

        Args:
            part: name of the module in the task (LightningModule) of a run, such as `separator`; empty for the whole task.

        Returns:
            A dictionary from name in the module to tensor.

        Raises:
            InputError: the file is damaged, or is a checkpoint of another tool without its config file.
        """
        if self.foreign is not None:
            return separator_tensors(self.foreign)
        if self.kind == "safetensors":
            return dict(read_weights(self.file))
        pick = None if self.average is None else partial(self._averaged, self.average)
        try:
            state = tensors_of(self.file, pick=pick)
        except InputError:
            if self.kind == "checkpoint" and self.config is None:
                with_config(self)  # raises a better error if another tool has written the file
            raise
        if not part:
            return state
        return {name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(f"{part}.")}

    def _averaged(self, name: str, content: Any) -> Mapping[str, Any]:
        """Return an average of the weights. Averages are compared by the value that selects `best.ckpt` in the run."""
        monitor, mode = (
            None if self.config is None else node_at(self.config, f"callbacks.best.{key}") for key in ("monitor", "mode")
        )
        monitor = str(monitor or "valid/loss")
        return average_in(content, name, self.file, monitor, mode_of(monitor, mode, "callbacks.best.mode"))

    def with_spare(self, module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Complete the tensors of a checkpoint of another tool, see `msst.checkpoint.with_spare`."""
        return dict(tensors) if self.foreign is None else with_spare(self.foreign, tensors, module)

    @property
    def inference(self) -> dict[str, Any]:
        """Options of `InferenceOptions` that the config of another tool sets; empty for other kinds."""
        return {} if self.settings is None else {"overlap": self.settings.overlap, "join": self.settings.join}

    @property
    def targets(self) -> list[str] | None:
        """Names of the targets in the order of the model's outputs; None if there is no separator or no config."""
        value = None if self.config is None else node_at(self.config, "model.separator.targets")
        return None if value is None else [str(name) for name in value]

    @property
    def sample_rate(self) -> int | None:
        """Sample rate of the separator in Hz; None if there is no separator or no config."""
        value = None if self.config is None else node_at(self.config, "model.separator.sample_rate")
        return value if isinstance(value, int) else None


def find_origin(path: Path, checkpoint: str = "best", config: str | None = None) -> Origin:
    """Find the file with the weights, and read the config of the model.

    Args:
        path: run folder, folder or safetensors file of `scripts/publish.py`, checkpoint file of a run, checkpoint of another
            tool, or its config file, if the checkpoint is next to it and has the same name.
        checkpoint: `best`, `last`, `ema` (the best moving average of the weights in `last`), the name of such an average, or a
            checkpoint file. `path` must then be a run folder; with an average, it can also be a checkpoint file of a run.
        config: config file of Music-Source-Separation-Training, if `path` is a checkpoint of another tool.

    Returns:
        The origin of the weights.

    Raises:
        InputError: the path does not exist or is not a model, or averages of the weights are wanted of a file without averages.
    """
    origin = _origin(path, checkpoint, config)
    if not is_average(checkpoint):
        return origin
    if origin.kind not in ("run", "checkpoint"):
        raise InputError(path, "only checkpoints of runs contain averages of the weights (EMA)", found=KINDS[origin.kind])
    return replace(origin, average=checkpoint)


def _origin(path: Path, checkpoint: str, config: str | None) -> Origin:
    """Find the file with the weights, see `find_origin`. For an average of the weights, the file is `last.ckpt`."""
    checkpoint_file, config = msst_pair(str(path), config)
    if config is not None:
        return _msst(Path(checkpoint_file), Path(config).expanduser())
    if path.is_file() and path.suffix == SAFETENSORS:
        return Origin("safetensors", path, path.absolute().parent, _stored_config(path))
    if path.is_file() and path.suffix in SUFFIXES:
        folder = path.absolute().parent.parent
        if (folder / "config.yaml").is_file():
            return Origin("checkpoint", path, folder, own_config(folder))
        return Origin("checkpoint", path, path.absolute().parent, None)
    own = own_config(path)
    if (weights := path / PUBLISHED_WEIGHTS).is_file():
        return Origin("safetensors", weights, path, own)
    return Origin("run", checkpoint_path(path, "last" if is_average(checkpoint) else checkpoint), path, own)


def with_config(origin: Origin) -> DictConfig:
    """Return the config of the model.

    Args:
        origin: origin of the weights.

    Returns:
        The config.

    Raises:
        InputError: the file is a safetensors file without a config, or a checkpoint of another tool without its
            config file.
    """
    if origin.config is not None:
        return origin.config
    if origin.kind == "safetensors":
        problem = "the file contains no config, and its folder contains no config.yaml"
        raise InputError(origin.file, problem, expected="a file that scripts/publish.py has written")
    family = family_of(read_foreign(origin.file))
    kinds = " or ".join(family.model_types)
    hint = f"Type config=FILE (in a training init.config=FILE) with the yaml file of the model ({kinds})"
    raise InputError(origin.file, "this is a checkpoint of another tool, which needs a config file", hint=hint)


def separator_of(origin: Origin, make: Callable[[], Separator]) -> Separator:
    """Build the separator of an origin, and load the weights.

    Args:
        origin: origin of the weights.
        make: function that builds the separator without weights.

    Returns:
        The separator. Weights that do not fit, or a model that is much larger than the file, raise InputError.
    """
    if origin.kind in ("run", "checkpoint") and origin.config is not None:
        record = read_record(origin.folder) or {}
        tree: Any = OmegaConf.to_container(origin.config, resolve=True)
        for change in plugins.changes(record.get("plugins"), plugins.used(tree)):
            echo(change, file=sys.stderr)
    tensors = origin.tensors("separator")
    foreign, settings = origin.foreign, origin.settings
    naming = nullcontext() if foreign is None or settings is None else settings.named_options(family_of(foreign))
    with naming, limited_size(origin.file, memory_of(tensors), len(tensors)):
        separator = make()
    tensors = origin.with_spare(separator, tensors)
    if foreign is not None and settings is not None and (wrong := misfits(tensors, separator.state_dict())):
        refuse_options(foreign, settings, wrong)
    fill(separator, tensors, origin.file)
    return separator


def _msst(path: Path, config: Path) -> Origin:
    if not path.is_file():
        expected = "a checkpoint of another tool, because config is given"
        if not path.exists():
            refuse_missing(path, path, expected)
        raise InputError(path, "this path is not a file", expected=expected)
    settings = read_msst_config(config)
    state = read_foreign(path)
    tree = OmegaConf.create({"model": {"separator": settings.separator(fitting_family(state, settings))}})
    return Origin("msst", path, path.absolute().parent, tree, settings, state)


def _stored_config(path: Path) -> DictConfig | None:
    """Return the config in the metadata of a safetensors file, or in `config.yaml` in its folder; None if both are missing."""
    if text := metadata_of(path).get(CONFIG_KEY):
        return plain_config(parse_json(text.encode(), f"{path}, {CONFIG_KEY}"), path)
    sibling = path.absolute().parent / "config.yaml"
    return read_config(sibling) if sibling.is_file() else None


def metadata_of(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file.

    Args:
        path: path of the file.

    Returns:
        A dictionary from key to text.

    Raises:
        InputError: the header of the file is damaged.
    """
    with open_regular(path) as file:
        size = int.from_bytes(file.read(8), "little")
        if size > MOST_HEADER:
            raise InputError(
                path, "the safetensors file is damaged: its header is too large", expected=f"at most {MOST_HEADER} bytes"
            )
        header = parse_json(file.read(size), f"{path}, header")
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError(
            path, "the safetensors file is damaged: its header contains invalid metadata", expected="a dictionary of texts"
        )
    safetensors()
    return metadata


def sha256_of(*files: Path) -> str:
    """Return the SHA-256 hash of a file.

    For several files, the hashes of the files are joined in the given order, and the hash of the joined text is returned.
    """
    digests = []
    for file in files:
        with file.open("rb") as opened:
            digests.append(hashlib.file_digest(opened, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def config_text(config: Any) -> str:
    """Convert a config to the JSON text that `scripts/publish.py` stores in the metadata of a safetensors file."""
    return json.dumps(OmegaConf.to_container(config) if OmegaConf.is_config(config) else config)
