"""What the commands share that use a trained autoencoder: the run with its weights, and what it is applied to."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from unbraid import audio
from unbraid.commands.experiment import take_data
from unbraid.data.digits import Digits
from unbraid.data.layouts.folders import audio_files_below, by_name
from unbraid.data.module import MultitrackData
from unbraid.data.tracks import SPLITS, Split
from unbraid.models.features import Spectra
from unbraid.models.instruments import is_instrument
from unbraid.runs.config import build, check, checkpoint_path, own_config
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.weights import rebuilt
from unbraid.tasks.reconstruction import ReconstructionTask


@dataclass
class TrainedRunConfig:
    """What every such command is told.

    Args:
        run: folder of a trained run.
        checkpoint: of the run: best, last or a file.
        input: an audio file, or a folder of some.
        split: of the run's own data: train, valid or test; instead of `input`.
        output: where the result goes.
        data: `root`, `cache_dir` and `download` for the data of the run.
    """

    run: str | None
    checkpoint: str
    input: str | None
    split: str | None
    output: str | None
    data: dict[str, Any]


class InputAudio(NamedTuple):
    """Something that is heard whole, with its waveform [C, samples] at the rate of the features.

    `name` is a track's, or that of an input file below its folder; `label` the source's, empty where it is a file.
    """

    name: str
    label: str
    waveform: Tensor


class Trained:
    """A run of an autoencoder, on the CPU.

    Args:
        config: of the command.
        schema: what it binds to.

    Raises:
        InputError: the folder holds no such run, its weights cannot be used, or not exactly one of input and split is given.
    """

    def __init__(self, config: DictConfig, schema: type[TrainedRunConfig]) -> None:
        check(config, schema)
        if config.run is None:
            raise InputError("run has no default and must be given: run=FOLDER")
        if (config.input is None) == (config.split is None):
            raise InputError("expected one of input=FILE and split=NAME, found " + ("both" if config.input else "none"))
        if config.split is not None and config.split not in SPLITS:
            raise InputError(f"split={config.split}: there is no such split; {unknown(config.split, SPLITS)}")
        self.folder = Path(config.run).expanduser()
        self.own: Any = own_config(self.folder)
        if self.own.get("features") is None or is_instrument(self.own):
            raise InputError(f"run={self.folder}: has no autoencoder, expected a run of model=ae, deep_ae, vae, conv_ae or pca")
        self.checkpoint = checkpoint_path(self.folder, config.checkpoint)
        _check_targets(self.own)
        self.task: ReconstructionTask = rebuilt(lambda: build(self.own.model), self.checkpoint)
        self.task.eval()
        self.input = None if config.input is None else Path(config.input).expanduser()
        self.split: Split | None = config.split
        self.places: DictConfig = config.data

    def data(self) -> MultitrackData | Digits:
        """Return the run's own data, ready, from where the user has them, see `take_data`."""
        typed = [f"data.{key}" for key in ("root", "download") if self.places[key]]
        self.own.data = take_data(self.places, self.own.data, typed)
        data: MultitrackData | Digits = build(self.own.data)
        data.prepare_data()
        data.setup("fit")
        return data

    def sounds(self) -> Iterator[InputAudio]:
        """Of the input, or of the split: every source of every track."""
        features = self.spectra()
        if self.input is not None:
            for name, path in _files(self.input).items():
                (samples,), rate = audio.read(path)
                there = audio.to_channels(audio.resample(samples, rate, features.sample_rate), features.channels)
                yield InputAudio(name, "", torch.from_numpy(there))
        else:
            assert self.split is not None
            yield from self.of_split(self.split)

    def of_split(self, split: Split) -> Iterator[InputAudio]:
        """Every source of every track of the run's own data."""
        data = self.data()
        assert isinstance(data, MultitrackData)
        for track, batch in zip(data.split(split), data.in_order(split), strict=True):
            for label, source in zip(data.labels(), batch.sources[0], strict=True):
                yield InputAudio(track.name, label, source)

    def spectra(self) -> Spectra:
        """The features; InputError where they are of images."""
        features = self.task.features
        if not isinstance(features, Spectra):
            raise InputError(f"run={self.folder}: was trained on images, expected a run that was trained on sound")
        return features


def _check_targets(own: Any) -> None:
    """The run's config comes from a file: what it would build must be on the allowlist and fit."""
    model = OmegaConf.create({"model": own.get("model"), "data": own.get("data")})
    check(model, _Node)


@dataclass
class _Node:
    model: dict[str, Any]
    data: dict[str, Any]


def _files(path: Path) -> dict[str, Path]:
    """By names that tell them apart."""
    if path.is_dir():
        found = audio_files_below(path)
        if not found:
            raise InputError(f"input={path}: holds no audio files")
        return by_name(found, path)
    return {path.stem: path}
