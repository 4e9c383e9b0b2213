"""Combine the config of a trained run with the command line of `evaluate`.

The command line may replace the data and the protocol of the run.
"""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from unbraid.commands.experiment import take_data
from unbraid.runs.config import own_config
from unbraid.runs.errors import InputError, unknown

# Keys and groups that can be overridden together with run=. The others are read from the run's config.
WITH_RUN = (
    "sweep",
    "run",
    "checkpoint",
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
        config: config of the command. Its key `run` names the folder of the trained run.
        typed: keys of the command line.

    Returns:
        The given config of the command, changed in place; unchanged if the key `run` is null.

    Raises:
        InputError: the run contains no separator, a key in the run's config is missing or unknown, or the command line contains
            a key that only the run may set.
    """
    if config.run is None:
        return config
    for key in typed:
        if key.split(".")[0].split("/")[0] not in WITH_RUN and key not in SOUND:
            hint = f"Remove this key or run={config.run}"
            raise InputError(key, "this key is read from the run and cannot be overridden", hint=hint)
    own = own_config(Path(config.run))
    if own.get("features") is not None:
        problem = "the run contains no separator, and this command only scores separators"
        hint = "Training has already written the scores of this run to scores.json in its folder"
        raise InputError(f"run={config.run}", problem, hint=hint)
    for key in ("data", *(str(k) for k in own if k not in WITH_RUN)):
        _check_key(config, own, key)
        if key == "data":
            config.data = config.data if "data" in typed else take_data(config.data, own.data, typed)
        else:
            typed_below = {word: OmegaConf.select(config, word) for word in typed if word.startswith(f"{key}.")}
            config[key] = own[key]
            for word, value in typed_below.items():
                OmegaConf.update(config, word, value, force_add=True)  # check_experiment reports unknown keys
    if any(word.split(".")[0] == "phase" for word in typed):
        if OmegaConf.select(config, "model.separator.phase") is None:
            problem = f"the model of run={config.run} does not use this config group"
            raise InputError("phase", problem, hint="Remove the override of phase")
        config.model.separator.phase = config.phase
    else:
        config.phase = own.get("phase")
    return config


def _check_key(config: DictConfig, own: DictConfig, key: str) -> None:
    """Check that a key exists in the config of a run (`own`) and in the config of the command. Otherwise raise InputError."""
    file = f"{config.run}/config.yaml"
    if key not in own:
        raise InputError(
            file, f"the key {key} is missing, so the file is not the config of a complete run", hint="Choose another run"
        )
    if key not in config:
        raise InputError(file, "the config contains an unknown key", found=key, hint=unknown(key, map(str, config)))
