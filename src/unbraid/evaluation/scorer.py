"""Score whole tracks under a protocol, store the scores of each track, and write audio and pictures of some tracks."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unbraid import audio
from unbraid.data.store import StoredTrack
from unbraid.dsp.stft import STFT
from unbraid.evaluation import pictures
from unbraid.evaluation.methods import MIXED, SILENCE, Method, SeparatorMethod
from unbraid.inference.chunked import InferenceOptions, device_of, separated
from unbraid.inference.mixture_blocks import at_rate
from unbraid.models.separators.base import Separator
from unbraid.models.separators.masking import Masking
from unbraid.runs.errors import InputError
from unbraid.runs.files import below, write_json
from unbraid.runs.locks import FileLock
from unbraid.runs.scores import read_scores
from unbraid.runs.source_version import versions
from unbraid.scoring.protocols import Protocol, SourceGroup, with_improvements
from unbraid.scoring.tables import intervals_of_mean, of_track, refuse_mixed, summarise
from unbraid.scoring.track_records import TrackScores, read_track, record_path, scoring_code, write_track

ESTIMATE = "estimate"


class Evaluation:
    """Store the options for testing separators, and write audio and pictures of separated tracks.

    Args:
        inference: options of the separation, such as the chunk length.
        clips: number of tracks whose audio and pictures are written. The first tracks are used.

    Raises:
        InputError: `clips` is negative.
    """

    def __init__(self, inference: InferenceOptions, clips: int) -> None:
        if clips < 0:
            raise InputError("clips", found=clips, expected="at least 0")
        self.inference, self.clips = inference, clips

    def of(self, separator: Separator, weights: str, mixtures: Sequence[StoredTrack], protocol: Protocol) -> SeparatorMethod:
        """Create a `SeparatorMethod` from a separator, and from the tracks that the separator will separate.

        Args:
            separator: separator. The computation runs on its device.
            weights: text that identifies the weights of the separator, such as a part of the hash of the weights file.
            mixtures: tracks whose mixtures are separated, the result of `mixtures_for`.
            protocol: protocol of the scores.

        Returns:
            The `SeparatorMethod`.
        """
        by_name = {track.name: track for track in mixtures}
        return SeparatorMethod(separator.eval(), weights, by_name, protocol.format[0], self.inference)

    def leave_clips(self, method: SeparatorMethod, targets: Tensor, folder: Path) -> None:
        """Separate the first `clips` tracks, and write audio and pictures of these tracks.

        The audio is written to `audio/`, and the pictures are written to `pictures/` in the run folder.

        Args:
            method: separator with the tracks to separate.
            targets: row s contains the weights of the data set's sources in target s.
            folder: run folder.

        Shape:
            targets [targets, sources].
        """
        for name in self.clip_names(method):
            self.leave_clip(method, name, targets, folder)

    def clip_names(self, method: SeparatorMethod) -> list[str]:
        """Return the names of the tracks whose audio and pictures are written: the first `clips` tracks of `method`."""
        return [*method.mixtures][: self.clips]

    def leave_clip(self, method: SeparatorMethod, name: str, targets: Tensor, folder: Path) -> None:
        """Separate one track. Write the audio to `audio/<track>/`, and the pictures to `pictures/` in the run folder."""
        samples = method.mixtures[name].tensor()
        mixture, sources = samples[0], torch.einsum("sr,rcn->scn", targets, samples[1:])  # silent if unknown
        estimates = torch.from_numpy(method.separate(name))
        _write_audio(below(folder, "audio", name), method.separator, method.sample_rate, mixture, sources, estimates)
        _draw(below(folder, "pictures"), name, method.separator, method.sample_rate, mixture, sources)

    def leave_batches(self, separator: Separator, batches: Mapping[str, Any], folder: Path) -> None:
        """Separate clips, and write audio and pictures to one folder per clip.

        Args:
            separator: separator. The computation runs on its device.
            batches: dictionary from the name of each clip to a batch with the mixture and the sources of the clip.
            folder: parent of the folders of all clips.
        """
        rate, device = separator.sample_rate, device_of(separator)
        for name, batch in batches.items():
            mixture, sources = batch.mixture[0].cpu(), batch.sources[0].cpu()
            scale = separator.song_scale([mixture])
            estimates = torch.cat([*separated(separator, [mixture], self.inference, device, scale)], dim=-1)
            _write_audio(folder / name, separator, rate, mixture, sources, estimates)
            _draw(folder / name, name, separator, rate, mixture, sources)


def stft_for(separator: Separator | None, sample_rate: int | None = None) -> STFT:
    """Return the STFT in which oracle masks are computed.

    Args:
        separator: separator that is scored; None for estimates of other tools.
        sample_rate: sample rate of the protocol in Hz; None: sample rate of the separator.

    Returns:
        STFT of the separator if the separator applies masks and has the sample rate of the protocol. Otherwise an STFT with a
        window of 2048 samples and a hop of 512 samples.
    """
    if isinstance(separator, Masking) and sample_rate in (None, separator.sample_rate):
        return separator.stft
    return STFT(2048, 512)


@dataclass(frozen=True)
class Scorer:
    """Score tracks under one protocol and store the scores. A track with valid stored scores is not scored again.

    Args:
        protocol: definition of the scores, with sample rate and number of channels.
        source_group: names of the scored sources. Each scored source is a weighted sum of the sources in the data set.
        targets: weights [targets, sources]; row s contains the weights of the data set's sources in target s.
        tracks: all test tracks, in the sample rate and with the channels of the protocol.
        folder: folder for the scores of the tested method. In this folder, the file `estimate/test/<track>.json` contains the
            scores of a track.
        shared: folder for the scores of the unchanged mixture and of oracles. All runs use the same folder.
        device: device on which scores are computed.
    """

    protocol: Protocol
    source_group: SourceGroup
    targets: Tensor
    tracks: Sequence[StoredTrack]
    folder: Path
    shared: Path
    device: torch.device

    @property
    def record(self) -> dict[str, Any]:
        """Description of the protocol. It is stored in the same file as the scores."""
        return self.protocol.record(self.source_group)

    def check_folder(self) -> None:
        """Check that the folder does not contain scores of a protocol with the same name but different options.

        Raises:
            InputError: the folder contains a `scores.json` whose scores were computed with other options of the protocol.
        """
        path = self.folder / "scores.json"
        try:
            stored = read_scores(path)
        except (FileNotFoundError, InputError):  # damaged scores are replaced
            return
        try:
            refuse_mixed({f"{path}": stored["protocol"], "this command": self.record})
        except InputError as error:
            problem = f"the scores in {path} are of another protocol with the same name ({error})"
            hint = "Give your protocol another name with protocol.name=NAME."
            raise InputError(f"protocol {self.protocol.name}", problem, hint=hint) from error

    def filed(self, row: str, method: Method, track: StoredTrack) -> TrackScores | None:
        """Read the stored scores of a track for one method, if the stored scores are still valid.

        Args:
            row: name of the method's row in the table of scores, such as `estimate`.
            method: method that is scored.
            track: scored track.

        Returns:
            Stored scores; None if no scores are stored, or if the protocol, the method or the track has changed in the
            meantime.
        """
        return read_track(self._path(row, method, track), self.record, method.origin(track), self.protocol.measures)

    def score(self, rows: Mapping[str, Method], track: StoredTrack, wait: bool) -> bool:
        """Score the estimates of a track by each method, and store the scores. Valid stored scores are not computed again.

        Args:
            rows: dictionary from the name of each row in the table of scores to its method.
            track: track to score.
            wait: True: wait if another process is scoring this track. False: do not wait.

        Returns:
            True if all scores are stored now; False if another process is scoring the track and `wait` is False.
        """
        name = f"{self.folder.resolve() / track.name}"
        lock = self.shared / "locks" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock)
        if not wait and not held.try_acquire():
            return False
        with held:
            missing = [row for row, method in rows.items() if self.filed(row, method, track) is None]
            if missing:
                self._score({row: rows[row] for row in missing}, track)
        return True

    def _score(self, rows: Mapping[str, Method], track: StoredTrack) -> None:
        samples = track.tensor().to(self.device)
        mixture, sources = samples[0], samples[1:]
        references = self.source_group.references(sources)
        unknown = self.unknown(track)
        silent = [
            name for name, reference in zip(self.source_group.names, references, strict=True)
            if name not in unknown and not reference.any()
        ]  # fmt: skip
        for row, method in rows.items():
            estimates = method(track, self.source_group, mixture, references)
            frames = self.protocol.score(references, estimates, self.source_group.names, mixture, unknown)
            no_estimate = [
                name for name, estimate in zip(self.source_group.names, estimates, strict=True)
                if name not in (*silent, *unknown) and not estimate.any()
            ]  # fmt: skip
            scores = TrackScores(frames, track.length, tuple(silent), tuple(no_estimate), unknown)
            write_track(self._path(row, method, track), scores, self.record, method.origin(track), versions())

    def unknown(self, track: StoredTrack) -> tuple[str, ...]:
        """Return the names of the scored sources whose true waveform is unknown in a track."""
        return self.source_group.unknown(torch.tensor([source in track.unknown for source in track.sources]))

    def _path(self, row: str, method: Method, track: StoredTrack) -> Path:
        if row == ESTIMATE:
            return record_path(self.folder, row, track.name)
        identity = [self.record, method.origin(track), scoring_code()]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        return self.shared / self.protocol.name / row / f"{digest}.json"

    def scores(self, rows: Mapping[str, Method], checkpoint: str) -> dict[str, Any]:
        """Score all tracks that have no stored scores. Then compute the content of `scores.json` from all scores.

        Args:
            rows: dictionary from the name of each row in the table of scores to its method.
            checkpoint: origin of the estimates as text, such as the path of a checkpoint.

        Returns:
            Dictionary with a summary over the tracks, the scores of each track, and the settings of each method.
        """
        for track in self.tracks:  # another machine of the run may have stored baselines in its own cache
            self.score(rows, track, wait=True)
        stored = {row: [self._read(row, method, track) for track in self.tracks] for row, method in rows.items()}
        mixture = stored[MIXED]
        improved = {
            row: [
                replace(track, frames=with_improvements(track.frames, mixed.frames))
                for track, mixed in zip(scores, mixture, strict=True)
            ]
            for row, scores in stored.items()
        }
        summaries = {row: summarise(scores, self.protocol) for row, scores in improved.items()}
        names = [track.name for track in self.tracks]
        return {
            "protocol": self.record,
            "checkpoint": checkpoint,
            "summary": summaries.pop(ESTIMATE),
            "mean_over_targets": intervals_of_mean(improved[ESTIMATE], self.protocol, self.record["rest"]),
            "mixture": summaries.pop(MIXED),
            "silence": summaries.pop(SILENCE, {}),
            "oracle": summaries,
            "tracks": {name: of_track(t.frames, self.protocol) for name, t in zip(names, improved[ESTIMATE], strict=True)},
            "silent": {name: list(track.silent) for name, track in zip(names, mixture, strict=True) if track.silent},
            "silent_estimates": {
                name: list(track.silent_estimates)
                for name, track in zip(names, stored[ESTIMATE], strict=True)
                if track.silent_estimates
            },
            "unknown": {name: list(track.unknown) for name, track in zip(names, mixture, strict=True) if track.unknown},
            "settings": {row: method.settings for row, method in rows.items()},
            "versions": versions(),
        }

    def _read(self, row: str, method: Method, track: StoredTrack) -> TrackScores:
        scores = self.filed(row, method, track)
        if scores is None:
            problem, hint = "the file with stored scores was removed while this command ran", "Run the command again."
            raise InputError(self._path(row, method, track), problem, hint=hint)
        return scores


def write_scores(folder: Path, scores: Mapping[str, Any]) -> None:
    """Write `scores.json` to a folder. The file is written under a temporary name first, and is then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "scores.json", scores)


def _write_audio(folder: Path, separator: Separator, rate: int, mixture: Tensor, sources: Tensor, estimates: Tensor) -> None:
    """Write the audio of mixture, residual, estimates and true targets. One common gain avoids clipping."""
    files = {"mixture": mixture, "residual": mixture - estimates.sum(dim=0)}
    for s, target in enumerate(separator.targets):
        files |= {f"{target}-estimate": estimates[s], f"{target}-target": sources[s]}
    gain = 1 / max(1.0, *(float(samples.abs().max()) for samples in files.values()))
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in files.items():
        audio.write(below(folder, f"{name}.flac"), (gain * samples).numpy(), rate)


@torch.inference_mode()
def _draw(folder: Path, name: str, separator: Separator, rate: int, mixture: Tensor, sources: Tensor) -> None:
    """Draw one picture per target, with the spectrograms of mixture, estimate and true target.

    Each picture shows the chunk of the track in which the target of this picture is loudest.
    """
    device, chunk = device_of(separator), separator.chunk_samples
    stft = stft_for(separator).to(device)
    mixture, *each = (_resampled(separator, signal, rate).to(device) for signal in (mixture, *sources))
    scale = separator.song_scale([mixture])
    for s, target in enumerate(separator.targets):
        energies = [float(piece.square().sum()) for piece in each[s].split(chunk, dim=-1)]
        start = chunk * energies.index(max(energies))
        piece, truth = mixture[:, start : start + chunk], each[s][:, start : start + chunk]
        length = piece.shape[-1]
        padded = torch.nn.functional.pad(piece, (0, chunk - length))
        estimate = separator(padded[None] if scale is None else scale.normalise(padded[None]))
        waveform = estimate.sources[0, s, :, :length]
        masks = estimate.masks
        pictures.spectrograms(
            below(folder, f"{name}-{target}.png"), f"{name}: {target}",
            {"mixture": piece, "estimate": waveform if scale is None else scale.restore(waveform), "target": truth},
            None if masks is None else masks[0, s, ..., : stft.frames(length)].mean(dim=0),
            stft, separator.sample_rate,
        )  # fmt: skip


def _resampled(separator: Separator, signal: Tensor, rate: int) -> Tensor:
    """Convert a signal to the sample rate and the channels of a separator. Shape: [c, n] -> [C, m].

    `rate` is the sample rate of the signal in Hz.
    """
    return torch.cat([*at_rate(separator, [signal.numpy()], rate)], dim=-1)
