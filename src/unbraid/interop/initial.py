"""Start a training from existing weights: `init=PATH` of `train.py`, with the options `init.weights`, `init.only` and others.

A tensor is loaded if the model has a tensor of the same name and shape. Targets are matched by name: the part of a network that
estimates the vocals gets the weights that estimated the vocals, for any order and number of targets.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from unbraid.interop.origins import Origin, find_origin, sha256_of
from unbraid.interop.published import HDEMUCS, PUBLISHED, load_published
from unbraid.interop.target_match import matched
from unbraid.models.separators.base import Separator
from unbraid.runs.averages import is_average
from unbraid.runs.config import check
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.files import refuse_missing
from unbraid.runs.names import below
from unbraid.runs.weights import check_finite, misfits, refuse_misfits

NOT_OURS = "the weights do not fit the model"
PARTIAL = "Type init.partial=true to load only the tensors that fit, or init.skip=[PREFIX] to exclude tensors by their names"


@dataclass(frozen=True)
class Init:
    """Options of the initial weights of a training.

    Args:
        path: run folder, checkpoint file, published folder, safetensors file, checkpoint of another tool, or name of published
            weights; None: random weights.
        config: config file of Music-Source-Separation-Training, if `path` is a checkpoint of that tool.
        weights: weights that are read if `path` is a run folder: `best`, `last`, `ema` (the average of the weights with the
            best validation) or the name of an average, such as `ema_0.999_step`.
        only: prefixes, such as `nets.0.encoder`. Only tensors whose names begin with one of these prefixes are loaded;
            empty: all tensors.
        skip: prefixes. Tensors whose names begin with one of these prefixes are not loaded.
        partial: True: tensors that do not fit keep their random values. False: such tensors raise InputError.
        sha256: required SHA-256 hash of the weights file. None: the hash is not checked, but is written to the config.
    """

    path: str | None = None
    config: str | None = None
    weights: str = "best"
    only: list[str] = field(default_factory=list)
    skip: list[str] = field(default_factory=list)
    partial: bool = False
    sha256: str | None = None

    @classmethod
    def of(cls, value: Any) -> "Init":
        """Convert the value of the config key `init` to options.

        Args:
            value: value of the key: a mapping, the path alone, or None.

        Returns:
            The options.

        Raises:
            InputError: a key or value is invalid, or the path is missing although another option is given.
        """
        if value is None or isinstance(value, str):
            return cls(value)
        try:
            check(OmegaConf.create(value), cls, ())
        except InputError as error:
            error.raise_at(f"init.{error.where}")
        tree: Any = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        options = cls(**tree)
        if options.weights not in ("best", "last") and not is_average(options.weights):
            expected = "best, last, ema, or the name of an average such as ema_0.999_step"
            raise InputError("init.weights", found=repr(options.weights), expected=expected)
        if options.path is None and options != cls():
            raise InputError(
                "init.path", "the path of the weights is missing, but another key of init is given", hint="Add init.path=PATH"
            )
        return options

    @property
    def place(self) -> Path:
        """Path of the weights. `~` is replaced by the home folder."""
        return Path(str(self.path)).expanduser()

    @property
    def is_published(self) -> bool:
        """True if `path` is the name of published weights, or a folder that contains a file `<target>.pth` for each target."""
        if self.path in (*PUBLISHED, HDEMUCS):
            return True
        folder = self.place
        return folder.is_dir() and not (folder / "config.yaml").is_file() and any(folder.glob("*.pth"))

    def files(self) -> list[Path]:
        """Return the files with the weights; an empty list for published weights that are downloaded.

        Returns:
            The files. A path without weights raises InputError.
        """
        if self.path in (*PUBLISHED, HDEMUCS):
            return []
        return sorted(self.place.glob("*.pth")) if self.is_published else [self.origin().file]

    def origin(self) -> Origin:
        """Find the file with the weights, and read the config of the model. A path without weights raises InputError."""
        path = self.place
        if not path.exists():
            hint = unknown(str(self.path), [*PUBLISHED, HDEMUCS])
            refuse_missing(f"init={self.path}", path, "a path, or the name of published weights", hint)
        return find_origin(path, self.weights, self.config)


@dataclass(frozen=True)
class Started:
    """Describe the initial weights of a training. The description is stored in `run.json`.

    Args:
        name: last part of the path of the weights, or name of published weights.
        kind: kind of the origin, see `Origin`, or `published`.
        sha256: SHA-256 hash of the weights file; None for weights that were downloaded.
        loaded: number of tensors that were loaded.
        random: names of the tensors that were not loaded and kept their random values.
    """

    name: str
    kind: str
    sha256: str | None
    loaded: int
    random: list[str]


def with_hash(config: DictConfig) -> None:
    """Write the hash of the initial weights to the key `init.sha256` of a config.

    The identity of the run is computed from the config, so the identity then depends on the weights.

    Args:
        config: config of a run, changed in place.

    Raises:
        InputError: the path `init.path` contains no weights, or `init.sha256` is not the hash of the weights.
    """
    options = Init.of(config.get("init"))
    if options.path is None or not (files := options.files()):
        return
    found = sha256_of(*files)
    if options.sha256 not in (None, found):
        hint = "The file has changed. Remove init.sha256 to use the changed file"
        raise InputError(
            f"init={options.path}",
            "the hash of the weights differs from init.sha256",
            found=found,
            expected=str(options.sha256),
            hint=hint,
        )
    OmegaConf.update(config, "init", vars(options) | {"sha256": found}, merge=False)


def initialise(module: nn.Module, options: Init, make: Callable[[Sequence[str]], nn.Module]) -> Started:
    """Load initial weights into a model.

    Args:
        module: separator, or another model as a task (LightningModule).
        options: options of the initial weights. `options.path` must not be None.
        make: function that takes target names, and builds a separator like `module` with these targets. The function is called
            only if `module` and the weights have different targets.

    Returns:
        A description of the loaded weights.

    Raises:
        InputError: the weights cannot be read, contain NaN, do not fit the model or have another sample rate, or a prefix in
            `options` fits no tensor.
    """
    where = f"init={options.path}"
    own = module.state_dict()
    given, kind, targets = _given(module, options, where)
    new: set[str] = set()
    if isinstance(module, Separator) and targets is not None and targets != module.targets:
        given, new = matched(given, module, targets, make)
        absent = [target for target in module.targets if target not in targets]
        if absent and not options.partial:
            hint = "Type init.partial=true to start these targets from random weights"
            problem = f"the weights lack targets of the model: {', '.join(absent)}"
            raise InputError(where, problem, found=f"weights of the targets {', '.join(targets)}", hint=hint)
    wanted = _chosen({*own, *given}, options)
    wrong = misfits({k: v for k, v in given.items() if k in wanted}, {k: v for k, v in own.items() if k in wanted})
    wrong = {name: pair for name, pair in wrong.items() if name not in new or pair[0] != "missing"}
    loaded = {name: tensor for name, tensor in given.items() if name in wanted and name in own and name not in wrong}
    if not wrong and not loaded:
        raise InputError(where, "init.only and init.skip exclude all tensors", hint="Remove one of the two keys")
    if (wrong and not options.partial) or not loaded:
        refuse_misfits(where, NOT_OURS, wrong, "" if options.partial else PARTIAL)
    check_finite(where, loaded)
    module.load_state_dict(loaded, strict=False)
    random = sorted({*own} - {*loaded} | {name for name in new if name in own})
    digest = sha256_of(*files) if (files := options.files()) else None
    return Started(Path(str(options.path)).name, kind, digest, len(loaded), random)


def _given(module: nn.Module, options: Init, where: str) -> tuple[dict[str, Tensor], str, list[str] | None]:
    """Read the initial weights. Return a dictionary from name to tensor, the kind of the origin, and the targets (or None)."""
    if options.is_published:
        if not isinstance(module, Separator):
            problem = "this model is not a separator and cannot use published weights"
            raise InputError("init", problem, found=options.path, hint="Set init=null")
        filled = deepcopy(module)
        load_published(filled, str(options.path))
        return filled.state_dict(), "published", None
    origin = options.origin()
    is_separator = isinstance(module, Separator)
    tensors = origin.tensors("separator" if is_separator else "")
    if is_separator and origin.sample_rate not in (None, module.sample_rate):
        hint = f"Set model.separator.sample_rate={origin.sample_rate}"
        problem, rate = "separator and weights have different sample rates", f"{module.sample_rate} Hz"
        raise InputError(where, problem, found=rate, expected=f"{origin.sample_rate} Hz", hint=hint)
    targets = origin.targets if is_separator else None
    if targets is None or targets == getattr(module, "targets", None):
        tensors = origin.with_spare(module, tensors)
    return tensors, ", ".join(filter(None, [origin.kind, origin.average])), targets


def _chosen(names: Iterable[str], options: Init) -> set[str]:
    """Return the names that the options `only` and `skip` select. A prefix that fits no name raises InputError."""
    names = {*names}
    only = below(names, options.only, "init.only") if options.only else names
    return only - below(names, options.skip, "init.skip")
