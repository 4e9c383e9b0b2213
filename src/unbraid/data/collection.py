"""Collect the tracks of a data set: list the tracks, check the list, decode the tracks, and open the decoded tracks.

A layout is an object that knows the folder structure of a data set and lists the tracks. The store is a folder in which the
decoded tracks are cached.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from unbraid.data import listings
from unbraid.data.excluded_tracks import NO_KNOWN_TARGET, NOT_ALIGNED
from unbraid.data.garbage import without_collector
from unbraid.data.roots import places_in, remember
from unbraid.data.store import Store, StoredTrack
from unbraid.data.targets import known_targets, target_matrix
from unbraid.data.tracks import SPLITS, Layout, Listing, OfflineChange, Split, Track
from unbraid.runs.errors import InputError


class TrackCollection:
    """List the tracks of a data set, check the list, and open the tracks. Tracks are decoded at the first use.

    Args:
        layout: object that knows the folder structure of the data set and lists the tracks in `root`.
        root: folder of the data set.
        download: whether `layout` downloads or renders the data set if `root` does not contain it.
        targets: dictionary from the name of each target to a list of source names, see `target_matrix`.
        changes: changes of pitch and tempo, and effects; each adds a copy of every training track.
        store: store of the decoded tracks: the folder, the sample rate and the number of channels.
        exclude: names of tracks that are not used.
    """

    def __init__(
        self,
        layout: Layout,
        root: Path,
        download: bool,
        targets: Mapping[str, list[str]],
        changes: Sequence[OfflineChange],
        store: Store,
        exclude: Sequence[str] = (),
    ) -> None:
        self.layout, self.root, self.download, self.targets = layout, root, download, targets
        self.changes, self.store, self.exclude = changes, store, exclude
        self.sources: list[str] = []
        self.left_out: dict[str, str] = {}
        self.messages: list[str] = []
        self._own_splits = False
        self._opened: list[StoredTrack] | None = None

    def prepare(self) -> None:
        """Download the data set if `download` is set, check its files, and decode its tracks with a progress bar."""
        if self._opened is None:
            self._fetch()
        self.open(progress=True)

    def open(self, progress: bool) -> list[StoredTrack]:
        """Open the tracks of all splits and the copies of training tracks by offline augmentation.

        The first call decodes the tracks that are not in the store (the folder of decoded tracks) yet.

        Args:
            progress: whether a progress bar is shown.

        Returns:
            All tracks and copies, including tracks whose mixture and instrumental version are not aligned in time.
        """
        if self._opened is None:
            self._opened = self.store.open(self._list(SPLITS), progress)
            self._remember()
            self.keep_aligned(self._opened)
        return self._opened

    def drop_damaged(self) -> list[Track]:
        """Compare the decoded tracks in the store with their checksums. Delete the damaged ones, and return their tracks."""
        self._fetch()
        return self.store.drop_damaged(self._list(SPLITS))

    def open_split(self, split: Split, sample_rate: int, channels: int, progress: bool) -> list[StoredTrack]:
        """Open the tracks of one split. Copies by offline augmentation and tracks of other splits are not decoded.

        Args:
            split: split to open.
            sample_rate: sample rate of the tracks, in Hz.
            channels: number of channels of the tracks.
            progress: whether a progress bar is shown while tracks are decoded.

        Returns:
            The tracks of the split. A track whose mixture and instrumental version are not aligned in time is left out.
        """
        self._fetch()
        tracks = [track for track in self._list([split]) if track.split == split and track.change is None]
        stored = self.keep_aligned(self.store.at(sample_rate, channels).open(tracks, progress))
        self._remember()
        self.check_splits(stored, [split])
        return stored

    def listing(self) -> Listing:
        """List the tracks of the data set, and the errors that the user must resolve. Audio files are not decoded."""
        return listings.without_tracks(listings.list_tracks(self.layout, self.root), self.exclude)

    def check(self, listing: Listing, splits: Sequence[Split]) -> list[Track]:
        """Check that the listed tracks can be used, and store the source names of the data set in this object.

        The messages and the excluded tracks of the listing are stored too. A validation or test track is excluded if none of
        the targets is known in this track.

        Args:
            listing: tracks, excluded tracks, messages and errors that were found in the folder of the data set.
            splits: splits that must contain tracks.

        Returns:
            The listed tracks without the excluded tracks.

        Raises:
            InputError: the listing has errors, one of `splits` is empty, a target contains a source that the data set lacks, a
                target is unknown in all training tracks, or a validation or test track lacks a source.
        """
        self.left_out |= listing.left_out
        self.messages, self._own_splits = [*listing.messages], listing.own_splits
        listings.check_refused(listing)
        self.check_splits(listing.tracks, splits)
        self.sources = listings.sources_of(listing.tracks)
        weights = target_matrix(self.targets, self.sources)
        for track in listing.tracks:
            if track.split != "train" and (missing := {*self.sources} - {*track.source_names, *track.unknown}):
                raise InputError(
                    track.name,
                    f"this track of the {track.split} split lacks the source '{min(missing)}', but other tracks have it",
                    hint="Add a file of this source, or remove the track.",
                )
        if not any(track.unknown for track in listing.tracks):
            return listing.tracks
        return self._with_known_targets(listing.tracks, weights, splits)

    def _with_known_targets(self, tracks: Sequence[Track], weights: Tensor, splits: Sequence[Split]) -> list[Track]:
        """Exclude the validation and test tracks in which no target is known. Check that training tracks know each target."""
        unknown = torch.tensor([[source in track.unknown for source in self.sources] for track in tracks])
        known = known_targets(weights, unknown)
        in_training = known[[track.split == "train" for track in tracks]]
        for name, has_tracks in zip(self.targets, in_training.any(dim=0).tolist(), strict=True):
            if len(in_training) and not has_tracks:
                problem = "this target is unknown in all training tracks"
                raise InputError(f"targets.{name}", problem, hint="Add recordings of its sources, or remove this target")
        usable = [track.split == "train" or bool(any_known) for track, any_known in zip(tracks, known.any(dim=1), strict=True)]
        self.left_out |= {track.name: NO_KNOWN_TARGET for track, used in zip(tracks, usable, strict=True) if not used}
        kept = [track for track, used in zip(tracks, usable, strict=True) if used]
        self.check_splits(kept, splits)
        return kept

    def check_splits(self, tracks: Sequence[Track | StoredTrack], splits: Sequence[Split]) -> None:
        """Raise an InputError if a split in `splits` contains no track of `tracks`."""
        counts = {split: sum(track.split == split for track in tracks) for split in SPLITS}
        for split in splits:
            if not counts[split]:
                drawn = "valid" in listings.options_of(self.layout) and not self._own_splits
                raise listings.empty_split(self.root, split, counts, drawn, self.left_out)

    def keep_aligned(self, tracks: Sequence[StoredTrack]) -> list[StoredTrack]:
        """Return the tracks that can be used, and add all other tracks to the excluded tracks (`left_out`).

        A track cannot be used if its mixture and its instrumental version are not aligned in time.
        """
        misaligned = (track.name for track in tracks if not track.aligned)
        self.left_out |= dict.fromkeys(misaligned, NOT_ALIGNED)
        return [track for track in tracks if track.aligned]

    def notices(self, tracks: Sequence[StoredTrack]) -> list[str]:
        """Return messages about the files of the data set, and about the changes that decoding made to `tracks`.

        The result has one line for each message, and one line for each kind of change, such as padding with silence.
        """
        messages = [listings.without_root(message, self.root) for message in self.messages]
        return messages + listings.repair_notices(tracks)

    def _fetch(self) -> None:
        """Download or render the data set with the method `fetch` of the layout. Do nothing if `download` is False."""
        if self.download:
            try:
                self.layout.fetch(self.root)
            except InputError as error:
                raise listings.error_of_layout(error, self.layout, self.root) from error

    @without_collector()
    def _list(self, splits: Sequence[Split]) -> list[Track]:
        """List the tracks of all splits, and add the copies of the training tracks by offline augmentation.

        An `InputError` is raised if a split in `splits` contains no track.
        """
        tracks = self.check(self.listing(), splits)
        return tracks + [_changed(track, change) for change in self.changes for track in tracks if track.split == "train"]

    def _remember(self) -> None:
        """Add the paths of this data set to `roots.jsonl`, the list of the paths from which this user has read data.

        A later command may read a path in this list, even if the user does not type the path again. See `unbraid.data.roots`.
        """
        remember([str(self.root), *places_in(listings.options_of(self.layout))])


def _changed(track: Track, change: OfflineChange) -> Track:
    """Return a copy of a track by offline augmentation. Its mixture is the sum of its sources, so no source is unknown."""
    sources = {**track.sources, **dict.fromkeys(track.unknown, ())}
    return replace(track, name=f"{track.name} ({change.name})", change=change, sources=sources, unknown=())
