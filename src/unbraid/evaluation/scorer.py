"""Whole tracks scored under a protocol, each once, and something left to hear and see."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from unbraid import audio
from unbraid.data.store import StoredTrack
from unbraid.dsp.stft import STFT
from unbraid.evaluation import pictures
from unbraid.evaluation.methods import Method, Oracle, SeparatorMethod
from unbraid.inference.chunked import InferenceOptions, at_rate, device_of, separated
from unbraid.models.separators.base import Separator
from unbraid.models.separators.masking import Masking
from unbraid.runs.config import versions, write_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import below
from unbraid.runs.scores import read_scores
from unbraid.scoring.protocols import Protocol, SourceGroup, with_improvements
from unbraid.scoring.tables import Summary, of_track, refuse_mixed, summarise, table
from unbraid.scoring.track_records import TrackScores, read_track, record_path, write_track

ESTIMATE, MIXED = "estimate", "mixture"
ORACLE_ROWS = {"irm": "ideal ratio mask", "psm": "phase-sensitive mask"}  # references; psm is the best real mask of each bin
WORDS = {MIXED: "mixture"} | ORACLE_ROWS


class Evaluation:
    """How tracks are separated to be scored, and what is kept to listen to.

    Args:
        inference: chunks, overlap, shifts and precision.
        clips: number of tracks, from the first on, of which audio and pictures are written.
    """

    def __init__(self, inference: InferenceOptions, clips: int) -> None:
        if clips < 0:
            raise InputError(f"clips must be at least 0, found {clips}")
        self.inference, self.clips = inference, clips

    def of(self, separator: Separator, weights: str, mixtures: Sequence[StoredTrack], protocol: Protocol) -> SeparatorMethod:
        """Return a separator as a method; the mixtures are those of `mixtures_for`."""
        by_name = {track.name: track for track in mixtures}
        return SeparatorMethod(separator.eval(), weights, by_name, protocol.format[0], self.inference)

    def leave_clips(self, method: SeparatorMethod, targets: Tensor, folder: Path) -> None:
        """Write audio and pictures of the first tracks.

        Args:
            method: whose tracks they are.
            targets: weights over the tracks' sources [targets, sources].
            folder: of the run.
        """
        for name in self.clip_names(method):
            self.leave_clip(method, name, targets, folder)

    def clip_names(self, method: SeparatorMethod) -> list[str]:
        """Return the names of the tracks of which audio and pictures are written."""
        return [*method.mixtures][: self.clips]

    def leave_clip(self, method: SeparatorMethod, name: str, targets: Tensor, folder: Path) -> None:
        """Write audio and pictures of one track, see `leave_clips`."""
        samples = method.mixtures[name].tensor()
        mixture, sources = samples[0], torch.einsum("sr,rcn->scn", targets, samples[1:])
        estimates = torch.from_numpy(method.separate(name))
        _write_audio(below(folder, "audio", name), method.separator, method.sample_rate, mixture, sources, estimates)
        _draw(below(folder, "pictures"), name, method.separator, method.sample_rate, mixture, sources)

    def leave_batches(self, separator: Separator, batches: Mapping[str, Any], folder: Path) -> None:
        """Write audio and pictures of clips, each in a folder of its own.

        Args:
            separator: on the device where it shall run.
            batches: each of one clip, see `data.chunks.Batch`, by name.
            folder: of them all.
        """
        rate, device = separator.sample_rate, device_of(separator)
        for name, batch in batches.items():
            mixture, sources = batch.mixture[0].cpu(), batch.sources[0].cpu()
            estimates = torch.cat([*separated(separator, [mixture], self.inference, device)], dim=-1)
            _write_audio(folder / name, separator, rate, mixture, sources, estimates)
            _draw(folder / name, name, separator, rate, mixture, sources)


def stft_for(separator: Separator | None, sample_rate: int | None = None) -> STFT:
    """Return the STFT of oracle masks: the separator's if it has one and works at this rate, else 2048/512."""
    if isinstance(separator, Masking) and sample_rate in (None, separator.sample_rate):
        return separator.stft
    return STFT(2048, 512)


@dataclass(frozen=True)
class Scorer:
    """Scores tracks under one protocol, and files what it finds; what is filed already is not scored again.

    Args:
        protocol: with its rate and channels.
        source_group: what is scored together.
        targets: weights over the tracks' sources [targets, sources].
        tracks: all of them, at the protocol's rate and channels.
        folder: where scores of estimates are filed, as `<row>/test/<track>.json`.
        shared: where those of mixture and oracles are, which do not depend on a run.
        device: where scores are computed.
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
        """The protocol's."""
        return self.protocol.record(self.source_group)

    def check_folder(self) -> None:
        """InputError where the folder holds scores under another protocol of this name."""
        path = self.folder / "scores.json"
        try:
            there = read_scores(path)
        except (FileNotFoundError, InputError):  # damaged scores are written anew
            return
        try:
            refuse_mixed({f"{path}": there["protocol"], "this command": self.record})
        except InputError as error:
            raise InputError(f"protocol {self.protocol.name}: {error}; give yours a name with protocol.name=…") from error

    def filed(self, row: str, method: Method, track: StoredTrack) -> TrackScores | None:
        """What was found before, if it still holds."""
        return read_track(self._path(row, method, track), self.record, method.origin(track))

    def score(self, rows: Mapping[str, Method], track: StoredTrack, wait: bool) -> bool:
        """File the scores of a track that are not filed yet.

        Args:
            rows: what is scored, by the name of its row.
            track: one of the tracks.
            wait: for another process that is at this track; otherwise leave it to that one.

        Returns:
            Whether all of them are filed now.
        """
        whose = f"{self.folder.resolve() / track.name}"
        lock = self.shared / "locks" / f"{hashlib.sha256(whose.encode()).hexdigest()[:16]}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=-1 if wait else 0):
                missing = [row for row, method in rows.items() if self.filed(row, method, track) is None]
                if missing:
                    self._score({row: rows[row] for row in missing}, track)
        except Timeout:
            return False
        return True

    def _score(self, rows: Mapping[str, Method], track: StoredTrack) -> None:
        samples = track.tensor().to(self.device)
        mixture, sources = samples[0], samples[1:]
        references = self.source_group.references(sources)
        silent = [name for name, reference in zip(self.source_group.names, references, strict=True) if not reference.any()]
        for row, method in rows.items():
            estimates = method(track, self.source_group, mixture, references)
            frames = self.protocol.score(references, estimates, self.source_group.names)
            scores = TrackScores(frames, track.length, tuple(silent))
            write_track(self._path(row, method, track), scores, self.record, method.origin(track), versions())

    def _path(self, row: str, method: Method, track: StoredTrack) -> Path:
        if row == ESTIMATE:
            return record_path(self.folder, row, track.name)
        what = [self.record, method.origin(track), versions()["unbraid"]]
        digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
        return self.shared / self.protocol.name / row / f"{digest}.json"

    def scores(self, rows: Mapping[str, Method], checkpoint: str) -> dict[str, Any]:
        """All that `scores.json` holds; `checkpoint` says whose scores they are."""
        for track in self.tracks:  # what is not filed here may lie in the cache of another machine
            self.score(rows, track, wait=True)
        found = {row: [self._read(row, method, track) for track in self.tracks] for row, method in rows.items()}
        mixture = found[MIXED]
        better = {
            row: [
                replace(own, frames=with_improvements(own.frames, mixed.frames))
                for own, mixed in zip(scores, mixture, strict=True)
            ]
            for row, scores in found.items()
        }
        summaries = {row: summarise(scores, self.protocol) for row, scores in better.items()}
        names = [track.name for track in self.tracks]
        return {
            "protocol": self.record,
            "checkpoint": checkpoint,
            "summary": summaries.pop(ESTIMATE),
            "mixture": summaries.pop(MIXED),
            "oracle": summaries,
            "tracks": {name: of_track(own.frames, self.protocol) for name, own in zip(names, better[ESTIMATE], strict=True)},
            "silent": {name: list(own.silent) for name, own in zip(names, mixture, strict=True) if own.silent},
            "settings": {row: method.settings for row, method in rows.items()},
            "versions": versions(),
        }

    def _read(self, row: str, method: Method, track: StoredTrack) -> TrackScores:
        scores = self.filed(row, method, track)
        if scores is None:
            raise InputError(self._path(row, method, track), "the scores were removed while this command ran")
        return scores


def baselines(stft: STFT) -> dict[str, Method]:
    """Return the rows that every estimate is compared with: the mixture and oracles in this transform."""
    return {name: Oracle(name, stft) for name in WORDS}


def report(scores: Mapping[str, Any], label: str, beside: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Scores as a table, between those of others and those of mixture and oracles.

    Args:
        scores: what `Scorer.scores` gives.
        label: what they are of.
        beside: other scores, by what they are of; InputError where their protocol is another.
    """
    others = dict(beside or {})
    refuse_mixed({label: scores["protocol"]} | {name: other["protocol"] for name, other in others.items()})
    rows: dict[str, Summary] = {label: scores["summary"]} | {name: other["summary"] for name, other in others.items()}
    rows |= {WORDS[MIXED]: scores["mixture"]}
    rows |= {_oracle_label(name, scores["settings"][name]): oracle for name, oracle in scores["oracle"].items()}
    lines = [table(rows, scores["protocol"], len(scores["tracks"]))]
    for track, sources in scores["silent"].items():
        lines.append(
            f"undefined: {track}, where {' and '.join(sources)} {'is' if len(sources) == 1 else 'are'} silent throughout"
        )
    return "\n".join(lines)


def _oracle_label(name: str, settings: Mapping[str, Any]) -> str:
    """Return the label of an oracle's row. It names the STFT, which limits what a mask can reach."""
    return f"{WORDS.get(name, name)}, STFT {settings['n_fft']}/{settings['hop_length']}"


def write_scores(folder: Path, scores: Mapping[str, Any]) -> None:
    """`scores.json`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "scores.json", scores)


def _write_audio(folder: Path, separator: Separator, rate: int, mixture: Tensor, sources: Tensor, estimates: Tensor) -> None:
    """All files of a track share one gain, so that nothing clips and levels can be compared by ear."""
    files = {"mixture": mixture, "residual": mixture - estimates.sum(dim=0)}
    for s, target in enumerate(separator.targets):
        files |= {f"{target}-estimate": estimates[s], f"{target}-target": sources[s]}
    gain = 1 / max(1.0, *(float(samples.abs().max()) for samples in files.values()))
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in files.items():
        audio.write(below(folder, f"{name}.flac"), (gain * samples).numpy(), rate)


@torch.inference_mode()
def _draw(folder: Path, name: str, separator: Separator, rate: int, mixture: Tensor, sources: Tensor) -> None:
    """Draw one picture per target, of the chunk in which the target is loudest, at the rate of the separator."""
    device, chunk = device_of(separator), separator.chunk_samples
    stft = stft_for(separator).to(device)
    mixture, *each = (_as_heard(separator, signal, rate).to(device) for signal in (mixture, *sources))
    for s, target in enumerate(separator.targets):
        energies = [float(piece.square().sum()) for piece in each[s].split(chunk, dim=-1)]
        start = chunk * energies.index(max(energies))
        piece, truth = mixture[:, start : start + chunk], each[s][:, start : start + chunk]
        length = piece.shape[-1]
        padded = torch.nn.functional.pad(piece, (0, chunk - length))
        estimate = separator(padded[None])
        masks = estimate.masks
        pictures.spectrograms(
            below(folder, f"{name}-{target}.png"), f"{name}: {target}",
            {"mixture": piece, "estimate": estimate.sources[0, s, :, :length], "target": truth},
            None if masks is None else masks[0, s, ..., : stft.frames(length)].mean(dim=0),
            stft, separator.sample_rate,
        )  # fmt: skip


def _as_heard(separator: Separator, signal: Tensor, rate: int) -> Tensor:
    """Return a signal at the rate and with the channels of a separator. Shape: [c, n] -> [C, m]."""
    return torch.cat([*at_rate(separator, [signal.numpy()], rate)], dim=-1)
