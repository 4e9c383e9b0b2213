"""Record the training and validation tracks of a run by hashes of their audio.

The hashes show whether a track that is scored later was used for training or validation.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from unbraid.data.store import StoredTrack
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write

FILE = "tracks.json"
EXCERPT = 2**16  # number of samples from the middle of the mixture that enter a key


def content_key(track: StoredTrack) -> str:
    """Return a hash of the mixture of a track (levels and an excerpt), independent of the name and folder of the track."""
    start = max(0, (track.length - EXCERPT) // 2)
    key = hashlib.sha256(f"{track.shape[1:]}".encode() + track.levels()[0].tobytes())
    for channel in track.read(0, start, min(track.length, start + EXCERPT)):
        key.update(channel.tobytes())
    return key.hexdigest()[:16]


def write_training_tracks(folder: Path, splits: Mapping[str, Sequence[StoredTrack]]) -> None:
    """Write `tracks.json` into the folder of a run: for each split, the name and the audio hash of each track."""
    record = {split: {track.name: content_key(track) for track in tracks} for split, tracks in splits.items()}
    with atomic_write(folder / FILE) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def tracks_trained_on(folder: Path, tracks: Sequence[StoredTrack]) -> dict[str, str]:
    """Find out which of the given tracks a run has used for training or validation, by hashes of the audio.

    Args:
        folder: folder of the run.
        tracks: tracks to check, decoded with the sample rate and the number of channels of the training.

    Returns:
        A dictionary with an entry for each track that was used. The key is the name of the track. The value is a text with the
        split and the name of the track in the run, such as `train: song`. Empty if the folder lacks `tracks.json`.
        A damaged `tracks.json` raises InputError.
    """
    seen = {key: f"{split}: {name}" for split, keys in _read(folder).items() for name, key in keys.items()}
    return {track.name: seen[key] for track in tracks if (key := content_key(track)) in seen}


def merge_training_tracks(folder: Path, runs: Sequence[Path], fitted: Sequence[StoredTrack]) -> None:
    """Write `tracks.json` of an ensemble: the tracks of all its members, and the tracks with which its weights were fitted.

    Args:
        folder: folder of the ensemble.
        runs: folders of the members. A folder without `tracks.json` is left out.
        fitted: tracks with which the weights were fitted; they are listed as validation tracks.
    """
    record: dict[str, dict[str, str]] = {"train": {}, "valid": {track.name: content_key(track) for track in fitted}}
    for run in runs:
        for split, keys in _read(run).items():
            names = record.setdefault(split, {})
            for name, key in keys.items():
                names[name if names.get(name, key) == key else f"{name} ({run.name})"] = key
    with atomic_write(folder / FILE) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def _read(folder: Path) -> dict[str, dict[str, str]]:
    """Read `tracks.json` of a run; empty if the file is missing. A damaged file raises InputError."""
    path = folder / FILE
    try:
        record = {split: dict(keys) for split, keys in read_json(path).items()}
        if not all(isinstance(key, str) for keys in record.values() for key in keys.values()):
            raise InputError(path, "a hash of a track is not a text")
        return record
    except FileNotFoundError:
        return {}
    except (InputError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            path,
            "the file is damaged",
            hint="Remove the file. Without the file, unbraid cannot tell which tracks this run has used for training.",
        ) from error
