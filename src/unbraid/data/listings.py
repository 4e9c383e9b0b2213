"""Describe the tracks of a data set for the user, and raise errors about data sets that cannot be used for training."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unbraid.data.excluded_tracks import CHOSEN
from unbraid.data.store import StoredTrack
from unbraid.data.tracks import MIXTURE, SPLITS, AudioStream, Layout, Listing, Split, Track, few
from unbraid.runs.errors import InputError, LayoutError, closest
from unbraid.runs.files import check_folder

SMALL_SHARE = 0.1  # share of valid and of test in a hint; of three tracks it takes one for each


def outline(listing: Listing, root: Path) -> str:
    """Describe a data set as text: the tracks of each split with their files, excluded tracks, messages, errors and hints.

    Args:
        listing: tracks, excluded tracks, messages and errors that were found in the folder of the data set.
        root: folder of the data set. The paths in the returned text are relative to this folder.

    Returns:
        The text, with one line for each file, excluded track, message or error. A hint of several errors is one line.
    """
    lines: list[str] = []
    for split in SPLITS:
        tracks = [track for track in listing.tracks if track.split == split]
        lines.append(f"{split} ({len(tracks)} tracks)")
        for track in tracks:
            lines += _track_lines(track, root)
    lines += section("left out", [f"{name}: {reason}" for name, reason in listing.left_out.items()], root)
    lines += section("messages", listing.messages, root)
    lines += section("to be resolved", [_without_hint(error) for error in listing.refused], root)
    hints = dict.fromkeys(error.hint for error in listing.refused if error.hint)
    lines += section("hints", [*hints], root)
    return "\n".join(lines)


def _without_hint(error: InputError) -> str:
    return str(InputError(error.where, error.problem, found=error.found, expected=error.expected))


def section(title: str, entries: Sequence[str], root: Path) -> list[str]:
    """Format one section of a text as lines: an empty line, a heading with the number of entries, and the entries.

    Args:
        title: title of the section.
        entries: text of each entry of the section.
        root: folder of the data set. The function shortens the paths in the entries to paths relative to this folder.

    Returns:
        The lines, empty if `entries` is empty.
    """
    return ["", f"{title} ({len(entries)})", *(f"  {without_root(entry, root)}" for entry in entries)] if entries else []


def without_root(text: str, root: Path) -> str:
    """Shorten the paths in a text: remove the path of the data set (`root`) from the beginning of each path."""
    return text.replace(f"{root}{os.sep}", "")


def _track_lines(track: Track, root: Path) -> Iterator[str]:
    paths = [stream.path for streams in [*track.sources.values(), _mixture_streams(track)] for stream in streams]
    folder = Path(os.path.commonpath([path.parent for path in paths])) if paths else root
    yield f"  {track.name}  ({os.path.relpath(folder, root)})"
    rows = {name: _spelled(streams, folder) or "no file: silence" for name, streams in track.sources.items()}
    rows |= dict.fromkeys(track.unknown, "no file: unknown")
    if track.residual:
        rows[track.residual] = "the mixture minus all other sources"
    rows = dict(sorted(rows.items())) | {MIXTURE: _spelled(_mixture_streams(track), folder) or "the sum of the sources"}
    width = max(map(len, rows))
    for name, files in rows.items():
        yield f"    {name:{width}}  {files}"


def _mixture_streams(track: Track) -> tuple[AudioStream, ...]:
    return (track.mixture,) if track.mixture else ()


def _spelled(streams: Sequence[AudioStream], folder: Path) -> str:
    return " + ".join(
        f"{stream.path.relative_to(folder)}"
        + (f" [stream {stream.stream}]" if stream.stream else "")
        + ("" if stream.channel is None else f" [channel {stream.channel}]")
        for stream in streams
    )


def check_refused(listing: Listing) -> None:
    """Raise the first error in `listing.refused`, if there is an error.

    If there are more errors, the raised error also states the number of other errors and a command that prints all errors.

    Args:
        listing: tracks and errors that were found in the folder of a data set.

    Raises:
        InputError: the listing has errors.
    """
    if not listing.refused:
        return
    error, others = listing.refused[0], len(listing.refused) - 1
    more = f"scripts/prepare.py with dry_run=true lists {others} more errors of this data set." if others else ""
    hint = " ".join(text for text in (error.hint, more) if text)
    raise InputError(error.where, error.problem, found=error.found, expected=error.expected, hint=hint)


def empty_split(root: Path, split: Split, counts: Mapping[Split, int], drawn: bool, left_out: Mapping[str, str]) -> InputError:
    """Return the error about a data set in which a split contains no tracks.

    Args:
        root: folder of the data set.
        split: split without tracks.
        counts: number of tracks in each split.
        drawn: True if the options `data.layout.valid` and `data.layout.test` define the splits, not folders or a table.
        left_out: names of excluded tracks, with the reason.

    Returns:
        The error, with a hint that depends on the number of tracks and on `drawn`.
    """
    total = sum(counts.values())
    found = f"{total} tracks ({', '.join(f'{counts[name]} {name}' for name in SPLITS)})"
    if left_out:
        found += f"; left out: {few(f'{name} ({reason})' for name, reason in left_out.items())}"
    if total < len(SPLITS):
        hint = (
            f"Add at least {len(SPLITS) - total} more track(s). To try a single song, copy its folder into train/, valid/ and "
            "test/, and use data=stems, which allows equal names. Scores of such a run are not valid for other songs."
        )
    elif drawn:
        share = f"data.layout.valid={SMALL_SHARE} data.layout.test={SMALL_SHARE}"
        hint = f"Set {share}, or shorter lists of track names, such as data.layout.valid=[name]."
    else:
        hint = f"Folders or a table define the splits: move tracks to {root / split}, or write {split} into the column split."
    expected = f"at least {len(SPLITS)}, one in each split"
    return InputError(f"data.root={root}", f"the {split} split contains no tracks", found=found, expected=expected, hint=hint)


def list_tracks(layout: Layout, root: Path) -> Listing:
    """List the tracks in the folder of a data set, and the errors that the user must resolve. No audio file is decoded.

    An `InputError` is raised if `root` is not a folder. An error about an option of the layout names the full key of this
    option (`data.layout.<option>`).
    """
    check_folder(f"data.root={root}", root)
    try:
        listing = layout.tracks(root)
    except InputError as error:
        raise error_of_layout(error, layout, root) from error
    return replace(listing, refused=[error_of_layout(error, layout, root) for error in listing.refused])


def without_tracks(listing: Listing, names: Sequence[str]) -> Listing:
    """Move tracks of a listing to its excluded tracks.

    Args:
        listing: tracks that were found in the folder of a data set.
        names: names of the tracks to exclude.

    Returns:
        The listing without the tracks.

    Raises:
        InputError: the listing contains no track of a name.
    """
    known = {*listing.left_out, *(track.name for track in listing.tracks)}
    if wrong := next((name for name in names if name not in known), None):
        similar = closest(wrong, known)
        hint = f"did you mean '{similar}'?" if similar else "scripts/prepare.py with dry_run=true lists the names of all tracks"
        raise InputError("data.exclude", "the data set has no track of this name", found=wrong, hint=hint)
    tracks = [track for track in listing.tracks if track.name not in names]
    return replace(listing, tracks=tracks, left_out={**listing.left_out, **dict.fromkeys(names, CHOSEN)})


def options_of(layout: Layout) -> Mapping[str, Any]:
    """Return the options of a layout (`data.layout.*` in the config) as a dictionary from name to value."""
    return vars(layout) if hasattr(layout, "__dict__") else {}


def error_of_layout(error: InputError, layout: Layout, root: Path) -> InputError:
    """Convert an error of a layout (a class that lists data sets) to the error that the user sees.

    Args:
        error: error that the layout raised or returned.
        layout: layout of the data set.
        root: folder of the data set.

    Returns:
        The converted error. An error about the root becomes a `LayoutError` (the files do not match the layout). An error about
        an option of the layout gets the key `data.layout.<option>`. Any other error is unchanged.
    """
    where, kind = error.where, type(error)
    if where == str(root):
        kind = LayoutError
    elif where.partition(".")[0] in options_of(layout):
        where = f"data.layout.{where}"
    return kind(where, error.problem, found=error.found, expected=error.expected, hint=error.hint)


def left_out_text(left_out: Mapping[str, str]) -> str:
    """Return a text about the excluded tracks: their number, and the first three names with the reasons."""
    return f"{len(left_out)} tracks: {few(f'{name} ({reason})' for name, reason in left_out.items())}"


def repair_notices(tracks: Sequence[StoredTrack]) -> list[str]:
    """Return one line for each kind of repair (such as padding) that decoding made.

    A line contains the number of the repaired tracks and some of their names.
    """
    repaired: dict[str, list[str]] = {}
    for track in tracks:
        for kind in track.repairs:
            repaired.setdefault(kind, []).append(track.name)
    return [f"{kind}: {len(names)} tracks ({few(names)})" for kind, names in sorted(repaired.items())]


def sources_of(tracks: Sequence[Track]) -> list[str]:
    """Return the names of all sources that occur in the tracks, sorted."""
    return sorted({name for track in tracks for name in track.source_names})
