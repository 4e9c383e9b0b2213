"""Controls are extracted once, interpolated at unvoiced points, and gathered for chunks at any position."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from unbraid.data.controls import Controls, ControlsTable, Extraction, controls_of, sounding
from unbraid.data.store import Store
from unbraid.data.tracks import AudioStream, Track
from unbraid.dsp.pitch import Crepe
from unbraid.runs.errors import InputError


@dataclass(frozen=True)
class Fixed:
    """A pitch detector that returns 220 Hz for any sound, and appends a dot to a file at each call."""

    log: str

    def __call__(self, waveform: np.ndarray, sample_rate: int, hop_length: int) -> tuple[np.ndarray, np.ndarray]:
        with Path(self.log).open("a") as file:
            file.write(".")
        count = len(waveform) // hop_length + 1
        return np.full(count, 220, np.float32), np.full(count, 0.9, np.float32)


def extraction(pitch=None, rate: int = 16000) -> Extraction:
    return Extraction(rate, 1, 1.0, 250, pitch or Crepe("tiny", 10, 40.0, 1900.0), 0.5)


@pytest.mark.parametrize(("rate", "hop"), [(16000, 64), (22050, 88), (44100, 176), (48000, 192)])
def test_one_control_point_per_hop(rate, hop):
    features = extraction(rate=rate)
    assert features.hop_length == hop
    time = torch.arange(rate // 2) / rate
    controls = features((0.3 * (2 * math.pi * 440 * time).sin()).float())
    assert {len(curve) for curve in controls} == {rate // 2 // hop + 1}
    assert features.voiced(controls)[20:-20].all()
    assert controls.f0[20:-20].median() == pytest.approx(440, rel=0.003)


def test_pitch_of_unvoiced_points_is_interpolated():
    f0 = torch.full((100,), 100.0)
    f0[60:], f0[30:60] = 400.0, 1234.0
    periodicity = torch.ones(100)
    periodicity[30:60] = 0.1
    periodicity[44:46] = 0.9  # a short detection error
    settled = extraction().settled(Controls(f0, torch.full((100,), -20.0), periodicity))
    assert torch.equal(settled.f0[:30], f0[:30]) and torch.equal(settled.f0[60:], f0[60:])
    middle = settled.f0[29:61].log2().diff()
    assert torch.allclose(middle, torch.full_like(middle, 2 / 31), atol=1e-5)
    assert (extraction().settled(Controls(f0, torch.full((100,), -100.0), periodicity)).f0 == 440).all()


def test_silence_is_relative_to_loudest_point():
    assert sounding(torch.tensor([-20.0, -70.0, -90.0])).tolist() == [True, True, False]
    assert not sounding(torch.full((3,), -100.0)).any()


def test_chunks_between_points_are_interpolated():
    ramp = Controls(torch.arange(11.0), torch.arange(11.0) + 100, torch.ones(11))
    other = Controls(torch.arange(6.0) + 50, torch.zeros(6), torch.zeros(6))
    table = ControlsTable([ramp, other], 64)
    chunks = table.gather(torch.tensor([0, 1, 0]), torch.tensor([96, 0, 640]), 192)
    assert chunks.f0.tolist() == [
        [1.5, 2.5, 3.5, 4.5],
        [50, 51, 52, 53],
        [10, 10, 10, 10],
    ]  # points after the end repeat the last point
    assert chunks.loudness[0].tolist() == [101.5, 102.5, 103.5, 104.5]


@pytest.mark.slow
def test_controls_are_extracted_once(songs, tmp_path):
    names = sorted(path for path in songs.rglob("vocals.wav"))
    tracks = [Track(path.parent.name, "train", {"vocals": (AudioStream(path),)}) for path in names]
    stored = Store(tmp_path / "store", 16000, 1, 1).open(tracks, progress=False)
    features = extraction(Fixed(str(tmp_path / "log")))
    for _ in range(2):
        controls = controls_of(stored, ["vocals"], features, tmp_path / "controls", progress=False)
    assert len((tmp_path / "log").read_text()) == len(tracks)
    for track, curves in zip(stored, controls, strict=True):
        assert len(curves.f0) == track.length // 64 + 1 and (curves.f0 == 220).all()
    coarser = Extraction(16000, 1, 1.0, 125, features.pitch, 0.5)
    controls_of(stored, ["vocals"], coarser, tmp_path / "controls", progress=False)
    assert len((tmp_path / "log").read_text()) == 2 * len(tracks)  # another hop length needs other controls
    assert not [path for path in (tmp_path / "controls").iterdir() if path.suffix != ".npy"]


@dataclass(frozen=True)
class Stopped:
    """A pitch detector that returns 220 Hz at the first call, and is interrupted at the second call."""

    log: str

    def __call__(self, waveform: np.ndarray, sample_rate: int, hop_length: int) -> tuple[np.ndarray, np.ndarray]:
        if Path(self.log).exists():
            raise KeyboardInterrupt
        return Fixed(self.log)(waveform, sample_rate, hop_length)


def test_interrupted_extraction_keeps_measured_tracks(songs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNBRAID_CORES", "1")
    names = sorted(songs.rglob("vocals.wav"))[:2]
    tracks = [Track(path.parent.name, "train", {"vocals": (AudioStream(path),)}) for path in names]
    stored = Store(tmp_path / "store", 16000, 1, 1).open(tracks, progress=False)
    features, folder = extraction(Stopped(str(tmp_path / "log"))), tmp_path / "controls"
    with pytest.raises(KeyboardInterrupt):
        controls_of(stored, ["vocals"], features, folder, progress=True)
    key = features.key(stored[0].entry.name, ["vocals"])
    assert [path.name for path in folder.iterdir()] == [f"{key}.npy"]
    printed = capsys.readouterr().err
    assert f"2 tracks into {folder}" in printed and "0/2" in printed


@pytest.mark.parametrize(
    ("option", "value", "found"),
    [("channels", 2, 2), ("frames_per_second", 0.5, 0.5), ("voicing", 1.0, 1.0), ("chunk_seconds", 0.001, "0.001 s")],
)
def test_arguments_out_of_range_are_refused(option, value, found):
    known = {"sample_rate": 16000, "channels": 1, "chunk_seconds": 1.0, "frames_per_second": 250.0, "voicing": 0.5}
    with pytest.raises(InputError) as error:
        Extraction(**(known | {option: value}), pitch=Fixed("log"))
    assert (error.value.where, error.value.found) == (option, found)
