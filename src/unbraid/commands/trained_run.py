"""Load a trained autoencoder and the sounds in the input, for the commands `anomaly` and `encode`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from unbraid import audio
from unbraid.commands.experiment import take_data
from unbraid.commands.keys import require
from unbraid.data.digits import Digits
from unbraid.data.layouts.folders import audio_files_below, by_name
from unbraid.data.module import MultitrackData
from unbraid.data.tracks import SPLITS, Split
from unbraid.models.features import Spectra
from unbraid.models.instruments import is_instrument
from unbraid.runs.config import build, check, own_config
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.weights import checkpoint_path, rebuilt
from unbraid.tasks.reconstruction import ReconstructionTask


@dataclass
class TrainedRunConfig:
    """Keys of both commands that use a trained autoencoder, `anomaly` and `encode`.

    Args:
        run: folder of a trained run.
        checkpoint: checkpoint of the run: best, last or a file.
        plugins: packages whose classes the model may use, see `unbraid.runs.plugins`.
        input: audio file or folder of audio files; None if `split` is given.
        split: part of the run's data set that is used instead of `input`: train, valid or test.
        output: output file or folder; None: the default name of the command.
        data: mapping with the keys `root`, `cache_dir` and `download`. The values of this mapping replace values in the data
            config of the run.
    """

    run: str | None
    checkpoint: str
    plugins: list[str]
    input: str | None
    split: str | None
    output: str | None
    data: dict[str, Any]


class InputAudio(NamedTuple):
    """Store a sound: the whole input file, or one source of a track.

    Attributes:
        name: name of the track, or of the input file without suffix.
        label: name of the source, such as vocals; empty for an input file.
        waveform: waveform [channels, samples] at the sample rate of the model.
    """

    name: str
    label: str
    waveform: Tensor


class Trained:
    """Load the autoencoder of a training run on the CPU. Give access to the data set of this run and to the command's input.

    Args:
        config: config of the command.
        schema: dataclass with the keys of the command, against which the config is checked.

    Raises:
        InputError: the run folder `run` does not contain an autoencoder, the weights cannot be used, or the keys `input` and
            `split` are both given or both missing.
    """

    def __init__(self, config: DictConfig, schema: type[TrainedRunConfig]) -> None:
        check(config, schema)
        require(config, run="FOLDER")
        if (config.input is None) == (config.split is None):
            found, problem = "both" if config.input else "neither", "exactly one of these two keys must be given"
            raise InputError("input, split", problem, found=found)
        if config.split is not None and config.split not in SPLITS:
            raise InputError("split", "unknown split", found=config.split, hint=unknown(config.split, SPLITS))
        self.folder = Path(config.run).expanduser()
        self.config: Any = own_config(self.folder)
        if self.config.get("features") is None or is_instrument(self.config):
            expected = "a run of model=ae, deep_ae, vae, conv_ae or pca"
            raise InputError(f"run={self.folder}", "the run contains no autoencoder", expected=expected)
        self.checkpoint = checkpoint_path(self.folder, config.checkpoint)
        # The config comes from a file: its `_target_`s must be allowed before they are built.
        check(OmegaConf.create({"model": self.config.get("model"), "data": self.config.get("data")}), _Node)
        self.task: ReconstructionTask = rebuilt(lambda: build(self.config.model), self.checkpoint)
        self.task.eval()
        self.input = None if config.input is None else Path(config.input).expanduser()
        self.split: Split | None = config.split
        self.places: DictConfig = config.data

    def data(self) -> MultitrackData | Digits:
        """Return the data set of the run, see `unbraid.commands.experiment.take_data` for the choice of the data folder.

        Returns:
            DataModule with tracks or images. Missing or invalid data raises InputError.
        """
        typed = [f"data.{key}" for key in ("root", "download") if self.places[key]]
        self.config.data = take_data(self.places, self.config.data, typed)
        data: MultitrackData | Digits = build(self.config.data)
        data.prepare_data()
        data.setup("fit")
        return data

    def sounds(self) -> Iterator[InputAudio]:
        """Yield the sounds in the input of the command: all audio files, or all sources of all tracks in the split.

        Yields:
            The sounds, with the model's sample rate and number of channels. A file that cannot be decoded raises InputError.
        """
        features = self.spectra()
        if self.input is not None:
            for name, path in _files(self.input).items():
                (samples,), sample_rate = audio.read(path)
                resampled = audio.resample(samples, sample_rate, features.sample_rate)
                yield InputAudio(name, "", torch.from_numpy(audio.to_channels(resampled, features.channels)))
        else:
            assert self.split is not None
            yield from self.of_split(self.split)

    def of_split(self, split: Split) -> Iterator[InputAudio]:
        """Yield every source of every track in a split of the run's data.

        Args:
            split: train, valid or test.

        Yields:
            Sources, track by track. All tracks have the same order of sources.
        """
        data = self.data()
        assert isinstance(data, MultitrackData)
        for track, batch in zip(data.split(split), data.in_order(split), strict=True):
            for label, source in zip(data.labels(), batch.sources[0], strict=True):
                yield InputAudio(track.name, label, source)

    def spectra(self) -> Spectra:
        """Return the object that computes the model's input spectrograms.

        Returns:
            The object, with the STFT settings of the run.

        Raises:
            InputError: the run was trained on images.
        """
        features = self.task.features
        if not isinstance(features, Spectra):
            raise InputError(f"run={self.folder}", "the run was trained on images", expected="a run that was trained on sound")
        return features


@dataclass
class _Node:
    model: dict[str, Any]
    data: dict[str, Any]


def _files(path: Path) -> dict[str, Path]:
    """Return a dictionary from unique name to audio file. The path is an audio file or a folder of audio files."""
    if path.is_dir():
        files = audio_files_below(path)
        if not files:
            raise InputError(f"input={path}", "the folder contains no audio files")
        return by_name(files, path)
    return {path.stem: path}
