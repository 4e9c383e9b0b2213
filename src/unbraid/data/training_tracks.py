"""The record of the tracks that a run was trained and validated on, by content, and the scored tracks that are among them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from unbraid.data.store import StoredTrack
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write

FILE = "tracks.json"
EXCERPT = 2**16  # samples of the mixture's middle that are part of a key


def content_key(track: StoredTrack) -> str:
    """Return a hash of what a track sounds like at its rate, whatever its name and folder: levels, and an excerpt."""
    start = max(0, (track.length - EXCERPT) // 2)
    found = hashlib.sha256(f"{track.shape[1:]}".encode() + track.levels()[0].tobytes())
    for channel in track.read(0, start, min(track.length, start + EXCERPT)):
        found.update(channel.tobytes())
    return found.hexdigest()[:16]


def write_training_tracks(folder: Path, splits: Mapping[str, Sequence[StoredTrack]]) -> None:
    """Write `tracks.json` in the folder of a run: for each split the names of its tracks and their content keys."""
    record = {split: {track.name: content_key(track) for track in tracks} for split, tracks in splits.items()}
    with atomic_write(folder / FILE) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def tracks_trained_on(folder: Path, tracks: Sequence[StoredTrack]) -> dict[str, str]:
    """Return which of these tracks a run has seen: the split and name it had there, by its name now; {} without a record.

    Args:
        folder: folder of the run.
        tracks: tracks at the rate and with the channels of the training.

    Raises:
        InputError: the record is damaged.
    """
    path = folder / FILE
    try:
        record = read_json(path)
        seen = {key: f"{split}: {name}" for split, keys in record.items() for name, key in keys.items()}
    except FileNotFoundError:
        return {}
    except (InputError, AttributeError, TypeError) as error:
        raise InputError(path, "is damaged", hint="Remove it to score without a check for training tracks.") from error
    return {track.name: seen[key] for track in tracks if (key := content_key(track)) in seen}
