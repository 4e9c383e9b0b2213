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
    """Return a hash of the audio of a track: its levels and an excerpt of its mixture, independent of name and folder."""
    start = max(0, (track.length - EXCERPT) // 2)
    key = hashlib.sha256(f"{track.shape[1:]}".encode() + track.levels()[0].tobytes())
    for channel in track.read(0, start, min(track.length, start + EXCERPT)):
        key.update(channel.tobytes())
    return key.hexdigest()[:16]


def write_training_tracks(folder: Path, splits: Mapping[str, Sequence[StoredTrack]]) -> None:
    """Write `tracks.json` into the folder of a run: the name and the audio hash of each track, by split."""
    record = {split: {track.name: content_key(track) for track in tracks} for split, tracks in splits.items()}
    with atomic_write(folder / FILE) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def tracks_trained_on(folder: Path, tracks: Sequence[StoredTrack]) -> dict[str, str]:
    """Find the tracks that a run has used for training or validation.

    Args:
        folder: folder of the run.
        tracks: tracks to check, with the sample rate and the number of channels that were used for training.

    Returns:
        A dictionary from the name of each track that was used to the split and name of this track in the run. Empty if the
        folder has no `tracks.json`.

    Raises:
        InputError: `tracks.json` is damaged.
    """
    path = folder / FILE
    try:
        record = read_json(path)
        seen = {key: f"{split}: {name}" for split, keys in record.items() for name, key in keys.items()}
    except FileNotFoundError:
        return {}
    except (InputError, AttributeError, TypeError) as error:
        raise InputError(
            path, "the file is damaged", hint="Remove the file to score without a search for training tracks."
        ) from error
    return {track.name: seen[key] for track in tracks if (key := content_key(track)) in seen}
