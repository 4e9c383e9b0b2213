"""Combine the config of a trained run with the command line of `evaluate`.

The command line may replace the data and the protocol of the run.
"""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from unbraid.commands.experiment import take_data
from unbraid.interop.origins import find_origin, with_config
from unbraid.runs.config import own_config
from unbraid.runs.errors import InputError, unknown

# Keys and groups that can be overridden together with run=. All other keys are read from the run's config.
WITH_RUN = (
    "sweep",
    "run",
    "checkpoint",
    "config",
    "start",
    "interpolate",
    "estimates",
    "oracle",
    "output",
    "processes",
    "compare_with",
    "protocol",
    "phase",
    "evaluation",
    "data",
    "trainer",
    "plugins",
    "plugins_first",
)
ONLY_TRAINING = ("init", "freeze", "lora")  # keys of a run that do not change its scores
SOUND = (
    "model.separator.mask_options.mask_max",
    "model.separator.mask_options.mask_power",
    "model.separator.mask_options.consistency",
    "model.separator.masks_from",
)


def with_run(config: DictConfig, typed: Sequence[str]) -> DictConfig:
    """Merge the config of a trained run into the config of a command.

    For data, protocol, phase, masks and evaluation, values on the command line replace the values of the run. All other values
    of the model and the training come from the run.

    Args:
        config: config of the command. The key `run` contains the folder of the trained run.
        typed: keys of the command line.

    Returns:
        The object `config`, which is changed in place. If the key `run` is null, nothing is changed.

    Raises:
        InputError: the run contains no separator, a key in the run's config is missing or unknown, or the command line contains
            a key that only the run may set.
    """
    if config.run is None:
        return config
    _check_typed(config, typed)
    if config.config is not None:
        return _with_foreign(config, typed)
    run = Path(config.run)
    own = with_config(find_origin(run)) if run.is_file() else own_config(run)
    if own.get("features") is not None:
        problem = "the run contains no separator, and this command only scores separators"
        hint = "Training has already written the scores of this run to scores.json in its folder"
        raise InputError(f"run={config.run}", problem, hint=hint)
    for key in ("data", *(str(k) for k in own if k not in (*WITH_RUN, *ONLY_TRAINING))):
        _check_key(config, own, key)
        if key == "data":
            config.data = config.data if "data" in typed else take_data(config.data, own.data, typed)
        else:
            typed_below = {word: OmegaConf.select(config, word) for word in typed if word.startswith(f"{key}.")}
            config[key] = own[key]
            for word, value in typed_below.items():
                OmegaConf.update(config, word, value, force_add=True)  # check_experiment reports unknown keys
    _take_phase(config, own, typed)
    return config


def _take_phase(config: DictConfig, own: DictConfig, typed: Sequence[str]) -> None:
    """Set the phase method of the separator: the method on the command line, or else the method of the run."""
    if any(word.split(".")[0] == "phase" for word in typed):
        if OmegaConf.select(config, "model.separator.phase") is None:
            problem = f"the model of run={config.run} does not use this config group"
            raise InputError("phase", problem, hint="Remove the override of phase")
        config.model.separator.phase = config.phase
    else:
        config.phase = own.get("phase")


def _check_key(config: DictConfig, own: DictConfig, key: str) -> None:
    """Check that a key exists in the config of a run (`own`) and in the config of the command. Otherwise raise InputError."""
    file = f"{config.run}/config.yaml"
    if key not in own:
        raise InputError(
            file, f"the key {key} is missing, so the file is not the config of a complete run", hint="Choose another run"
        )
    if key not in config:
        raise InputError(file, "the config contains an unknown key", found=key, hint=unknown(key, map(str, config)))


def _check_typed(config: DictConfig, typed: Sequence[str]) -> None:
    """Check that the command line contains no key whose value must come from the run.

    The key `targets` is allowed if the model comes from another tool.
    """
    allowed = (*WITH_RUN, *(["targets"] if config.config is not None else []))
    for key in typed:
        if key.split(".")[0].split("/")[0] not in allowed and key not in SOUND:
            problem = "this key is read from the run and cannot be overridden"
            raise InputError(key, problem, hint=f"Remove this key or run={config.run}")


def _with_foreign(config: DictConfig, typed: Sequence[str]) -> DictConfig:
    """Replace the model of the command by a model of another tool. The key `config` is the path of that model's config file.

    The key `targets` on the command line defines the targets. Without this key, each target is the source of the data with the
    same name. Exception: if the model has only one target in addition to `other`, then `other` is the rest of the mixture.
    """
    origin = find_origin(Path(config.run), config=config.config)
    assert origin.config is not None
    separator = origin.config.model.separator
    OmegaConf.set_struct(config, False)
    names = [str(name) for name in separator.targets]
    if not any(word.split(".")[0] == "targets" for word in typed):
        config.targets = {name: [name] for name in names}
        if names[1:] == ["other"]:
            config.targets.other = [f"-{names[0]}"]
    config.features = config.phase = config.published = None
    config.model = {
        "_target_": "unbraid.tasks.separation.SeparationTask",
        "separator": {**separator, "targets": "${targets}"},
        "loss": {"_target_": "unbraid.models.losses.WaveformL1"},
        "optimizer": "${optim.optimizer}",
        "scheduler": "${optim.scheduler}",
    }
    if not any(word == "evaluation.inference.overlap" for word in typed):
        config.evaluation.inference.overlap = origin.overlap
    return config
