"""Choose the validation clips, and the epochs in which the model is applied to the clips.

A clip is a short part of a track, or a batch of images. The estimated audio and pictures are written to `media/` in the run
folder.
"""

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
    """Store the name and the path of one audio file or picture of a clip.

    Args:
        key: name under which loggers show the file, `<stage>/audio/<clip>` or `<stage>/pictures/<clip>`, for example
            `valid/audio/song`. Several files may have the same key.
        caption: name of the file without suffix, such as `vocals-estimate`.
        path: path of the file.
    """

    key: str
    caption: str
    path: Path

    @property
    def kind(self) -> Literal["audio", "pictures"]:
        """Kind of the file: `audio` for the suffix `.flac`, `pictures` for `.png`."""
        return KINDS[self.path.suffix]


def media_of(folder: Path, stage: str) -> list[Medium]:
    """Find all audio files (`.flac`) and pictures (`.png`) below a folder.

    Args:
        folder: folder that is searched recursively.
        stage: first part of `Medium.key`, such as `valid`.

    Returns:
        Audio files and pictures, sorted by path; an empty list if the folder does not exist.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix in KINDS and not path.name.startswith("."))
    return [Medium(_key(stage, path, folder), path.stem, path) for path in paths]


def _key(stage: str, path: Path, folder: Path) -> str:
    return "/".join((stage, KINDS[path.suffix], *path.relative_to(folder).parent.parts))


class Media:
    """Choose the validation clips, and the epochs in which audio and pictures of the clips are written.

    Args:
        every_n_epochs: number of epochs between two sets of audio and pictures, at least 1. The first set is made in epoch 0.
        clips: number of clips. For audio, a clip is a part of a validation track. For images, a clip is a whole batch of
            validation images. The first tracks or batches are used.
        seconds: length of the clip of a track, in seconds, at least 0.5. The clip is the part with the loudest targets.
        megabytes: limit on the size of all audio and pictures of a run, in MB. When the limit is reached, no more files are
            written.

    Raises:
        InputError: a value is below its minimum.
    """

    def __init__(self, every_n_epochs: int, clips: int, seconds: float, megabytes: float) -> None:
        check_counts(every_n_epochs=every_n_epochs)
        if clips < 0:
            raise InputError("clips", found=clips, expected="at least 0 clips")
        if seconds < SHORTEST:
            raise InputError("seconds", found=seconds, expected=f"at least {SHORTEST} s for each clip")
        if megabytes <= 0:
            raise InputError("megabytes", found=megabytes, expected="a size limit above 0 MB")
        self.every_n_epochs, self.clips, self.seconds, self.megabytes = every_n_epochs, clips, seconds, megabytes

    def folder(self, run: Path, epoch: int) -> Path:
        """Return the folder for the audio and pictures of an epoch: `media/<epoch>` in the run folder."""
        return run / "media" / f"{epoch:04d}"

    def is_due(self, epoch: int, run: Path) -> bool:
        """Return True if audio and pictures are written in an epoch. Print a message when the size limit is reached.

        Args:
            epoch: number of the epoch, from 0.
            run: run folder.

        Returns:
            False if the epoch is not a multiple of `every_n_epochs`, if `clips` is 0, or if the files of the run have reached
            the limit `megabytes`. Otherwise True.
        """
        if not self.clips or epoch % self.every_n_epochs:
            return False
        size = sum(path.stat().st_size for path in (run / "media").rglob("*") if path.is_file())
        if size >= 1e6 * self.megabytes:
            echo(f"media   no more clips after {size / 1e6:.0f} MB; logger.media.megabytes={self.megabytes}", flush=True)
            self.clips = 0
        return self.clips > 0

    def choose(self, dataset: Any, rate: int | None) -> dict[str, Any]:
        """Return the clips of a data set. The clips are the same in every epoch, and in every run with the same data.

        Args:
            dataset: validation data, a sequence of whole tracks or of batches of images.
            rate: sample rate of the tracks in Hz; None for images.

        Returns:
            Dictionary from the name of each clip to its batch. The name of a clip is the name of its track, or `images
            <number>` for the batch of images with this number.
        """
        batches = {_name(dataset, number): dataset[number] for number in range(min(self.clips, len(dataset)))}
        if rate is None:
            return batches
        return {name: loudest(batch, round(self.seconds * rate)) for name, batch in batches.items()}


def _name(dataset: Any, number: int) -> str:
    return dataset.tracks[number].name if hasattr(dataset, "tracks") else f"images {number}"


def loudest(batch: Any, samples: int) -> Any:
    """Return the part of a track in which the targets have the most energy.

    If the track is shorter than `samples`, the whole track is returned.

    Args:
        batch: named tuple with `mixture` and `sources` of one track.
        samples: length of the part in samples.

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
    """Split sources into pieces of `samples` samples. A shorter last piece is dropped, unless it is the only piece."""
    pieces = sources.split(samples, dim=-1)
    return pieces[:1] if len(pieces) == 1 else [piece for piece in pieces if piece.shape[-1] == samples]
