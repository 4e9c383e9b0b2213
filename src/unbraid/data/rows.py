"""Choose the waveforms (rows) that are read for a training chunk, and find the tracks in which a row is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unbraid.data.store import StoredTrack
from unbraid.data.targets import known_targets
from unbraid.data.tracks import MIXTURE


@dataclass(frozen=True)
class TrainingRows:
    """Choose the rows of a training chunk. A row is the waveform of the mixture or of one source.

    Args:
        tracks: tracks of the training split.
        sources: names of all sources of the data set.
        targets: weight of each source in each target, [targets, sources].
        mixed: True if the sources are augmented, or drawn from different tracks.
    """

    tracks: Sequence[StoredTrack]
    sources: Sequence[str]
    targets: Tensor
    mixed: bool

    @cached_property
    def names(self) -> list[str]:
        """Return the names of the rows.

        Usually, the rows are `mixture` and the sources that the targets contain. If `mixed` is True, or if some tracks lack a
        source, the rows are all sources without `mixture`. The mixture is then computed as the sum of the sources. If sources
        are unknown in some tracks, `mixture` is appended to these rows.
        """
        # The sources of the targets come first, in the order of the targets: targets of one source each are then views.
        used = list(dict.fromkeys(self.sources[i] for row in self.targets for i in torch.nonzero(row).flatten().tolist()))
        if not self.mixed and all({*self.sources} == {*track.sources} for track in self.tracks):
            return [MIXTURE, *used]
        others = [source for source in self.sources if source not in used and self.holds([source]).any()]
        has_songs = any(track.unknown for track in self.tracks) and self.holds([MIXTURE]).any()
        return [*used, *others, *([MIXTURE] if has_songs else [])]

    @cached_property
    def song_column(self) -> int | None:
        """Return the position of `mixture` in `drawn` if sources are unknown in some tracks, otherwise None."""
        return None if self.unknown is None else self.names.index(MIXTURE)

    @property
    def drawn(self) -> list[str]:
        """Return the rows for which tracks are drawn: the sources and, if sources are unknown in some tracks, `mixture`."""
        return [name for name in self.names if name != MIXTURE or self.song_column is not None]

    @cached_property
    def unknown(self) -> Tensor | None:
        """Return a mask of the unknown rows [tracks, rows]; None if no row is unknown in a track."""
        if MIXTURE not in self.names or not any(track.unknown for track in self.tracks):
            return None
        return torch.tensor([[name in track.unknown for name in self.names] for track in self.tracks])

    def holds(self, names: Sequence[str]) -> np.ndarray:
        """Return a mask that is True if chunks of a row can be drawn from a track.

        Chunks of a source are drawn from tracks with a recording of this source. Chunks of `mixture` are drawn from tracks that
        contain all sources, and in which at least one target is known.

        Args:
            names: names of rows.

        Shape:
            bool [tracks, names].

        Returns:
            The mask.
        """
        return np.array([[self._holds(track, name) for name in names] for track in self.tracks])

    def _holds(self, track: StoredTrack, name: str) -> bool:
        if name != MIXTURE:
            return name in track.sources and name not in track.unknown
        unknown = torch.tensor([source in track.unknown for source in self.sources])
        return {*self.sources} == {*track.sources} and bool(known_targets(self.targets, unknown).any())

    def weights(self, names: Sequence[str]) -> Tensor:
        """Return the weight of each row in each target. The weight of `mixture` is 0. Shape: [targets, names]."""
        columns = dict(zip(self.sources, self.targets.T, strict=True))
        return torch.stack([columns.get(name, torch.zeros(len(self.targets))) for name in names], dim=1)
