"""Compare speed and scores of unbraid's BSS Eval with the packages that define BSS Eval: museval (v4) and mir_eval (v3).

    python scripts/bench/scoring.py [seconds=180] [rounds=1]

A generated song at 44.1 kHz with four stereo sources of 16 bits is scored. The estimate of a source is the low-passed source,
plus a tenth of all other sources, plus noise. For v4, unbraid and museval score the whole song `rounds` times alternately. For
v3 (`bss_eval_sources`), unbraid and mir_eval score two mono sources over the first 20 s. The peak memory is measured in a new
process that loads the song in float32 and scores it. If a GPU is available, unbraid is also measured on the GPU.

If both channels of a source are equal, the filters of BSS Eval are not unique, and the scores of museval depend on rounding
errors. To show this, the script scores 12 s of such a song twice with museval, with different orders of the sources. It prints
the largest difference of the scores.

museval takes more than a minute. The script loads only its module `metrics`, because importing the package requires ffmpeg. The
last line of the output is one JSON object.
"""

import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as in the commands of unbraid

import mir_eval.separation
import numpy as np
import torch
from torch import Tensor

from unbraid.data.demo_songs.song import STEMS, render_song
from unbraid.scoring.bss_eval import BSSScores, bss_eval

RATE = 44100
V3_SECONDS = 20
STEREO = [(0, "drums"), (0, "other"), (0, "vocals"), (1, "other")]  # seed of a demo song, and a stem with different channels
MEASURES = ("sdr", "isr", "sir", "sar")


def main() -> None:
    """Compare unbraid with museval and mir_eval, and print tables and a JSON line."""
    arguments = {"seconds": "180", "rounds": "1"} | dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := arguments.keys() - {"seconds", "rounds"}:
        sys.exit(f"error: unknown argument {min(unknown)}; known: rounds, seconds")
    seconds, rounds = float(arguments["seconds"]), int(arguments["rounds"])
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"a song of {seconds:g} s, 4 stereo sources, 44.1 kHz; medians of {rounds} rounds\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "song.npy"
        np.save(path, make_song(seconds))
        figures = version_4(path, rounds) | equal_channels() | version_3(path, rounds)
    print(json.dumps(figures))


def make_song(seconds: float, stems: Sequence[tuple[int, str]] = STEREO) -> np.ndarray:
    """Return the true sources and the estimates of a song. Shape: [2, sources, channels, samples], float32."""
    random, songs = np.random.default_rng(0), {seed: render_song(seed, seconds) for seed, _ in stems}
    reference = np.stack([songs[seed][stem] for seed, stem in stems]).astype(np.float32) / 32768
    low_passed = 0.7 * reference + 0.3 * np.roll(reference, 1, axis=-1)
    noise = 0.003 * random.standard_normal(reference.shape, dtype=np.float32)
    return np.stack([reference, low_passed + 0.1 * (reference.sum(axis=0) - reference) + noise])


def equal_channels() -> dict[str, float]:
    """Compare unbraid and museval on a song in which both channels of one source are equal.

    Also compare museval with itself, for two orders of the sources.
    """
    reference, estimate = (torch.from_numpy(part) for part in make_song(12, [(0, stem) for stem in STEMS]))
    order, metrics = [2, 0, 3, 1], museval_metrics()
    theirs = metrics.bss_eval(swapped(reference), swapped(estimate), window=RATE, hop=RATE)[:4]
    reordered = metrics.bss_eval(swapped(reference[order]), swapped(estimate[order]), window=RATE, hop=RATE)[:4]
    distance = furthest(bss_eval(reference, estimate, RATE), theirs)
    to_itself = max(float(np.abs(a[order] - b).max()) for a, b in zip(theirs, reordered, strict=True))
    print(f"  12 s with a bass whose channels are equal: largest difference to museval {distance:.1e} dB,")
    print(f"  of museval to itself with another order of the sources {to_itself:.1e} dB\n")
    return {"v4_equal_channels_max_abs_db": distance, "museval_reordered_max_abs_db": to_itself}


def version_4(path: Path, rounds: int) -> dict[str, Any]:
    """Compare speed and scores of BSS Eval v4 in unbraid and museval, and measure the peak memory of unbraid."""
    peak = in_fresh_process(peak_of_scoring, path)
    reference, estimate = (torch.from_numpy(part) for part in np.load(path))
    metrics = museval_metrics()
    ours: Any = None
    theirs: Any = None
    times: dict[str, list[float]] = {"ours": [], "museval": []}
    for _ in range(rounds):
        seconds, ours = timed(lambda: bss_eval(reference, estimate, RATE))
        times["ours"].append(seconds)
        seconds, theirs = timed(lambda: metrics.bss_eval(*(swapped(x) for x in (reference, estimate)), window=RATE, hop=RATE))
        times["museval"].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    distance = furthest(ours, theirs[:4])
    print(f"{'BSS Eval v4':<36}{'seconds':>9}{'ratio':>8}{'largest difference':>21}")
    print(f"  {'museval':<34}{medians['museval']:>9.2f}{1:>8.1f}")
    print(f"  {'unbraid':<34}{medians['ours']:>9.2f}{medians['museval'] / medians['ours']:>8.1f}{distance:>18.1e} dB")
    figures = {"v4_vs_museval": medians["museval"] / medians["ours"], "v4_max_abs_db": distance, "peak_gb": peak}
    if torch.cuda.is_available():
        figures |= on_gpu(reference, estimate, medians["museval"], ours)
    print(f"  peak memory of a process that loads and scores the song: {peak:.2f} GB")
    return figures


def on_gpu(reference: Tensor, estimate: Tensor, museval_seconds: float, expected: BSSScores) -> dict[str, float]:
    """Compare unbraid on the GPU with the speed of museval, and with the scores of unbraid on the CPU."""
    signals = reference.cuda(), estimate.cuda()
    bss_eval(*signals, RATE)
    seconds = statistics.median(timed(lambda: bss_eval(*signals, RATE))[0] for _ in range(5))
    distance = furthest(bss_eval(*signals, RATE), [getattr(expected, name).numpy() for name in MEASURES])
    print(f"  {torch.cuda.get_device_name():<34}{seconds:>9.2f}{museval_seconds / seconds:>8.1f}{distance:>18.1e} dB")
    return {"v4_vs_museval_gpu": museval_seconds / seconds, "v4_max_abs_db_gpu": distance}


def version_3(path: Path, rounds: int) -> dict[str, Any]:
    """Compare speed and scores of BSS Eval v3 in unbraid and mir_eval."""
    song = np.load(path, mmap_mode="r")[:, [0, 2], :, : V3_SECONDS * RATE]
    reference, estimate = torch.from_numpy(np.ascontiguousarray(song.mean(axis=2, keepdims=True)))
    mono = [part[:, 0].double().numpy() for part in (reference, estimate)]
    times: dict[str, list[float]] = {"ours": [], "mir_eval": []}
    ours: Any = None
    theirs: Any = None
    for _ in range(rounds):
        seconds, ours = timed(lambda: bss_eval(reference, estimate, filters="window", kind="sources"))
        times["ours"].append(seconds)
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of the planned removal
            seconds, theirs = timed(lambda: mir_eval.separation.bss_eval_sources(*mono, compute_permutation=False))
        times["mir_eval"].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    undefined = np.full_like(theirs[0], np.nan)
    distance = furthest(ours, [column[:, None] for column in (theirs[0], undefined, theirs[1], theirs[2])])
    print(f"{f'BSS Eval v3 sources, 2 mono, {V3_SECONDS} s':<36}{'seconds':>9}{'ratio':>8}{'largest difference':>21}")
    print(f"  {'mir_eval':<34}{medians['mir_eval']:>9.2f}{1:>8.1f}")
    print(f"  {'unbraid':<34}{medians['ours']:>9.2f}{medians['mir_eval'] / medians['ours']:>8.1f}{distance:>18.1e} dB\n")
    return {"v3_vs_mir_eval": medians["mir_eval"] / medians["ours"], "v3_max_abs_db": distance}


def peak_of_scoring(path: Path) -> float:
    """Load and score the song in a file, and return the peak memory of this process in GB.

    The module `resource` is not used, because its value includes the memory of the parent process.
    """
    reference, estimate = (torch.from_numpy(part) for part in np.load(path))
    bss_eval(reference, estimate, RATE)
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024 / 1e9


def in_fresh_process(function: Callable[[Path], float], path: Path) -> float:
    """Call a function with a path in a new process, and return its result."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (path,))


def swapped(signals: Tensor) -> np.ndarray:
    """Convert signals to the axis order of museval and to float64. Shape: [S, C, T] -> [S, T, C]."""
    return signals.double().transpose(1, 2).numpy()


def furthest(ours: BSSScores, theirs: list[np.ndarray]) -> float:
    """Return the largest difference between the scores of two implementations in dB.

    Check that a score is undefined in one implementation only if it is undefined in the other one.
    """
    distances = []
    for name, expected in zip(MEASURES, theirs, strict=True):
        scores = getattr(ours, name).numpy()
        np.testing.assert_array_equal(np.isnan(scores), np.isnan(expected))
        distances.append(float(np.nanmax(np.abs(scores - expected), initial=0)))
    return max(distances)


def museval_metrics() -> ModuleType:
    """Load the module `metrics` of museval from its file, without importing the package."""
    package = importlib.util.find_spec("museval")
    assert package is not None and package.submodule_search_locations
    spec = importlib.util.spec_from_file_location("museval_metrics", Path(package.submodule_search_locations[0]) / "metrics.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Call a function without arguments. Return the duration in seconds and the result of the function."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
