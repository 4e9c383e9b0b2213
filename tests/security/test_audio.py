"""Tests of audio files with wrong lengths in their headers, and of small files with days of silence."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import make_run
from tests.reports.sweeps import leave_audio, leave_run
from unbraid import audio
from unbraid.audio.buffers import BufferPool
from unbraid.audio.decoder import HOURS_VARIABLE
from unbraid.audio.reader import ALLOCATED_RATIO
from unbraid.reports import listening
from unbraid.reports.variants import runs_of, variants_of
from unbraid.runs.errors import InputError


class Recorded(BufferPool):
    """Record the allocated memory."""

    def __init__(self):
        super().__init__(0)
        self.samples = 0

    def take(self, shape, dtype):
        self.samples += shape[1]
        return super().take(shape, dtype)


def lying_flac(path: Path, rate: int, channels: int) -> Path:
    """Return a FLAC file of 0.1 s whose header states 2**36 - 1 samples."""
    soundfile.write(path, np.zeros((rate // 10, channels)), rate)
    data = bytearray(path.read_bytes())
    data[21] |= 15
    data[22:26] = b"\xff" * 4
    path.write_bytes(data)
    return path


def lying_mp3(path: Path) -> Path:
    """Return an mp3 file of 1 s whose Xing header states 2**31 frames."""
    soundfile.write(path, 0.3 * np.sin(0.05 * np.arange(44100)), 44100)
    data = bytearray(path.read_bytes())
    place = max(data.find(b"Xing"), data.find(b"Info"))
    data[place + 8 : place + 12] = b"\x7f\xff\xff\xff"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ["mono flac", "fast flac", "mp3"])
def test_wrong_headers_do_not_allocate_memory(tmp_path, kind):
    path = {
        "mono flac": lambda: lying_flac(tmp_path / "x.flac", 44_100, 1),
        "fast flac": lambda: lying_flac(tmp_path / "x.flac", 192_000, 2),
        "mp3": lambda: lying_mp3(tmp_path / "x.mp3"),
    }[kind]()
    memory = Recorded()
    with pytest.raises(InputError):
        audio.read(path, memory=memory)
    assert 0 < memory.samples <= ALLOCATED_RATIO * (path.stat().st_size + audio.BLOCK)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_long_silence_is_not_decoded_to_its_end(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, np.zeros((8000 * 12, 2)), 8000)
    monkeypatch.setenv(HOURS_VARIABLE, "0.001")
    with pytest.raises(InputError) as error:
        audio.read(path)
    assert error.value.where == str(path) and HOURS_VARIABLE in error.value.hint
    read = 0
    with pytest.raises(InputError), audio.open_audio(path) as blocks:
        for block in blocks:
            read += block.shape[1]
    assert read <= 8000 * 4
    monkeypatch.setenv(HOURS_VARIABLE, "0.01")
    assert audio.read(path)[0][0].shape[1] >= 8000 * 12


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "six", ""])
def test_a_limit_that_is_not_a_duration_is_refused(tmp_path, monkeypatch, hours):
    soundfile.write(tmp_path / "x.wav", np.zeros(100), 8000)
    monkeypatch.setenv(HOURS_VARIABLE, hours)
    with pytest.raises(InputError) as error:
        audio.read(tmp_path / "x.wav")
    assert error.value.where == HOURS_VARIABLE and error.value.found == repr(hours)


@pytest.mark.slow
def test_separate_prints_one_line(cli, tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", "model=unet_small")
    (tmp_path / "noise.raw").write_bytes(np.random.default_rng(0).bytes(50_000))
    (tmp_path / "empty.raw").write_bytes(b"")
    (tmp_path / "zeros.raw").write_bytes(b"\0" * 50_000)
    soundfile.write(tmp_path / "long.flac", np.zeros(8000 * 12), 8000)
    monkeypatch.setenv(HOURS_VARIABLE, "0.001")
    for name in ("noise.raw", "empty.raw", "zeros.raw", "long.flac"):
        status, out, err = cli(f"run={run}", f"input={tmp_path / name}", "output=out", script="scripts/separate.py")
        assert status == 1 and not out and len(err.splitlines()) == 1 and err.startswith(f"error: {tmp_path / name}: "), err
        assert not Path("out").exists()


@pytest.mark.parametrize("name", ["mixture", "vocals-estimate", "vocals-target"])
def test_a_report_skips_long_files(tmp_path, monkeypatch, name):
    run = leave_run(tmp_path / "sweep", 0, "a", 0, [1.0])
    folder = leave_audio(run, "song 0")
    monkeypatch.setattr(listening, "MOST_SAMPLES", 100_000)
    soundfile.write(folder / f"{name}.flac", np.zeros((100_001, 2)), 44_100)
    written = listening.leave(listening.heard(variants_of(runs_of(tmp_path / "sweep"))), "song 0", 1, tmp_path / "report")
    rows = [row for row in written["targets"]["vocals"] if "missing" in row]
    assert len(rows) == 1 and name in rows[0]["missing"] and len(written["targets"]["vocals"]) == 3
