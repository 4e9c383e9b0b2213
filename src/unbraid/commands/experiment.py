"""Check the config of an experiment (data, model, training and evaluation) before a command uses the config."""

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from unbraid.data.roots import places_in, unknown_places
from unbraid.interop.initial import Init
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
    """Keys at the top level of an experiment's config. `unbraid.runs.config.check` rejects configs with other keys.

    Args:
        seed: random seed of the initial weights, the order of the data and the dropout layers.
        name: last part of the run folder's name.
        data: DataModule with the training, validation and test data.
        model: task (LightningModule) with the loss and the network: a separator, an autoencoder or a DDSP synthesizer.
        trainer: Lightning Trainer.
        callbacks: dictionary from name to callback of the Lightning Trainer.
        logger: dictionary from name to logger. A logger with the value None is left out. `metrics.csv` is always written.
        evaluation: settings of the evaluation after training.
        train: True to train the model; False to only test the weights of `ckpt_path` or `init`.
        test: True to score the test data with the best weights after training.
        ckpt_path: checkpoint of another run. Training continues from this checkpoint. If `train` is False, the weights of this
            checkpoint are tested.
        tags: words that are recorded with the run.
        notes: text that is recorded with the run.
        init: weights from which training starts, see `unbraid.interop.initial.Init`; None: random weights.
        freeze: list of prefixes. A parameter is not trained if its name begins with one of these prefixes.
        lora: settings of low-rank adaptation, which trains two small matrices for each layer. None: the layers are trained.
        compile: True to compile the network with `torch.compile`, see `unbraid.training.compilation`.
        tf32: True to compute matrix products of float32 in TF32 on GPUs.
        features: input of an autoencoder (spectrograms or images) or of a DDSP synthesizer (pitch and loudness).
        pitch: pitch tracker that computes the pitch for a DDSP synthesizer.
        corruption: noise or masking of the input of a denoising autoencoder.
        phase: method that computes waveforms from the estimated magnitude spectra, for example with the phase of the mixture.
        targets: for each target (stem) of the separation, a list of source names. A target is the sum of these sources.
        augmentation: dictionary from name to augmentation of the training chunks.
        offline_augmentation: dictionary from name to an augmentation that adds copies of the training tracks.
        optim: optimizer and learning-rate scheduler of the model.
        protocol: protocol that scores the test tracks after training.
        published: scores from a paper. The scores of the run are compared with these scores.
        resume: `auto`: resume an interrupted run of the same experiment; `never`: start a new run.
        plan: True for a dry run, which prints the time and memory that the training would need. `fit` for a dry run that
            chooses the settings with which the training fits into `memory`.
        memory: memory of the training, such as `24GB`; None: the memory of the GPU or, on the CPU, the free RAM.
        power: difference between the scores of two models, in dB. A dry run prints how many seeds and test songs are needed to
            detect this difference.
        power_from: sweep folder whose scores give the standard deviations for `power`; None: scores of the demo songs.
        launcher: launcher that starts the runs of a sweep.
        search: callback that reports the objective of a hyperparameter search to Optuna; `sweeper=optuna` adds this callback.
        plugins: packages of the user whose classes and configs are added, see `unbraid.runs.plugins`.
        plugins_first: True if choices of plugins replace choices of unbraid with the same name.
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
    init: str | dict[str, Any] | None = None
    freeze: list[str] = field(default_factory=list)
    lora: Mapping[str, Any] | None = None
    compile: bool = False
    tf32: bool = False
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
    plan: bool | Literal["fit"] = False
    memory: str | None = None
    power: float | None = None
    power_from: str | None = None
    launcher: Mapping[str, Any] | None = None
    search: Mapping[str, Any] | None = None
    logger: Mapping[str, Any] | None = None
    plugins: list[str] = field(default_factory=list)
    plugins_first: bool = False


def check_experiment(config: DictConfig, schema: type[Experiment] = Experiment) -> None:
    """Check the keys and values of an experiment's config, and check that model, features and data fit together.

    Args:
        config: composed config.
        schema: dataclass whose fields are the keys at the top level of the config. Commands with more keys pass a subclass.

    Raises:
        InputError: a key or value is invalid (see `unbraid.runs.config.check`), the model cannot use the data, a chosen config
            (such as `features=spectra`) is not used, or two keys that must have the same value differ.
    """
    _check_data(config)
    check(config, schema)
    for target in OmegaConf.select(config, "model.separator.targets") or ():
        check_name("targets", target)  # files are named after it
    for choice, user in USED.items():
        if config.get(choice) is not None and OmegaConf.select(config, user) is None:
            raise InputError(choice, "the chosen model and data do not use this config group", hint=f"Set {choice}=null")
    if config.get("features") is None and "features" in config.model:
        raise InputError(
            "features",
            "the model needs this config group, but no choice is made",
            hint="Choose features=spectra or features=pixels",
        )
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
            raise InputError("tags", "a tag has an invalid length", found=repr(tag), expected=f"1 to {LONGEST_TAG} characters")


def _check_data(config: DictConfig) -> None:
    if "targets" in config.get("data", {}):
        return
    if "separator" in config.get("model", {}):
        hint = "Choose another data set, or an autoencoder such as model=ae"
        raise InputError("data", "the model is a separator and needs mixtures, but the data set contains none", hint=hint)
    if is_instrument(config):
        hint = "Choose another data set, such as data=demo_leads"
        raise InputError("data", "the model is a DDSP synthesizer and needs audio, but the data set contains none", hint=hint)


def _check_links(config: DictConfig) -> None:
    for link, sources in LINKS.items():
        value = OmegaConf.select(config, link)
        source, expected = next(((s, e) for s in sources if (e := OmegaConf.select(config, s)) is not None), ("", value))
        if value is not None and value != expected:
            raise InputError(
                link,
                f"this key must have the same value as {source}",
                found=value,
                expected=f"{expected}",
                hint=f"Remove {link}, and set only {source}",
            )


def _check_stages(config: DictConfig) -> None:
    """Check that `train` or `test` is true, and that at most one of `ckpt_path` and `init` gives the weights of the model."""
    ckpt_path, init = config.get("ckpt_path"), Init.of(config.get("init")).path
    if ckpt_path is not None and init is not None:
        raise InputError("ckpt_path, init", "these keys cannot be used together", found="both", expected="one of the two keys")
    if config.get("lora") is not None and ckpt_path is None and init is None:
        problem = "LoRA adapts trained weights, but this model starts from random weights"
        raise InputError("lora", problem, hint="Choose trained weights with init=PATH")
    if config.get("train", True):
        return
    if not config.get("test", True):
        raise InputError("train, test", "there is nothing to do", found="false for both", expected="one of them true")
    if ckpt_path is None and init is None:
        hint = "Type ckpt_path=RUN/checkpoints/best.ckpt or init=PATH"
        raise InputError("train=false", "a test without training needs trained weights", hint=hint)


def _check_power(config: DictConfig) -> None:
    if config.get("memory") is not None and config.plan != "fit":
        raise InputError("memory", "this key can only be used together with plan=fit", hint="Add plan=fit, or remove memory")
    for key in ("power", "power_from"):
        if config.get(key) is not None and config.plan is not True:
            raise InputError(key, "this key can only be used together with plan=true", hint=f"Add plan=true, or remove {key}")
    if config.get("power_from") is not None and config.power is None:
        raise InputError(
            "power_from",
            "this key can only be used together with the key 'power' (a difference in dB)",
            hint="Add for example power=0.5",
        )
    if config.get("power") is not None:
        if config.power <= 0:
            raise InputError("power", found=config.power, expected="a difference in dB above 0")
        if "separator" not in config.model:
            raise InputError(
                "power",
                "only separators can use this key, but the model is not a separator",
                hint="Remove 'power'",
            )


def take_data(data: DictConfig, own: DictConfig, typed: Collection[str]) -> DictConfig:
    """Merge the data config of a trained run with the overrides of the command line.

    The config of the run may come from another person, and must not decide to which folders this machine writes. Therefore the
    keys `cache_dir` and `download` of the run are ignored.

    Args:
        data: data config of the command, with the overrides of the command line.
        own: data config in the run's `config.yaml`.
        typed: keys whose values the user typed on the command line, such as `data.root`.

    Returns:
        A changed copy of the run's data config.

    Raises:
        InputError: the data config of the run is not a mapping, or contains a path from which this user has never read data.
            The user accepts such a path by typing the path on the command line.
    """
    if not OmegaConf.is_dict(own):
        raise InputError("data", "the data config of the run is invalid", found=own, expected="a mapping from keys to values")
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
            hint = f"If you trust this path, type {shlex.quote(f'data.{key}={places[0]}')}"
            problem = "the config of the run contains a path that you have not used before"
            raise InputError(f"data.{key}", problem, found=places[0], hint=hint)
    return merged


def choices_of(hydra: Any) -> dict[str, str]:
    """Return the names of the chosen model and data set. The argument is the `hydra` node of a composed config."""
    return {key: hydra.runtime.choices[key] for key in ("model", "data")}
