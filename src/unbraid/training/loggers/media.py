"""What is heard and seen while a run trains: a fixed set of clips, which lie in `media/<epoch>/` of the run folder."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from unbraid.runs.errors import InputError
from unbraid.runs.text import echo

SHORTEST = 0.5  # seconds that can be heard, and drawn
KINDS: dict[str, Literal["audio", "pictures"]] = {".flac": "audio", ".png": "pictures"}


@dataclass(frozen=True)
class Medium:
    """One file.

    Args:
        key: `<stage>/audio/<clip>` or `<stage>/pictures/<clip>`.
        caption: which of those under this key.
        path: of the file.
    """

    key: str
    caption: str
    path: Path

    @property
    def kind(self) -> Literal["audio", "pictures"]:
        return KINDS[self.path.suffix]


def media_of(folder: Path, stage: str) -> list[Medium]:
    """All audio files and pictures below a folder; none where there is no folder."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in KINDS and not path.name.startswith("."))
    return [Medium(_key(stage, path, folder), path.stem, path) for path in found]


def _key(stage: str, path: Path, folder: Path) -> str:
    return "/".join((stage, KINDS[path.suffix], *path.relative_to(folder).parent.parts))


class Media:
    """Which clips, how often, and how much at most.

    Args:
        every_n_epochs: from the first on.
        clips: validation tracks, or batches of images, from the first on.
        seconds: of each track, where its targets are loudest.
        megabytes: of all epochs together; from there on nothing more is drawn.
    """

    def __init__(self, every_n_epochs: int, clips: int, seconds: float, megabytes: float) -> None:
        if every_n_epochs < 1:
            raise InputError(f"every_n_epochs must be at least 1, found {every_n_epochs}")
        if clips < 0:
            raise InputError(f"clips must be at least 0, found {clips}")
        if seconds < SHORTEST:
            raise InputError(f"seconds must be at least {SHORTEST}, found {seconds}")
        if megabytes <= 0:
            raise InputError(f"megabytes must be above 0, found {megabytes}")
        self.every_n_epochs, self.clips, self.seconds, self.megabytes = every_n_epochs, clips, seconds, megabytes

    def folder(self, run: Path, epoch: int) -> Path:
        """Of an epoch."""
        return run / "media" / f"{epoch:04d}"

    def is_due(self, epoch: int, run: Path) -> bool:
        """Whether this epoch leaves some; says once when all that may lie in the run folder does."""
        if not self.clips or epoch % self.every_n_epochs:
            return False
        there = sum(path.stat().st_size for path in (run / "media").rglob("*") if path.is_file())
        if there >= 1e6 * self.megabytes:
            echo(f"media   {there / 1e6:.0f} MB, no more are made; logger.media.megabytes={self.megabytes}", flush=True)
            self.clips = 0
        return self.clips > 0

    def choose(self, dataset: Any, rate: int | None) -> dict[str, Any]:
        """The clips, by name: the same in every epoch and of every run on these data.

        Args:
            dataset: whole tracks, or batches of images, by their number.
            rate: of the tracks, in Hz; None of images.
        """
        batches = {_name(dataset, number): dataset[number] for number in range(min(self.clips, len(dataset)))}
        return (
            batches if rate is None else {name: loudest(batch, round(self.seconds * rate)) for name, batch in batches.items()}
        )


def _name(dataset: Any, number: int) -> str:
    return dataset.tracks[number].name if hasattr(dataset, "tracks") else f"images {number}"


def loudest(batch: Any, samples: int) -> Any:
    """Those samples of a track in which its targets have the most energy; all of one that is not longer."""
    energies = [float(piece.square().sum()) for piece in _pieces(batch.sources, samples)]
    start = samples * energies.index(max(energies))
    return batch._replace(
        mixture=batch.mixture[..., start : start + samples].clone(), sources=batch.sources[..., start : start + samples].clone()
    )


def _pieces(sources: Tensor, samples: int) -> Iterable[Tensor]:
    """Without what is left at the end of a longer track."""
    pieces = sources.split(samples, dim=-1)
    return pieces[:1] if len(pieces) == 1 else [piece for piece in pieces if piece.shape[-1] == samples]
