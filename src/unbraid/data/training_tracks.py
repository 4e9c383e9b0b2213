"""Record the training and validation tracks of a run by their content, and find scored tracks that are among them."""

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
    """Return a hash of the samples of a track: its levels, and an excerpt of its mixture. Name and folder do not enter it."""
    start = max(0, (track.length - EXCERPT) // 2)
    key = hashlib.sha256(f"{track.shape[1:]}".encode() + track.levels()[0].tobytes())
    for channel in track.read(0, start, min(track.length, start + EXCERPT)):
        key.update(channel.tobytes())
    return key.hexdigest()[:16]


def write_training_tracks(folder: Path, splits: Mapping[str, Sequence[StoredTrack]]) -> None:
    """Write `tracks.json` into the folder of a run: the names and content keys of the tracks of each split."""
    record = {split: {track.name: content_key(track) for track in tracks} for split, tracks in splits.items()}
    with atomic_write(folder / FILE) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def tracks_trained_on(folder: Path, tracks: Sequence[StoredTrack]) -> dict[str, str]:
    """Return those of some tracks on which a run was trained or validated.

    Args:
        folder: folder of the run.
        tracks: tracks at the sample rate and with the channels of the training.

    Returns:
        Split and name of each such track in the run, by its present name. Empty if the run has not written `tracks.json`.

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
        raise InputError(path, "damaged file", hint="Remove it to score without a check for training tracks.") from error
    return {track.name: seen[key] for track in tracks if (key := content_key(track)) in seen}
