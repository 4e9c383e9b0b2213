"""Give all tracks of a data set the same sources, although the tracks have different instruments.

Each chosen instrument becomes a source. All other instruments are summed to the source `other`. A source is silent in a
track that does not have the instruments of this source.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from unbraid.data.layouts.metadata import Metadata
from unbraid.data.tracks import AudioStream
from unbraid.runs.errors import InputError, unknown

OTHER = "other"
Sources = dict[str, tuple[AudioStream, ...]]


def source_name(metadata: Metadata, key: str) -> str:
    """Convert the name of an instrument in the metadata to a source name: `Strings (continued)` becomes `strings_continued`.

    An `InputError` is raised if the key is missing, or if the name contains no letter and no digit.

    Args:
        metadata: mapping in a metadata file that contains the name of the instrument.
        key: key under which the mapping contains the name.

    Returns:
        The name in lower case. One underscore replaces each sequence of characters that are not letters or digits.
    """
    name = re.sub(r"[\W_]+", "_", metadata.text(key).lower()).strip("_")
    if not name:
        metadata.refuse(key, "the name of an instrument")
    return name


def group_sources(tracks: Mapping[str, Sources], keep: Sequence[str] | None, known: Collection[str]) -> dict[str, Sources]:
    """Assign the instruments of each track to sources, so that all tracks have the same list of sources.

    Args:
        tracks: audio streams of each instrument of each track, as two nested dictionaries: `tracks[track][instrument]`.
        keep: instruments that become sources; all others are summed to `other`. None: each instrument becomes a source.
        known: instruments of the whole published data set. These instruments are allowed in `keep`, even if they do not occur
            in `tracks`.

    Returns:
        A dictionary like `tracks`, with sources instead of instruments. A source without streams is silent.

    Raises:
        InputError: `keep` is empty, or contains an unknown instrument.
    """
    present = sorted({name for sources in tracks.values() for name in sources})
    if keep is None:
        return {track: {name: sources.get(name, ()) for name in present} for track, sources in tracks.items()}
    if not keep:
        raise InputError("sources", "the list is empty", expected="names of instruments, or null for all instruments")
    for name in keep:
        if name not in {*present, *known, OTHER}:
            raise InputError(
                "sources", "the list contains an unknown instrument", found=name, hint=unknown(name, {*present, *known})
            )
    return {track: _grouped(sources, keep) for track, sources in tracks.items()}


def _grouped(sources: Sources, keep: Sequence[str]) -> Sources:
    others = [stream for name, streams in sorted(sources.items()) if name not in keep or name == OTHER for stream in streams]
    return {name: sources.get(name, ()) for name in keep} | {OTHER: tuple(others)}
