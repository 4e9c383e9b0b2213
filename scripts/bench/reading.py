"""Compare the time of reading audio files with unbraid and with libsndfile, and measure the memory of reading an hour.

    python scripts/bench/reading.py [seconds=180] [rounds=5]

Files of `seconds` length are read as a whole and in blocks. Both libraries read each file `rounds` times alternately, and the
table shows the lowest CPU time. Unlike unbraid, libsndfile does not check the length in the header of a file. The last line of
the output is one JSON object.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from unbraid import audio

RATE = 44100
SUFFIXES = ("wav", "flac", "mp3", "ogg")
HOUR = 3600


def write(path: Path, seconds: int) -> None:
    """Write an audio file with stereo tones and noise, in parts of 4 s: libsndfile crashes if an ogg part lasts minutes."""
    time_axis = np.arange(RATE * 4) / RATE
    tones = np.stack([0.3 * np.sin(2 * np.pi * hz * time_axis) for hz in (440, 554)], axis=1)
    part = (tones + 0.05 * np.random.default_rng(0).standard_normal(tones.shape)).astype(np.float32)
    with soundfile.SoundFile(path, "w", RATE, 2) as file:
        for _ in range(max(seconds // 4, 1)):
            file.write(part)


def sndfile_whole(path: Path) -> int:
    """Read a whole audio file with libsndfile, and return its number of samples per channel."""
    return len(np.ascontiguousarray(soundfile.read(path, dtype="float32", always_2d=True)[0].T)[0])


def sndfile_blocks(path: Path) -> int:
    """Read an audio file in blocks with libsndfile, and return its number of samples per channel."""
    with soundfile.SoundFile(path) as file:
        return sum(len(block) for block in file.blocks(audio.BLOCK, dtype="float32"))


def whole(path: Path) -> int:
    """Read a whole audio file with unbraid, and return its number of samples per channel."""
    return audio.read(path)[0][0].shape[1]


def blocks(path: Path) -> int:
    """Read an audio file in blocks with unbraid, and return its number of samples per channel."""
    with audio.open_audio(path) as reader:
        return sum(block.shape[1] for block in reader)


def fastest(readers: Mapping[str, Callable[[Path], int]], path: Path, rounds: int) -> dict[str, float]:
    """Read an audio file `rounds` times with each reader, and return the lowest CPU time of each reader in seconds."""
    times: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, reader in readers.items():
            start = time.process_time()
            reader(path)
            times[name].append(time.process_time() - start)
    return {name: min(values) for name, values in times.items()}


def peak_of_an_hour(folder: Path) -> float:
    """Return the peak memory in MB of a process that reads a flac file of one hour in blocks."""
    path = folder / "hour.flac"
    write(path, HOUR)
    done = subprocess.run([sys.executable, __file__, f"peak={path}"], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(options: dict[str, str]) -> None:
    """Run the benchmark and print the results. With the option `peak=FILE`, only read FILE and print the peak memory in MB."""
    if "peak" in options:
        blocks(Path(options["peak"]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
        return
    seconds, rounds = int(options.get("seconds", 180)), int(options.get("rounds", 5))
    readers = {"whole": whole, "libsndfile whole": sndfile_whole, "blocks": blocks, "libsndfile blocks": sndfile_blocks}
    ratios = {}
    with TemporaryDirectory() as folder:
        print(f"milliseconds of processor time for {seconds} s of stereo at {RATE} Hz, lowest of {rounds} rounds\n")
        print(f"{'':6}" + "".join(f"{name:>20}" for name in readers))
        for suffix in SUFFIXES:
            path = Path(folder) / f"song.{suffix}"
            write(path, seconds)
            times = fastest(readers, path, rounds)
            print(f"{suffix:6}" + "".join(f"{1000 * value:20.1f}" for value in times.values()))
            ratios[f"{suffix}_whole_vs_libsndfile"] = round(times["whole"] / times["libsndfile whole"], 2)
            ratios[f"{suffix}_blocks_vs_libsndfile"] = round(times["blocks"] / times["libsndfile blocks"], 2)
        peak = peak_of_an_hour(Path(folder))
    print(f"\nan hour of flac in blocks: peak memory {peak:.0f} MB")
    print(json.dumps(ratios | {"hour_peak_mb": round(peak)}))


if __name__ == "__main__":
    main(dict(word.split("=", 1) for word in sys.argv[1:]))
