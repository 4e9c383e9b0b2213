"""Build the objects with which a process of the command `evaluate` scores tracks: data, separation method and scorer."""

from functools import cached_property, lru_cache
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from unbraid.data.module import MultitrackData
from unbraid.data.store import StoredTrack
from unbraid.data.tracks import Split
from unbraid.data.training_tracks import tracks_trained_on
from unbraid.dsp.stft import STFT
from unbraid.evaluation.estimates import EstimateFolder
from unbraid.evaluation.methods import EstimateFiles, Method, Oracle, SeparatorMethod, baselines, fingerprint, mixtures_for
from unbraid.evaluation.scorer import ESTIMATE, Evaluation, Scorer, stft_for
from unbraid.interop.interpolation import interpolated
from unbraid.interop.origins import Origin, find_origin, separator_of
from unbraid.models.separators.base import Separator
from unbraid.runs.config import build
from unbraid.scoring.protocols import Protocol

SPLIT: Split = "test"


@lru_cache(maxsize=1)
def sessions_of(configs: tuple[str, ...]) -> list["Session"]:
    """Return one session for each config. The configs differ only in the protocol and the output folder.

    Args:
        configs: checked configs of the command, as yaml text.

    Returns:
        The sessions. They share the model and the estimates of the latest track.
    """
    first = Session(configs[0])
    return [first, *(Session(config, first) for config in configs[1:])]


class Session:
    """Build and hold the objects with which a process scores tracks: data, separation method and scorer.

    Args:
        config: checked config of the command, as yaml text.
        first: session of another protocol. Its data, model and estimates are used.
    """

    def __init__(self, config: str, first: "Session | None" = None) -> None:
        torch.set_flush_denormal(True)
        self.node: Any = OmegaConf.create(config)
        self.first = first or self
        self.mixture = ""  # text that identifies the weighted mean with the weights before a fine-tuning
        self.scores_run = self.node.estimates is None and self.node.oracle is None
        self.label = Path(self.node.run).name if self.scores_run else self.node.oracle or f"estimates in {self.node.estimates}"
        if first is None:
            self.data: MultitrackData = build(self.node.data)
            self.evaluation: Evaluation = build(self.node.evaluation)
            self.loaded: dict[tuple[int, int], list[StoredTrack]] = {}  # by sample rate and number of channels
            self.methods: dict[tuple[int, int], SeparatorMethod] = {}
        else:
            self.data, self.evaluation, self.loaded, self.methods = first.data, first.evaluation, first.loaded, first.methods

    @cached_property
    def device(self) -> torch.device:
        """The device of this process: the CPU or a GPU. The scoring processes are distributed over all GPUs of the machine."""
        if self.node.trainer.accelerator == "cpu" or not torch.cuda.is_available():
            return torch.device("cpu")
        number = current_process().name.rpartition("-")[2]  # SpawnProcess-1, or MainProcess
        return torch.device("cuda", (int(number) - 1 if number.isdigit() else 0) % torch.cuda.device_count())

    @cached_property
    def scorer(self) -> Scorer:
        """The scorer of the test tracks. Tracks that are missing in the store (folder of decoded tracks) are decoded first."""
        separator, protocol = self.node.model.separator, build(self.node.protocol)
        assert isinstance(protocol, Protocol)
        at = protocol.at(separator.sample_rate, separator.channels)
        tracks = self._tracks(*at.format)
        weights = self.data.target_weights()
        source_group = at.source_group([*self.node.targets], weights)
        return Scorer(at, source_group, weights, tracks, Path(self.node.output), self.data.cache_dir / "baselines", self.device)

    def _tracks(self, sample_rate: int, channels: int) -> list[StoredTrack]:
        """Return the test tracks with a sample rate in Hz and a number of channels."""
        key = sample_rate, channels
        if key not in self.loaded:
            self.loaded[key] = self.data.whole(SPLIT, *key, progress=True)
        return self.loaded[key]

    @cached_property
    def rows(self) -> dict[str, Method]:
        """The separation methods, in the order of the score table: the method that is scored, and then the baselines."""
        stft = stft_for(self.separator if self.scores_run else None, self.scorer.protocol.sample_rate)
        return {ESTIMATE: self._method(stft)} | baselines(stft, self.scorer.protocol)

    def _method(self, stft: STFT) -> Method:
        if self.node.oracle is not None:
            return Oracle(self.node.oracle, stft)
        protocol = self.scorer.protocol
        if self.node.estimates is not None:
            files = EstimateFolder(Path(self.node.estimates).expanduser(), [*self.node.targets])
            files.check([track.name for track in self.scorer.tracks])
            return EstimateFiles(files, protocol.format[0])
        if protocol.format not in self.methods:
            mixtures = mixtures_for(self.separator, protocol, self.scorer.tracks, self._tracks)
            weights = f"{fingerprint(self.checkpoint)}{self.first.mixture}"
            self.methods[protocol.format] = self.evaluation.of(self.separator, weights, mixtures, protocol)
        return self.methods[protocol.format]

    @cached_property
    def trained_on(self) -> dict[str, str]:
        """The scored tracks that the run has already used for training or validation.

        The result is a dictionary from the name of each such track to a text such as `train: song`. The text contains the split
        and the name of the track in the data of the run.
        """
        if not self.scores_run:
            return {}
        return tracks_trained_on(self.origin.folder, self._tracks(self.separator.sample_rate, self.separator.channels))

    @cached_property
    def origin(self) -> Origin:
        """The file with the weights, and the config of the model, see `Origin`. A missing file raises InputError."""
        return find_origin(Path(self.node.run), self.node.checkpoint, self.node.config)

    @property
    def checkpoint(self) -> Path:
        """The path of the file with the weights."""
        return self.origin.file

    @cached_property
    def separator(self) -> Separator:
        """The separator with the weights of the checkpoint. Weights that do not fit the model raise InputError."""
        if self.first is not self:
            return self.first.separator
        separator = separator_of(self.origin, lambda: build(self.node.model).separator)
        if self.node.start is not None:
            mixed = interpolated(separator, self.origin.config, self.node.start, self.node.interpolate)
            self.mixture = f", {mixed}"
        if self.origin.average is not None:
            self.mixture += f", {self.origin.average}"
        return separator.to(self.device).eval()

    def write_clips(self) -> None:
        """Write audio and pictures of the first `evaluation.clips` test tracks into the output folder."""
        method = self.rows[ESTIMATE]
        if isinstance(method, SeparatorMethod):
            self.evaluation.leave_clips(method, self.scorer.targets, self.scorer.folder)
