"""Audio and pictures of a fixed set of clips, written to `media/<epoch>/` of the run folder during training."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from unbraid.runs.errors import InputError, check_counts
from unbraid.runs.text import echo

SHORTEST = 0.5  # seconds of a clip
KINDS: dict[str, Literal["audio", "pictures"]] = {".flac": "audio", ".png": "pictures"}


@dataclass(frozen=True)
class Medium:
    """Store the name and the path of one audio file or picture.

    Args:
        key: `<stage>/audio/<clip>` or `<stage>/pictures/<clip>`; several files may share a key.
        caption: name of the file without suffix, such as `vocals-estimate`.
        path: path of the file.
    """

    key: str
    caption: str
    path: Path

    @property
    def kind(self) -> Literal["audio", "pictures"]:
        """Kind of the file, from its suffix."""
        return KINDS[self.path.suffix]


def media_of(folder: Path, stage: str) -> list[Medium]:
    """Return all audio files and pictures below a folder; an empty list if the folder does not exist.

    Args:
        folder: folder that is searched recursively.
        stage: first part of the keys, such as `valid`.

    Returns:
        Media, sorted by path.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix in KINDS and not path.name.startswith("."))
    return [Medium(_key(stage, path, folder), path.stem, path) for path in paths]


def _key(stage: str, path: Path, folder: Path) -> str:
    return "/".join((stage, KINDS[path.suffix], *path.relative_to(folder).parent.parts))


class Media:
    """Select the clips of which audio and pictures are written during training.

    Args:
        every_n_epochs: number of epochs from one set of media to the next, at least 1; the first epoch has media.
        clips: number of validation tracks, or of batches of images. The first ones are used.
        seconds: length of the clip of each track. The clip is the part in which the targets are loudest.
        megabytes: largest size of the media of all epochs together; no more are written beyond it.

    Raises:
        InputError: a value is too small.
    """

    def __init__(self, every_n_epochs: int, clips: int, seconds: float, megabytes: float) -> None:
        check_counts(every_n_epochs=every_n_epochs)
        if clips < 0:
            raise InputError("clips", found=clips, expected="at least 0")
        if seconds < SHORTEST:
            raise InputError("seconds", found=seconds, expected=f"at least {SHORTEST}")
        if megabytes <= 0:
            raise InputError("megabytes", found=megabytes, expected="a number above 0")
        self.every_n_epochs, self.clips, self.seconds, self.megabytes = every_n_epochs, clips, seconds, megabytes

    def folder(self, run: Path, epoch: int) -> Path:
        """Return the folder for the media of an epoch, below the run folder."""
        return run / "media" / f"{epoch:04d}"

    def is_due(self, epoch: int, run: Path) -> bool:
        """Return whether media are written in an epoch. When the limit of megabytes is reached, print one message.

        Args:
            epoch: number of the epoch, from 0.
            run: run folder.

        Returns:
            False between two sets of media, without clips, and beyond the limit of megabytes.
        """
        if not self.clips or epoch % self.every_n_epochs:
            return False
        size = sum(path.stat().st_size for path in (run / "media").rglob("*") if path.is_file())
        if size >= 1e6 * self.megabytes:
            echo(f"media   no more clips after {size / 1e6:.0f} MB; logger.media.megabytes={self.megabytes}", flush=True)
            self.clips = 0
        return self.clips > 0

    def choose(self, dataset: Any, rate: int | None) -> dict[str, Any]:
        """Return the clips, which are the same in every epoch and in every run on these data.

        Args:
            dataset: sequence of whole tracks or of batches of images.
            rate: sample rate of the tracks in Hz; None for images.

        Returns:
            One batch per clip, by name of the track or number of the batch.
        """
        batches = {_name(dataset, number): dataset[number] for number in range(min(self.clips, len(dataset)))}
        if rate is None:
            return batches
        return {name: loudest(batch, round(self.seconds * rate)) for name, batch in batches.items()}


def _name(dataset: Any, number: int) -> str:
    return dataset.tracks[number].name if hasattr(dataset, "tracks") else f"images {number}"


def loudest(batch: Any, samples: int) -> Any:
    """Return the part of a track in which its targets have the most energy; the whole track if it is not longer.

    Args:
        batch: named tuple with `mixture` and `sources` of one track.
        samples: length of the part.

    Returns:
        Named tuple of the same type.

    Shape:
        mixture [1, C, T] -> [1, C, samples], sources [1, S, C, T] -> [1, S, C, samples].
    """
    energies = [float(piece.square().sum()) for piece in _pieces(batch.sources, samples)]
    start = samples * energies.index(max(energies))
    part = slice(start, start + samples)
    return batch._replace(mixture=batch.mixture[..., part].clone(), sources=batch.sources[..., part].clone())


def _pieces(sources: Tensor, samples: int) -> Iterable[Tensor]:
    """Return consecutive pieces of equal length; a shorter last piece is left out unless it is the only one."""
    pieces = sources.split(samples, dim=-1)
    return pieces[:1] if len(pieces) == 1 else [piece for piece in pieces if piece.shape[-1] == samples]
