"""Reasons for which a track is excluded from a data set.

Tracks are excluded at two times:

- before decoding: the layout (the object that lists the tracks in the folder of a data set) excludes tracks;
- after decoding: `TrackCollection` excludes tracks whose mixture and instrumental version are not aligned in time.

For all other problems, `unbraid.data.health` returns warnings, and the tracks are used.

`scripts/prepare.py` prints the excluded tracks with the reasons, under "left out". A training run prints the same list when the
run starts.
"""

from pathlib import Path

from unbraid.data.layouts.folders import split_folders, subfolders

CHOSEN = "is listed in data.exclude"  # all layouts
# The comment names the layouts that use the reason and the option that keeps the track, if there is one.
NO_AUDIO_FILE = "has no audio file"  # stems, dnr
NO_WAV_FILE = "has no wav file"  # musdb
AUDIO_IN_SUBFOLDERS = "has audio files in subfolders only, set data.layout.sources to read them"  # stems
OUTSIDE_SPLITS = "is not in one of the folders train, valid and test"  # stems, singles
ONLY_A_MIXTURE = "has only a mixture"  # stems
NO_KNOWN_TARGET = "has no recording of a target"  # validation and test tracks of stems with data.layout.missing=unknown
NO_STEM = "has no stem"  # moisesdb
NO_CHOSEN_STEM = "has none of the stems in data.layout.instruments"  # msst
BLEED = "its recordings contain other instruments (bleed)"  # moisesdb, medleydb; kept by data.layout.bleed=keep
IN_OMITTED = "is in omitted/"  # slakh; kept by data.layout.omitted=train
MIDI_IS_HELD_OUT = "its MIDI file is also in a validation or test track"  # slakh
NOT_ALIGNED = "mixture and instrumental are not aligned"  # pairs; see `Alignment.good` in data/health/alignment.py


def missing(name: str) -> str:
    """Return the reason for excluding a track that lacks the file or the source `name`."""
    return f"has no {name}"


def voices_and_instruments(file: str) -> str:
    """Return the reason for excluding a track of MedleyDB: the stem file `file` contains both voices and instruments."""
    return f"{file} contains voices and instruments"


def outside_splits(root: Path) -> dict[str, str]:
    """Find the subfolders of a data set except `train`, `valid` and `test`. The found subfolders are excluded.

    The result is a dictionary from the name of each excluded subfolder to the reason. The result is empty if none of the
    folders `train`, `valid` and `test` exists.
    """
    splits = split_folders(root)
    return {folder.name: OUTSIDE_SPLITS for folder in subfolders(root) if splits and folder.name not in splits}
