"""Show what a layout has listed, and refuse listings that nothing can be trained on."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unbraid.data.store import StoredTrack
from unbraid.data.tracks import MIXTURE, SPLITS, AudioStream, Layout, Listing, Split, Track, few
from unbraid.runs.errors import InputError, LayoutError

LEAST_SHARE = 0.1  # of the tracks, for valid and for test: of three tracks it takes one each


def outline(listing: Listing, root: Path) -> str:
    """Return the tracks by split with the files of each source, and all that is left out, noticed or refused.

    Args:
        listing: result of a layout.
        root: folder of the data set; paths in it are shown without it.
    """
    lines: list[str] = []
    for split in SPLITS:
        tracks = [track for track in listing.tracks if track.split == split]
        lines.append(f"{split} ({len(tracks)} tracks)")
        for track in tracks:
            lines += _track_lines(track, root)
    lines += section("left out", [f"{name}: {reason}" for name, reason in listing.left_out.items()], root)
    lines += section("messages", listing.messages, root)
    lines += section("to be resolved", [str(error) for error in listing.refused], root)
    return "\n".join(lines)


def section(title: str, entries: Sequence[str], root: Path) -> list[str]:
    """Return a heading with the number of entries, and a line for each; nothing if there are none."""
    return ["", f"{title} ({len(entries)})", *(f"  {without_root(entry, root)}" for entry in entries)] if entries else []


def without_root(text: str, root: Path) -> str:
    """Return text with the paths in it shortened to those below the root."""
    return text.replace(f"{root}{os.sep}", "")


def _track_lines(track: Track, root: Path) -> Iterator[str]:
    paths = [stream.path for streams in [*track.sources.values(), _own(track)] for stream in streams]
    folder = Path(os.path.commonpath([path.parent for path in paths])) if paths else root
    yield f"  {track.name}  ({os.path.relpath(folder, root)})"
    rows = {name: _spelled(streams, folder) or "no file: silence" for name, streams in track.sources.items()}
    if track.residual:
        rows[track.residual] = "the mixture less all other sources"
    rows = dict(sorted(rows.items())) | {MIXTURE: _spelled(_own(track), folder) or "the sum of the sources"}
    width = max(map(len, rows))
    for name, files in rows.items():
        yield f"    {name:{width}}  {files}"


def _own(track: Track) -> tuple[AudioStream, ...]:
    return (track.mixture,) if track.mixture else ()


def _spelled(streams: Sequence[AudioStream], folder: Path) -> str:
    return " + ".join(
        f"{stream.path.relative_to(folder)}"
        + (f" [stream {stream.stream}]" if stream.stream else "")
        + ("" if stream.channel is None else f" [channel {stream.channel}]")
        for stream in streams
    )


def check_refused(listing: Listing) -> None:
    """Raise the first of the errors that a user must resolve, with the number of the others."""
    if not listing.refused:
        return
    error, others = listing.refused[0], len(listing.refused) - 1
    more = f"There are {others} more errors of this data set; scripts/prepare.py with dry_run=true lists them" if others else ""
    hint = ". ".join(text for text in (error.hint, more) if text)
    raise InputError(error.where, error.problem, found=error.found, expected=error.expected, hint=hint)


def empty_split(root: Path, split: Split, counts: Mapping[Split, int], drawn: bool, left_out: Mapping[str, str]) -> InputError:
    """Return the error for a data set without tracks in a split.

    Args:
        root: folder of the data set.
        split: the split without tracks.
        counts: number of tracks by split.
        drawn: whether the options `valid` and `test` of the layout choose the splits.
        left_out: names of tracks that are left out, with the reason.
    """
    total = sum(counts.values())
    found = f"{total} tracks ({', '.join(f'{counts[name]} {name}' for name in SPLITS)})"
    if left_out:
        found += f"; left out: {few(f'{name} ({reason})' for name, reason in left_out.items())}"
    if total < len(SPLITS):
        hint = (
            f"Add at least {len(SPLITS) - total} more. To try out a single song, copy its folder into train/, valid/ and test/ "
            "and use data=stems: names may repeat there, but such scores say nothing about other songs"
        )
    elif drawn:
        share = f"data.layout.valid={LEAST_SHARE} data.layout.test={LEAST_SHARE}"
        hint = f"Set {share}, or lists of names that leave tracks for training, such as data.layout.valid=[name]"
    else:
        hint = f"The data set has splits of its own: move tracks to {root / split}, or to {split} in its table"
    expected = f"at least {len(SPLITS)}, one in each split"
    return InputError(f"data.root={root}", f"has no tracks in its {split} split", found=found, expected=expected, hint=hint)


def list_tracks(layout: Layout, root: Path) -> Listing:
    """List the tracks under a root, with the errors that a user must resolve. Nothing is decoded.

    Raises:
        InputError: the root is not a folder, or the layout finds no tracks in it.
    """
    if not root.is_dir():
        raise InputError(f"data.root={root}: {'is a file' if root.exists() else 'no such folder'}")
    try:
        listing = layout.tracks(root)
    except InputError as error:
        raise error_of_layout(error, layout, root) from error
    return replace(listing, refused=[error_of_layout(error, layout, root) for error in listing.refused])


def options_of(layout: Layout) -> Mapping[str, Any]:
    """Return the options of a layout by name."""
    return vars(layout) if hasattr(layout, "__dict__") else {}


def error_of_layout(error: InputError, layout: Layout, root: Path) -> InputError:
    """Return a `LayoutError` if an error is about the root, else the error with the whole key of an option in front."""
    where, problem, kind = error.where, error.problem, type(error)
    if where == str(root):
        kind = LayoutError
    elif where.startswith(f"{root}: "):  # a whole sentence
        where, problem, kind = str(root), where.removeprefix(f"{root}: "), LayoutError
    elif re.split(r"[:. ]", where)[0] in options_of(layout):
        where = f"data.layout.{where}"
    return kind(where, problem, found=error.found, expected=error.expected, hint=error.hint)


def left_out_text(left_out: Mapping[str, str]) -> str:
    """Return how many tracks are left out, and the first few with the reason."""
    return f"{len(left_out)} tracks: {few(f'{name} ({reason})' for name, reason in left_out.items())}"


def repair_notices(tracks: Sequence[StoredTrack]) -> list[str]:
    """Return a line for each kind of repair that decoding made."""
    repaired: dict[str, list[str]] = {}
    for track in tracks:
        for kind in track.repairs:
            repaired.setdefault(kind, []).append(track.name)
    return [f"{kind}: {len(names)} tracks ({few(names)})" for kind, names in sorted(repaired.items())]


def sources_of(tracks: Sequence[Track]) -> list[str]:
    return sorted({name for track in tracks for name in track.source_names})
