"""How long BSS Eval takes, and how far it is from the packages that define it: ours beside museval (v4) and mir_eval (v3).

    python scripts/bench/scoring.py [seconds=180] [rounds=1]

The song is one of the demo songs at 44.1 kHz, four stereo sources in 16 bits; each estimate is its source, duller, with a tenth
of the others leaking in and some noise. For v4 both score all of it, taking turns; for v3 `sources` both score two of them in
mono over the first 20 s. Memory is the largest that a fresh process has held that does nothing but hold the song in float32 and
score it. Where there is a GPU, ours runs on it too.

A source that is the same on both sides has no unique filters, and what museval makes of them depends on rounding: so for 12 s
of such a song the distance to museval stands beside that of museval to itself with the sources in another order.

museval takes more than a minute; it is loaded without its package, which would want ffmpeg. The last line is one JSON object.
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

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the scripts do

import mir_eval.separation
import numpy as np
import torch
from torch import Tensor

from unbraid.data.demo_songs.song import STEMS, render_song
from unbraid.scoring.bss_eval import BSSScores, bss_eval

RATE = 44100
V3_SECONDS = 20
STEREO = [(0, "drums"), (0, "other"), (0, "vocals"), (1, "other")]  # number of a demo song, and a stem that is stereo in it
MEASURES = ("sdr", "isr", "sir", "sar")


def main() -> None:
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
    """References and estimates. Shape: [2, sources, channels, samples], float32."""
    random, songs = np.random.default_rng(0), {seed: render_song(seed, seconds) for seed, _ in stems}
    reference = np.stack([songs[seed][stem] for seed, stem in stems]).astype(np.float32) / 32768
    dull = 0.7 * reference + 0.3 * np.roll(reference, 1, axis=-1)
    noise = 0.003 * random.standard_normal(reference.shape, dtype=np.float32)
    return np.stack([reference, dull + 0.1 * (reference.sum(axis=0) - reference) + noise])


def equal_channels() -> dict[str, float]:
    reference, estimate = (torch.from_numpy(part) for part in make_song(12, [(0, stem) for stem in STEMS]))
    order, metrics = [2, 0, 3, 1], museval_metrics()
    theirs = metrics.bss_eval(swapped(reference), swapped(estimate), window=RATE, hop=RATE)[:4]
    reordered = metrics.bss_eval(swapped(reference[order]), swapped(estimate[order]), window=RATE, hop=RATE)[:4]
    distance = furthest(bss_eval(reference, estimate, RATE), theirs)
    own = max(float(np.abs(one[order] - other).max()) for one, other in zip(theirs, reordered, strict=True))
    print(f"  12 s with a bass that is the same on both sides: {distance:.1e} dB from museval,")
    print(f"  and museval {own:.1e} dB from itself with the sources in another order\n")
    return {"v4_equal_channels_max_abs_db": distance, "museval_reordered_max_abs_db": own}


def version_4(path: Path, rounds: int) -> dict[str, Any]:
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
    print(f"  largest memory of a process that holds the song and scores it: {peak:.2f} GB")
    return figures


def on_gpu(reference: Tensor, estimate: Tensor, museval_seconds: float, expected: BSSScores) -> dict[str, float]:
    signals = reference.cuda(), estimate.cuda()
    bss_eval(*signals, RATE)
    seconds = statistics.median(timed(lambda: bss_eval(*signals, RATE))[0] for _ in range(5))
    distance = furthest(bss_eval(*signals, RATE), [getattr(expected, name).numpy() for name in MEASURES])
    print(f"  {torch.cuda.get_device_name():<34}{seconds:>9.2f}{museval_seconds / seconds:>8.1f}{distance:>18.1e} dB")
    return {"v4_vs_museval_gpu": museval_seconds / seconds, "v4_max_abs_db_gpu": distance}


def version_3(path: Path, rounds: int) -> dict[str, Any]:
    song = np.load(path, mmap_mode="r")[:, [0, 2], :, : V3_SECONDS * RATE]
    reference, estimate = torch.from_numpy(np.ascontiguousarray(song.mean(axis=2, keepdims=True)))
    mono = [part[:, 0].double().numpy() for part in (reference, estimate)]
    times: dict[str, list[float]] = {"ours": [], "mir_eval": []}
    ours: Any = None
    theirs: Any = None
    for _ in range(rounds):
        seconds, ours = timed(lambda: bss_eval(reference, estimate, filters="window", kind="sources"))
        times["ours"].append(seconds)
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # that it will be removed one day
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
    """In GB, of this process; what `resource` says would count its parent too."""
    reference, estimate = (torch.from_numpy(part) for part in np.load(path))
    bss_eval(reference, estimate, RATE)
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024 / 1e9


def in_fresh_process(function: Callable[[Path], float], path: Path) -> float:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (path,))


def swapped(signals: Tensor) -> np.ndarray:
    """As museval wants them. Shape: [S, C, T] -> [S, T, C]."""
    return signals.double().transpose(1, 2).numpy()


def furthest(ours: BSSScores, theirs: list[np.ndarray]) -> float:
    """Largest difference of any measure in any window, in dB; what is undefined must be so for both."""
    distances = []
    for name, other in zip(MEASURES, theirs, strict=True):
        own = getattr(ours, name).numpy()
        np.testing.assert_array_equal(np.isnan(own), np.isnan(other))
        distances.append(float(np.nanmax(np.abs(own - other), initial=0)))
    return max(distances)


def museval_metrics() -> ModuleType:
    package = importlib.util.find_spec("museval")
    assert package is not None and package.submodule_search_locations
    spec = importlib.util.spec_from_file_location("museval_metrics", Path(package.submodule_search_locations[0]) / "metrics.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
