"""Sources of data sets whose tracks have different instruments: every track gets the same sources.

Chosen instruments stay sources of their own and all others are summed to `other`. A source that a track does not have is silent
in that track.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from unbraid.data.layouts.metadata import Metadata
from unbraid.data.tracks import AudioStream
from unbraid.runs.errors import InputError, unknown

OTHER = "other"
Sources = dict[str, tuple[AudioStream, ...]]


def source_name(metadata: Metadata, key: str) -> str:
    """Return the source name of an instrument in metadata: `Strings (continued)` is `strings_continued`.

    Args:
        metadata: mapping that names the instrument.
        key: key of the name.

    Raises:
        InputError: the key is missing, or its value has neither letters nor digits.
    """
    name = re.sub(r"[\W_]+", "_", metadata.text(key).lower()).strip("_")
    if not name:
        raise metadata.wrong(key, "the name of an instrument")
    return name


def group_sources(tracks: Mapping[str, Sources], keep: Sequence[str] | None, known: Collection[str]) -> dict[str, Sources]:
    """Return the same sources for every track.

    Args:
        tracks: streams of each instrument, by track name.
        keep: instruments that stay sources of their own; all others are summed to `other`. None: every instrument is a source.
        known: instruments that the data set is published with, which may be kept even if no track has them.

    Raises:
        InputError: an instrument to keep does not exist, or none is given.
    """
    present = sorted({name for sources in tracks.values() for name in sources})
    if keep is None:
        return {track: {name: sources.get(name, ()) for name in present} for track, sources in tracks.items()}
    if not keep:
        raise InputError("sources", "empty", expected="names of instruments, or null for all")
    for name in keep:
        if name not in {*present, *known, OTHER}:
            raise InputError("sources", found=name, expected="instruments of the data", hint=unknown(name, {*present, *known}))
    return {track: _grouped(sources, keep) for track, sources in tracks.items()}


def _grouped(sources: Sources, keep: Sequence[str]) -> Sources:
    rest = [stream for name, streams in sorted(sources.items()) if name not in keep or name == OTHER for stream in streams]
    return {name: sources.get(name, ()) for name in keep} | {OTHER: tuple(rest)}
