"""What a composed config holds, and what must agree in it: the same for every command that starts from one."""

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from unbraid.data.roots import places_in, unknown_places
from unbraid.models.instruments import is_instrument
from unbraid.runs.config import check
from unbraid.runs.errors import InputError, check_seed
from unbraid.runs.files import check_name

LONGEST_CHUNK_SECONDS = 600
LINKS = {
    "data.targets": ("targets",),
    "model.separator.targets": ("targets",),
    "data.sample_rate": ("features.sample_rate", "model.separator.sample_rate"),
    "data.channels": ("features.channels", "model.separator.channels"),
    "features.size": ("data.size",),
}
# Where each choice is made use of: one that no model or data set refers to would be ignored.
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
    """The top level of a config, which `unbraid.runs.config.check` binds like any signature.

    Args:
        seed: of weights, data order and dropout.
        name: ends the run folder's name.
        data: a DataModule.
        model: a task with its separator, or with features and autoencoder, and loss.
        trainer: a Lightning Trainer.
        callbacks: of the Trainer, by name.
        logger: who is told how a run goes beside `metrics.csv`, by name; None leaves one out.
        evaluation: how the best weights are tested.
        init: published weights to start from, or a folder with some.
        features: what an autoencoder rebuilds, or what an instrument is played by.
        pitch: how it is found, for those features.
        corruption: of its input.
        phase: how masked spectra come to sound.
        targets: what to take out of a mixture: each name and the sources it sums.
        augmentation: what changes training chunks, by name.
        offline_augmentation: of training tracks at other pitches and tempos, by name.
        optim: optimizer and schedule, which the model refers to.
        protocol: under which the test tracks are scored after training.
        published: figures that the scores are compared with.
        resume: `auto`: the same experiment that was cut off goes on; `never`: it starts anew.
        plan: only say what the runs of a sweep would take.
        power: difference between arms in dB; the plan prints the seeds and test songs that detect it.
        power_from: folder of a sweep whose scores give the standard deviations for it; None: those of the demo songs.
        launcher: where the runs of a sweep run.
        search: the callback that tells a study how the run goes; `sweeper=optuna` adds it.
    """

    seed: int
    name: str
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    trainer: Mapping[str, Any]
    callbacks: Mapping[str, Any]
    evaluation: Mapping[str, Any]
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
    """Bind every key, and see that data and separator agree.

    Raises:
        InputError: see `unbraid.runs.config.check`; or one end of a link between data and separator was overridden, so that the
            run would train on something else.
    """
    if "separator" in config.get("model", {}) and "targets" not in config.get("data", {}):
        raise InputError(
            "data: has no mixtures for the model to take apart; choose other data, or an autoencoder such as model=ae, "
            "with corruption=gaussian to make it a denoising one"
        )
    if is_instrument(config) and "targets" not in config.get("data", {}):
        raise InputError("data: has no sound that an instrument could learn from; choose other data, such as data=demo_leads")
    check(config, schema)
    if config.get("init") is not None and "separator" not in config.model:
        raise InputError(f"init={config.init}: there are no published weights of autoencoders and instruments; set init=null")
    for target in OmegaConf.select(config, "model.separator.targets") or ():
        check_name("targets", target)  # files are called by it
    for choice, place in USED.items():
        if config.get(choice) is not None and OmegaConf.select(config, place) is None:
            raise InputError(f"{choice}: the model and the data that are chosen make no use of it; set {choice}=null")
    if config.get("features") is None and "features" in config.model:
        raise InputError("features: the model rebuilds some and none are given; choose features=spectra or features=pixels")
    for link, sources in LINKS.items():
        found = OmegaConf.select(config, link)
        source, expected = next(((s, e) for s in sources if (e := OmegaConf.select(config, s)) is not None), ("", found))
        if found is not None and found != expected:
            raise InputError(f"{link}: found {found}, expected what {source} says, {expected}; set that one instead")
    for key in ("model.separator.chunk_seconds", "features.chunk_seconds", "data.chunk_seconds"):
        seconds = OmegaConf.select(config, key)
        if seconds is not None and not 0 < seconds <= LONGEST_CHUNK_SECONDS:
            raise InputError(f"{key} must lie in (0, {LONGEST_CHUNK_SECONDS}], found {seconds}")
    check_seed(config.seed)
    _check_power(config)


def _check_power(config: DictConfig) -> None:
    for key in ("power", "power_from"):
        if config.get(key) is not None and not config.plan:
            raise InputError(key, "is part of the dry run", found=config[key], hint="Add plan=true")
    if config.get("power_from") is not None and config.power is None:
        raise InputError("power_from", "needs power, a difference in dB", found=config.power_from, hint="Add power=0.5")
    if config.get("power") is not None:
        if config.power <= 0:
            raise InputError("power", found=config.power, expected="a difference in dB above 0")
        if "separator" not in config.model:
            raise InputError("power", "reports compare separators only", found=config.power, hint="Remove power")


def take_data(data: DictConfig, own: DictConfig, typed: Collection[str]) -> DictConfig:
    """Return the data of a run for a command, whoever made the run.

    Where is written comes from the user alone: `cache_dir` and `download` are those of the command line or the defaults.

    Args:
        data: data of the command, with what was typed.
        own: data in the config of the run.
        typed: keys of the command line, such as `data.root`.

    Raises:
        InputError: a folder of the data set is named by the run alone, and this user has never read data from it.
    """
    if not OmegaConf.is_dict(own):
        raise InputError("data", "not the data of a run", found=own)
    taken = own.copy()
    OmegaConf.set_struct(taken, False)
    for key in ("cache_dir", "download"):
        if key in taken:
            taken[key] = data[key] if key == "cache_dir" or f"data.{key}" in typed else False
    for key in (key for key in typed if key.startswith("data.")):
        OmegaConf.update(taken, key.removeprefix("data."), OmegaConf.select(data, key.removeprefix("data.")), force_add=True)
    layout: Any = OmegaConf.to_container(taken.layout) if OmegaConf.is_config(taken.get("layout")) else {}
    named = {"root": taken.get("root")} | {f"layout.{key}": value for key, value in layout.items() if key != "_target_"}
    for key, value in named.items():
        places = [value] if key == "root" and value is not None else places_in(value)
        if not any(f"{word}.".startswith(f"data.{key}.") for word in typed) and (places := unknown_places(map(str, places))):
            hint = f"If you trust it, type {shlex.quote(f'data.{key}={places[0]}')}"
            problem = "only the run names it, and you have not used it before"
            raise InputError(f"data.{key}", problem, found=places[0], hint=hint)
    return taken


def named(hydra: Any, key: str) -> str | None:
    """The override that sets a key of Hydra's own, if there is one; as typed, since what it refers to may not be known yet."""
    words: Any = OmegaConf.to_container(hydra.overrides.hydra, resolve=False)
    return next((word for word in words if word.lstrip("+").startswith(f"{key}=")), None)


def choices_of(hydra: Any) -> dict[str, str]:
    """Which model and which data were chosen, by name, as Hydra's own part of a config says."""
    return {key: hydra.runtime.choices[key] for key in ("model", "data")}
