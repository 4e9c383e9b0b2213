"""Controls: what an instrument is played by, pitch and loudness of a monophonic sound, found once and kept beside the store."""

import hashlib
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
SHORTEST_SECONDS = 0.04  # of a pitch: what is shorter is chance
SOUNDING_DB = 60.0  # below the loudest moment: what is fainter is silence, whatever pitch is found in it


class Controls(NamedTuple):
    """At each control point: pitch in Hz, A-weighted loudness in dB, and how periodic the sound is, in [0, 1].

    Shape: [F] or [B, F] each.
    """

    f0: Tensor
    loudness: Tensor
    periodicity: Tensor


class Extraction:
    """How controls are found; what a model is told of the sound as `features`.

    Args:
        sample_rate: of the sound, in Hz.
        channels: of the sound, 1.
        chunk_seconds: of a training chunk.
        frames_per_second: control points, as many as a whole number of samples between them allows.
        pitch: finds it.
        voicing: where the sound is less periodic there is no pitch.
    """

    kind = "audio"

    def __init__(
        self, sample_rate: int, channels: int, chunk_seconds: float, frames_per_second: float, pitch: Pitch, voicing: float
    ) -> None:
        if channels != 1:
            raise InputError(f"channels must be 1, for one voice has one pitch, found {channels}")
        if not 1 <= frames_per_second <= sample_rate / 16:
            raise InputError(f"frames_per_second must lie in [1, {sample_rate // 16}], found {frames_per_second}")
        if not 0 < voicing < 1:
            raise InputError(f"voicing must lie between 0 and 1, found {voicing}")
        self.sample_rate, self.channels, self.pitch, self.voicing = sample_rate, channels, pitch, voicing
        self.hop_length = round(sample_rate / frames_per_second)
        if chunk_seconds * sample_rate < 2 * self.hop_length:
            raise InputError(f"chunk_seconds must hold two control points, found {chunk_seconds}")

    def __call__(self, waveform: Tensor) -> Controls:
        """Pitch where there is none too, as it was found. Shape: [samples] -> [samples // hop_length + 1] each."""
        hz, periodicity = self.pitch(waveform.numpy(), self.sample_rate, self.hop_length)
        heard = loudness(waveform, self.sample_rate, self.hop_length)
        return Controls(torch.from_numpy(hz), heard, torch.from_numpy(periodicity))

    def voiced(self, controls: Controls) -> Tensor:
        """Where there is a pitch, for longer than a moment. Shape: bool [F]."""
        there = ((controls.periodicity >= self.voicing) & sounding(controls.loudness)).float()[None]
        width = 2 * round(SHORTEST_SECONDS * self.sample_rate / self.hop_length / 2) + 1
        narrow = 1 - functional.max_pool1d(1 - there, width, 1, width // 2)
        return functional.max_pool1d(narrow, width, 1, width // 2)[0] > 0

    def settled(self, controls: Controls) -> Controls:
        """With the pitch of what lies beside it wherever there is none, on a line from note to note."""
        voiced = self.voiced(controls)
        there = voiced.nonzero().flatten().numpy()
        if not len(there):
            return controls._replace(f0=torch.full_like(controls.f0, 440.0))
        logs = np.interp(np.arange(len(controls.f0)), there, controls.f0.log2().numpy()[there])
        return controls._replace(f0=controls.f0.where(voiced, torch.from_numpy(2**logs).float()))

    def key(self, entry: str, sources: Sequence[str]) -> str:
        """A hash of everything that controls depend on."""
        parts = [VERSION, entry, *sources, self.sample_rate, self.hop_length, self.pitch]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def sounding(loudness: Tensor) -> Tensor:
    """Where there is more than silence. Shape: [F] -> bool [F]."""
    return loudness > max(float(loudness.max()) - SOUNDING_DB, -90.0)


@dataclass(frozen=True)
class _Order:
    track: StoredTrack
    sources: tuple[str, ...]
    extraction: Extraction
    path: Path


def controls_of(
    tracks: Sequence[StoredTrack], sources: Sequence[str], extraction: Extraction, folder: Path, progress: bool
) -> list[Controls]:
    """Of the sum of some sources of each track: found in parallel where they are not in the folder yet.

    Args:
        tracks: of the store.
        sources: by name.
        extraction: how.
        folder: of what was found; each track is in it whole or not at all.
        progress: show how far it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = tuple(sources)
    orders = [_Order(track, names, extraction, folder / f"{extraction.key(track.entry.name, names)}.npy") for track in tracks]
    missing = [order for order in orders if not order.path.is_file()]
    done = in_processes(_find, missing, min(cores(), len(missing)))
    for _, refused in tqdm(done, "finding pitch", len(missing), unit="track", disable=not progress or not missing, leave=False):
        if isinstance(refused, InputError):
            raise refused
    return [extraction.settled(Controls(*torch.from_numpy(np.load(order.path, allow_pickle=False)))) for order in orders]


def _find(order: _Order) -> None:
    torch.set_flush_denormal(True)
    found = order.extraction(order.track.tensor(order.sources).sum(dim=0)[0])
    with atomic_write(order.path) as partial, partial.open("wb") as file:
        np.save(file, torch.stack(tuple(found)).numpy())


class ControlsTable:
    """Controls of some tracks, for chunks that begin anywhere.

    Args:
        controls: of each track.
        hop_length: samples between control points.
    """

    def __init__(self, controls: Sequence[Controls], hop_length: int) -> None:
        self.values = torch.cat([torch.stack(tuple(one)) for one in controls], dim=1)
        self.counts = torch.tensor([len(one.f0) for one in controls])
        self.offsets = self.counts.cumsum(0) - self.counts
        self.hop_length = hop_length

    def gather(self, tracks: Tensor, starts: Tensor, samples: int) -> Controls:
        """Controls of chunks of so many samples, between the points where a chunk begins between them.

        Shape: tracks, starts [B] -> [B, samples // hop_length + 1] each.
        """
        if self.values.device != tracks.device:
            self.values, self.counts, self.offsets = (x.to(tracks.device) for x in (self.values, self.counts, self.offsets))
        points = torch.arange(samples // self.hop_length + 1, device=tracks.device)
        place = starts[:, None].double() / self.hop_length + points
        last = (self.counts[tracks] - 1)[:, None]
        before = place.floor().long().minimum(last)
        share = (place - before).clamp(0, 1).float()
        offsets = self.offsets[tracks][:, None]
        first, second = (self.values[:, offsets + index] for index in (before, (before + 1).minimum(last)))
        return Controls(*torch.lerp(first, second, share))
