"""Compare measures of unbraid with their origins: scores and CPU seconds on music and on noise.

    python scripts/bench/measures.py songs=A,B msst=FOLDER [seconds=30]

A song is a stem file or another audio file, at 44.1 kHz stereo. The first `seconds` seconds are used. The reference is the
vocals of a stem file, or the whole of another file. The mixture is the sum of all stems, or the file plus a delayed copy. The
estimate is the low-passed reference, plus a tenth of the rest of the mixture, plus noise. In addition, white noise is used as a
song.

The origins are Music-Source-Separation-Training (a checkout in the folder `msst`) and the packages log-wmse-audio-quality,
auraloss, pesq and pystoi, which must be installed. pesq and pystoi get mono signals at 16 kHz. The last line of the output is
one JSON object.
"""

import importlib.util
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unbraid import audio
from unbraid.scoring.log_wmse import LogWMSE
from unbraid.scoring.measures import RegularisedSDR
from unbraid.scoring.spectral_measures import MRSTFT, BleedlessFullness, L1Frequency
from unbraid.scoring.speech_measures import ESTOI, PESQ

RATE, SPEECH_RATE = 44100, 16000
VOCALS = 4  # stream of a stem file
Pair = tuple[Callable[[], Sequence[float | None]], Callable[[], Sequence[float]]]  # unbraid, origin


def main() -> None:
    """Score each song by unbraid and by the origins, and print a table and a JSON line."""
    arguments = {"seconds": "30"} | dict(word.split("=", 1) for word in sys.argv[1:])
    if {*arguments} != {"songs", "msst", "seconds"}:
        sys.exit("usage: python scripts/bench/measures.py songs=A,B msst=FOLDER [seconds=30]")
    samples = int(float(arguments["seconds"]) * RATE)
    songs = {Path(path).name: read_song(Path(path), samples) for path in arguments["songs"].split(",")} | {
        "noise": noise(samples)
    }
    warnings.filterwarnings("ignore", message="A window was not provided", category=UserWarning)  # of l1_freq in msst
    msst = load_metrics(Path(arguments["msst"]))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}\n")
    print(f"{'':<34}{'score':>12}{'difference':>12}{'CPU s':>9}{'origin':>9}")
    figures: dict[str, Any] = {}
    for song, (reference, mixture) in songs.items():
        print(f"{song[:30]}, {reference.shape[-1] / RATE:.1f} s")
        for measure, (ours, theirs) in pairs(reference, spoilt(reference, mixture), mixture, msst).items():
            ours_seconds, scores = timed(ours)
            their_seconds, expected = timed(theirs)
            gap = max(abs(float(a or np.nan) - float(b)) for a, b in zip(scores, expected, strict=True))
            text = f"{scores[0]:>12.4f}{gap:>12.1e}{ours_seconds:>9.3f}{their_seconds:>9.3f}"
            print(f"  {measure:<32}{text}")
            figures[f"{measure} {song}"] = {"difference": gap, "seconds": ours_seconds, "origin_seconds": their_seconds}
    print(json.dumps(figures))


def pairs(reference: Tensor, estimate: Tensor, mixture: Tensor, msst: ModuleType) -> dict[str, Pair]:
    """Return the functions that compute the scores of unbraid and of the origin, by measure. Shape of the signals: [2, T]."""
    true, made, mixed = (signal.numpy() for signal in (reference, estimate, mixture))
    signals, batch = (reference, estimate), (estimate[None], reference[None])
    low = [audio.resample(signal.mean(axis=0, keepdims=True), RATE, SPEECH_RATE) for signal in (true, made)]
    speech, mono = [torch.from_numpy(signal) for signal in low], [signal[0].astype(np.float64) for signal in low]
    resolutions = import_module("auraloss.freq").MultiResolutionSTFTLoss()
    nomono = import_module("log_wmse_audio_quality").calculate_log_wmse
    pesq, stoi = import_module("pesq").pesq, import_module("pystoi").stoi
    return {
        "SDR of msst": (lambda: RegularisedSDR(1e-8)(*signals, RATE), lambda: [msst.sdr(true[None], made[None])[0]]),
        "SDR of mdx23, formula": (lambda: RegularisedSDR(1e-7)(*signals, RATE), lambda: [mdx23(true, made)]),
        "bleedless, fullness of msst": (lambda: BleedlessFullness()(*signals, RATE), lambda: msst.bleed_full(true, made)),
        "l1_freq of msst": (lambda: L1Frequency()(*signals, RATE), lambda: [msst.L1Freq_metric(true, made)]),
        "log-WMSE": (lambda: LogWMSE()(*signals, RATE, mixture), lambda: [nomono(mixed, made, true, RATE)]),
        "MR-STFT of auraloss": (lambda: MRSTFT()(*signals, RATE), lambda: [-float(resolutions(*batch))]),
        "PESQ of pesq": (lambda: PESQ()(speech[0], speech[1], SPEECH_RATE), lambda: [pesq(SPEECH_RATE, *mono, "wb")]),
        "ESTOI of pystoi": (
            lambda: ESTOI()(speech[0], speech[1], SPEECH_RATE),
            lambda: [stoi(*mono, SPEECH_RATE, extended=True)],
        ),
    }


def mdx23(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return the SDR of the Sound Demixing Challenge 2023 in dB, from its formula (Fabbro et al. 2024)."""
    error = reference.astype(np.float64) - estimate
    return float(10 * np.log10(((reference.astype(np.float64) ** 2).sum() + 1e-7) / ((error**2).sum() + 1e-7)))


def read_song(path: Path, samples: int) -> tuple[Tensor, Tensor]:
    """Return the reference and the mixture of a song. Shape: each [2, samples], float32."""
    if path.name.endswith(".stem.mp4"):
        stems = [torch.from_numpy(stem[:, :samples]).float() for stem in audio.read(path, (1, 2, 3, VOCALS))[0]]
        return stems[-1].contiguous(), torch.stack(stems).sum(dim=0)
    (signal,), rate = audio.read(path, (0,))
    if rate != RATE:
        signal = audio.resample(signal, rate, RATE)
    reference = torch.from_numpy(np.ascontiguousarray(signal[:, :samples])).float().expand(2, -1).contiguous()
    return reference, reference + 0.7 * reference.roll(RATE, dims=-1)


def noise(samples: int) -> tuple[Tensor, Tensor]:
    """Return white noise as a reference, and a mixture with other white noise. Shape: each [2, samples], float32."""
    signals = 0.1 * torch.randn(2, 2, samples, generator=torch.Generator().manual_seed(0))
    return signals[0], signals.sum(dim=0)


def spoilt(reference: Tensor, mixture: Tensor) -> Tensor:
    """Return an estimate of the reference. Shape: [2, T]."""
    hiss = 0.001 * torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
    return 0.7 * reference + 0.3 * reference.roll(1, dims=-1) + 0.1 * (mixture - reference) + hiss


def load_metrics(folder: Path) -> ModuleType:
    """Load the module `utils/metrics.py` of Music-Source-Separation-Training from its file."""
    spec = importlib.util.spec_from_file_location("msst_metrics", folder / "utils" / "metrics.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Call a function twice. Return the CPU time of the second call in seconds, and its result."""
    function()
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
