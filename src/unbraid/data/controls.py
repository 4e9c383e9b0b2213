"""Extract pitch and loudness over time (the controls) of monophonic tracks, and cache the controls on disk.

The controls are the input of the synthesizer of one instrument (DDSP: Engel et al. 2020).
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from unbraid.data.parallel import cores, in_processes
from unbraid.data.store import StoredTrack
from unbraid.dsp.pitch import Pitch
from unbraid.dsp.synthesis import loudness
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write

VERSION = 1
SHORTEST_SECONDS = 0.04  # shortest duration of a pitch; shorter detections are errors of the pitch detector
SOUNDING_DB = 60.0  # control points this far below the loudest one are silence, even if a pitch is detected there


class Controls(NamedTuple):
    """Pitch and loudness of a monophonic sound at equally spaced points in time, the control points.

    Args:
        f0: pitch (fundamental frequency) in Hz.
        loudness: A-weighted loudness in dB.
        periodicity: confidence of the pitch detector that the sound has a pitch, in [0, 1].

    Shape:
        f0, loudness, periodicity: [F] for a track, [B, F] for a batch; F is the number of control points.
    """

    f0: Tensor
    loudness: Tensor
    periodicity: Tensor


class Extraction:
    """Extract pitch and loudness over time (the controls) from waveforms, for the synthesizer of one instrument (DDSP).

    Args:
        sample_rate: sample rate of the waveforms, in Hz.
        channels: number of audio channels, must be 1.
        chunk_seconds: length of a training chunk in seconds; a chunk must contain at least two control points.
        frames_per_second: number of control points (values of pitch and loudness) per second, at most `sample_rate` / 16. The
            distance between two control points is rounded to a whole number of samples.
        pitch: pitch detector.
        voicing: threshold for the confidence of the pitch detector, above 0 and below 1. A control point with a lower
            confidence counts as a point without pitch.

    Raises:
        InputError: an argument is out of range.
    """

    kind = "audio"

    def __init__(
        self, sample_rate: int, channels: int, chunk_seconds: float, frames_per_second: float, pitch: Pitch, voicing: float
    ) -> None:
        if channels != 1:
            raise InputError(
                "channels", "pitch and loudness can only be extracted from a single channel", found=channels, expected="1"
            )
        if not 1 <= frames_per_second <= sample_rate / 16:
            expected = f"a number from 1 to a sixteenth of the sample rate ({sample_rate // 16})"
            raise InputError("frames_per_second", "out of range", found=frames_per_second, expected=expected)
        if not 0 < voicing < 1:
            raise InputError("voicing", "out of range", found=voicing, expected="a number between 0 and 1")
        self.sample_rate, self.channels, self.pitch, self.voicing = sample_rate, channels, pitch, voicing
        self.hop_length = round(sample_rate / frames_per_second)
        if chunk_seconds * sample_rate < 2 * self.hop_length:
            expected = f"at least {2 * self.hop_length / sample_rate:g} s (the time of two control points)"
            raise InputError("chunk_seconds", "the chunk is too short", found=f"{chunk_seconds:g} s", expected=expected)

    def __call__(self, waveform: Tensor) -> Controls:
        """Extract pitch, loudness and periodicity of a waveform. In silence and noise, the pitch is arbitrary.

        Args:
            waveform: mono waveform.

        Shape:
            waveform: [T]; each tensor of the result: [T // hop_length + 1], where `hop_length` is the number of samples
            between two control points.

        Returns:
            The controls (pitch, loudness, periodicity) of the whole waveform.
        """
        hz, periodicity = self.pitch(waveform.numpy(), self.sample_rate, self.hop_length)
        levels = loudness(waveform, self.sample_rate, self.hop_length)
        return Controls(torch.from_numpy(hz), levels, torch.from_numpy(periodicity))

    def voiced(self, controls: Controls) -> Tensor:
        """Return True for each control point in a voiced passage. A passage is voiced if it has a pitch for at least 0.04 s.

        Shape: bool [F].
        """
        periodic = ((controls.periodicity >= self.voicing) & sounding(controls.loudness)).float()[None]
        width = 2 * round(SHORTEST_SECONDS * self.sample_rate / self.hop_length / 2) + 1
        narrow = 1 - functional.max_pool1d(1 - periodic, width, 1, width // 2)
        return functional.max_pool1d(narrow, width, 1, width // 2)[0] > 0

    def settled(self, controls: Controls) -> Controls:
        """Replace the pitch of all control points that are not voiced, see `voiced`.

        The new pitch is interpolated between the nearest voiced points, linearly in the logarithm of the frequency. If no point
        is voiced, the pitch of all points becomes 440 Hz.

        Args:
            controls: controls of one track, as extracted from the waveform.

        Returns:
            The controls with the new pitch. Loudness and periodicity are unchanged.
        """
        voiced = self.voiced(controls)
        points = voiced.nonzero().flatten().numpy()
        if not len(points):
            return controls._replace(f0=torch.full_like(controls.f0, 440.0))
        logs = np.interp(np.arange(len(controls.f0)), points, controls.f0.log2().numpy()[points])
        return controls._replace(f0=controls.f0.where(voiced, torch.from_numpy(2**logs).float()))

    def key(self, entry: str, sources: Sequence[str]) -> str:
        """Return the name of the cache file of a track: a hash of all values on which the controls of the track depend.

        Args:
            entry: name of the folder that contains the decoded track. This name is itself a hash.
            sources: names of the sources whose sum is analysed.

        Returns:
            24 hexadecimal digits.
        """
        parts = [VERSION, entry, *sources, self.sample_rate, self.hop_length, self.pitch]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def sounding(loudness: Tensor) -> Tensor:
    """Return True for each control point that is at most 60 dB quieter than the loudest point.

    Shape: loudness in dB [F] -> bool [F].
    """
    return loudness > max(float(loudness.max()) - SOUNDING_DB, -90.0)


@dataclass(frozen=True)
class _Job:
    track: StoredTrack
    sources: tuple[str, ...]
    extraction: Extraction
    path: Path


def controls_of(
    tracks: Sequence[StoredTrack], sources: Sequence[str], extraction: Extraction, folder: Path, progress: bool
) -> list[Controls]:
    """Return the controls (pitch and loudness over time) of each track, from cache files or by extraction.

    The controls describe the sum of the sources in `sources`. Controls that are not in the cache folder yet are extracted by
    several processes.

    Args:
        tracks: decoded tracks.
        sources: names of the sources whose sum is analysed in each track.
        extraction: settings of the extraction, such as pitch detector and sample rate.
        folder: cache folder, one `.npy` file for each track.
        progress: whether a message and a progress bar are shown while controls are extracted.

    Returns:
        The controls of each track. At points without a detected pitch, the pitch is interpolated, see `Extraction.settled`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = tuple(sources)
    jobs = [_Job(track, names, extraction, folder / f"{extraction.key(track.entry.name, names)}.npy") for track in tracks]
    _extract_all([job for job in jobs if not job.path.is_file()], progress)
    return [extraction.settled(Controls(*torch.from_numpy(np.load(job.path, allow_pickle=False)))) for job in jobs]


def _extract_all(jobs: Sequence[_Job], progress: bool) -> None:
    """Extract the controls of several tracks in parallel processes, and write the controls of each track to a cache file.

    The file is written as soon as the track is measured. So an interruption loses only the tracks that are being measured.
    """
    shown = bool(progress and jobs)
    if shown:
        tqdm.write(f"measuring pitch and loudness of {len(jobs)} tracks into {jobs[0].path.parent}", file=sys.stderr)
    results = in_processes(_extract, jobs, min(cores(), len(jobs)))
    for _, result in tqdm(results, "measuring pitch", len(jobs), unit="track", disable=not shown, leave=False):
        if isinstance(result, InputError):
            raise result


def _extract(job: _Job) -> None:
    """Extract pitch and loudness of one track, and write them to the cache file of the track."""
    torch.set_flush_denormal(True)
    controls = job.extraction(job.track.tensor(job.sources).sum(dim=0)[0])
    with atomic_write(job.path) as partial, partial.open("wb") as file:
        np.save(file, torch.stack(tuple(controls)).numpy())


class ControlsTable:
    """Keep pitch and loudness over time (the controls) of all tracks in one tensor, and return the controls of chunks.

    Args:
        controls: controls of each track.
        hop_length: number of samples between two control points.
    """

    def __init__(self, controls: Sequence[Controls], hop_length: int) -> None:
        self.values = torch.cat([torch.stack(tuple(track)) for track in controls], dim=1)
        self.counts = torch.tensor([len(track.f0) for track in controls])
        self.offsets = self.counts.cumsum(0) - self.counts
        self.hop_length = hop_length

    def gather(self, tracks: Tensor, starts: Tensor, samples: int) -> Controls:
        """Return pitch, loudness and periodicity of the chunks of a batch, interpolated linearly between control points.

        Args:
            tracks: index of the track of each chunk.
            starts: index of the first sample of each chunk, counted from the start of the track.
            samples: length of the chunks, in samples.

        Shape:
            tracks, starts: int64 [B]; each tensor of the result: [B, samples // hop_length + 1].

        Returns:
            The controls of the chunks. After the end of a track, the last values of the track are repeated.
        """
        if self.values.device != tracks.device:
            self.values, self.counts, self.offsets = (x.to(tracks.device) for x in (self.values, self.counts, self.offsets))
        points = torch.arange(samples // self.hop_length + 1, device=tracks.device)
        position = starts[:, None].double() / self.hop_length + points
        last = (self.counts[tracks] - 1)[:, None]
        before = position.floor().long().minimum(last)
        fraction = (position - before).clamp(0, 1).float()
        offsets = self.offsets[tracks][:, None]
        first, second = (self.values[:, offsets + index] for index in (before, (before + 1).minimum(last)))
        return Controls(*torch.lerp(first, second, fraction))
