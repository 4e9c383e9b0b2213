"""Check the composed config of an experiment. Every command that composes an experiment uses these checks."""

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from unbraid.data.roots import places_in, unknown_places
from unbraid.models.instruments import is_instrument
from unbraid.runs.config import check
from unbraid.runs.errors import InputError, check_seed
from unbraid.runs.files import check_name

LONGEST_CHUNK_SECONDS = 600
LONGEST_TAG = 64  # characters; the limit of W&B
# Keys that copy their value from another key, with the keys that they can copy it from.
LINKS = {
    "data.targets": ("targets",),
    "model.separator.targets": ("targets",),
    "data.sample_rate": ("features.sample_rate", "model.separator.sample_rate"),
    "data.channels": ("features.channels", "model.separator.channels"),
    "features.size": ("data.size",),
}
# Config groups, with the key of the model or data set that uses the choice. A choice that nothing uses is an error.
USED = {
    "features": "model.features",
    "pitch": "features.pitch",
    "corruption": "model.corruption",
    "phase": "model.separator.phase",
    "targets": "data.targets",
    "augmentation": "data.augmentation",
    "offline_augmentation": "data.offline_augmentation",
    "optim": "model.optimizer",
    "protocol": "model.separator",
    "published": "model.separator",
}


@dataclass
class Experiment:
    """Top level of an experiment's config; `unbraid.runs.config.check` binds the config to it.

    Args:
        seed: random seed of weights, data order and dropout.
        name: last part of the run folder's name.
        data: DataModule.
        model: task with its loss, and its separator or its features and autoencoder.
        trainer: Lightning Trainer.
        callbacks: callbacks of the Trainer, by name.
        logger: loggers in addition to `metrics.csv`, by name; None instead of a logger leaves it out.
        evaluation: evaluation of the best weights after training.
        train: train the model; False: only test the weights of `ckpt_path` or `init`.
        test: score the best weights after training.
        ckpt_path: checkpoint of another run from which training continues, or whose weights are tested.
        tags: words that are recorded with the run.
        notes: text that is recorded with the run.
        init: published weights that training starts from, or a folder of such weights; None: random weights.
        features: features that an autoencoder reconstructs, or the controls that an instrument plays.
        pitch: pitch tracker of the features.
        corruption: corruption of an autoencoder's input.
        phase: method that computes waveforms from masked spectra.
        targets: targets of the separation, as a list of source names for each target. A target is the sum of its sources.
        augmentation: augmentations of training chunks, by name.
        offline_augmentation: augmentations that add training tracks with another pitch or tempo, by name.
        optim: optimizer and scheduler, which the model refers to.
        protocol: protocol that scores the test tracks after training.
        published: published scores that the scores are compared with.
        resume: `auto`: resume an interrupted run of the same experiment; `never`: start a new run.
        plan: only print the cost of the runs, without starting them.
        power: difference between variants in dB; the plan prints how many seeds and test songs detect it.
        power_from: sweep folder whose scores give the standard deviations for `power`; None: those of the demo songs.
        launcher: launcher that starts the runs of a sweep.
        search: callback that reports the objective to the study of a search; `sweeper=optuna` adds it.
    """

    seed: int
    name: str
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    trainer: Mapping[str, Any]
    callbacks: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    train: bool = True
    test: bool = True
    ckpt_path: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    init: str | None = None
    features: Mapping[str, Any] | None = None
    pitch: Mapping[str, Any] | None = None
    corruption: Mapping[str, Any] | None = None
    phase: Mapping[str, Any] | None = None
    targets: dict[str, list[str]] | None = None
    augmentation: Mapping[str, Any] | None = None
    offline_augmentation: Mapping[str, Any] | None = None
    optim: Mapping[str, Any] | None = None
    protocol: Mapping[str, Any] | None = None
    published: Mapping[str, Any] | None = None
    resume: Literal["auto", "never"] = "auto"
    plan: bool = False
    power: float | None = None
    power_from: str | None = None
    launcher: Mapping[str, Any] | None = None
    search: Mapping[str, Any] | None = None
    logger: Mapping[str, Any] | None = None


def check_experiment(config: DictConfig, schema: type[Experiment] = Experiment) -> None:
    """Check an experiment: every key binds to its signature, and model, features and data agree.

    Args:
        config: composed config.
        schema: dataclass of the top level; commands with more keys pass a subclass.

    Raises:
        InputError: a key or value does not fit, see `unbraid.runs.config.check`; the model cannot use the data; nothing uses a
            chosen config group; or a key that copies its value from another key has a different value.
    """
    _check_data(config)
    check(config, schema)
    if config.get("init") is not None and "separator" not in config.model:
        problem = "there are no published weights of autoencoders and instruments"
        raise InputError("init", problem, found=config.init, hint="Set init=null")
    for target in OmegaConf.select(config, "model.separator.targets") or ():
        check_name("targets", target)  # files are named after it
    for choice, user in USED.items():
        if config.get(choice) is not None and OmegaConf.select(config, user) is None:
            raise InputError(choice, "the chosen model and data do not use it", hint=f"Set {choice}=null")
    if config.get("features") is None and "features" in config.model:
        raise InputError("features", "the model needs features", hint="Choose features=spectra or features=pixels")
    _check_links(config)
    for key in ("model.separator.chunk_seconds", "features.chunk_seconds", "data.chunk_seconds"):
        seconds = OmegaConf.select(config, key)
        if seconds is not None and not 0 < seconds <= LONGEST_CHUNK_SECONDS:
            raise InputError(key, found=seconds, expected=f"a duration in (0, {LONGEST_CHUNK_SECONDS}] s")
    check_seed(config.seed)
    _check_power(config)
    _check_stages(config)
    for tag in config.get("tags", ()):
        if not 1 <= len(tag) <= LONGEST_TAG:
            raise InputError("tags", found=repr(tag), expected=f"1 to {LONGEST_TAG} characters")


def _check_data(config: DictConfig) -> None:
    if "targets" in config.get("data", {}):
        return
    if "separator" in config.get("model", {}):
        hint = "Choose other data, or an autoencoder such as model=ae, with corruption=gaussian for a denoising one"
        raise InputError("data", "contains no mixtures, which the separator of the model needs", hint=hint)
    if is_instrument(config):
        hint = "Choose other data, such as data=demo_leads"
        raise InputError("data", "contains no sound, which the instrument of the model needs", hint=hint)


def _check_links(config: DictConfig) -> None:
    for link, sources in LINKS.items():
        value = OmegaConf.select(config, link)
        source, expected = next(((s, e) for s in sources if (e := OmegaConf.select(config, s)) is not None), ("", value))
        if value is not None and value != expected:
            raise InputError(link, found=value, expected=f"the value of {source}, {expected}", hint=f"Set {source} instead")


def _check_stages(config: DictConfig) -> None:
    """Check that the run trains or tests, and that its weights have one origin."""
    ckpt_path, init = config.get("ckpt_path"), config.get("init")
    if ckpt_path is not None and init is not None:
        raise InputError("ckpt_path, init", found="both", expected="one of the two keys")
    if config.get("train", True):
        return
    if not config.get("test", True):
        raise InputError("train, test", "there is nothing to do", found="false for both", expected="one of them true")
    if ckpt_path is None and init is None:
        raise InputError("train=false", "tests a checkpoint", hint="Type ckpt_path=RUN/checkpoints/best.ckpt or init=NAME")


def _check_power(config: DictConfig) -> None:
    for key in ("power", "power_from"):
        if config.get(key) is not None and not config.plan:
            raise InputError(key, "only applies to the dry run", found=config[key], hint="Add plan=true")
    if config.get("power_from") is not None and config.power is None:
        raise InputError("power_from", "needs power, a difference in dB", found=config.power_from, hint="Add power=0.5")
    if config.get("power") is not None:
        if config.power <= 0:
            raise InputError("power", found=config.power, expected="a difference in dB above 0")
        if "separator" not in config.model:
            raise InputError("power", "reports compare separators only", found=config.power, hint="Remove power")


def take_data(data: DictConfig, own: DictConfig, typed: Collection[str]) -> DictConfig:
    """Return the data config of a run, with the overrides of the command line.

    The run may come from someone else. Therefore `cache_dir` and `download` are never those of the run, so that a run cannot
    choose a folder that is written to.

    Args:
        data: data config of the command, with its overrides.
        own: data config in the run's `config.yaml`.
        typed: keys that were given on the command line, such as `data.root`.

    Returns:
        A copy of the run's data config.

    Raises:
        InputError: the run's data is not a mapping, or only the run names a folder of the data set and this user has never
            read data from it.
    """
    if not OmegaConf.is_dict(own):
        raise InputError("data", "invalid data of a run", found=own, expected="a mapping")
    merged = own.copy()
    OmegaConf.set_struct(merged, False)
    for key in ("cache_dir", "download"):
        if key in merged:
            merged[key] = data[key] if key == "cache_dir" or f"data.{key}" in typed else False
    for key in (key for key in typed if key.startswith("data.")):
        OmegaConf.update(merged, key.removeprefix("data."), OmegaConf.select(data, key.removeprefix("data.")), force_add=True)
    layout: Any = OmegaConf.to_container(merged.layout) if OmegaConf.is_config(merged.get("layout")) else {}
    named = {"root": merged.get("root")} | {f"layout.{key}": value for key, value in layout.items() if key != "_target_"}
    for key, value in named.items():
        places = [value] if key == "root" and value is not None else places_in(value)
        if not any(f"{word}.".startswith(f"data.{key}.") for word in typed) and (places := unknown_places(map(str, places))):
            hint = f"If you trust it, type {shlex.quote(f'data.{key}={places[0]}')}"
            problem = "only the run names this path, and you have not used it before"
            raise InputError(f"data.{key}", problem, found=places[0], hint=hint)
    return merged


def named(hydra: Any, key: str) -> str | None:
    """Return the command line's override of a key of Hydra.

    Args:
        hydra: the `hydra` node of a composed config.
        key: key below it, such as `hydra.run.dir`.

    Returns:
        The override `key=value` without resolved interpolations, or None if the command line has none.
    """
    words: Any = OmegaConf.to_container(hydra.overrides.hydra, resolve=False)
    return next((word for word in words if word.lstrip("+").startswith(f"{key}=")), None)


def choices_of(hydra: Any) -> dict[str, str]:
    """Return the names of the chosen model and data set, from the `hydra` node of a composed config."""
    return {key: hydra.runtime.choices[key] for key in ("model", "data")}
