"""Measure the speed of DDSP synthesis and training, in comparison with a plain synthesiser and a plain training loop.

    python scripts/bench/synthesis.py [seconds=30] [rounds=5] [steps=20]

- Synthesiser: unbraid's synthesiser is compared with a plain synthesiser, which is written as in the public implementation of
  acids-ircam: control curves are resampled to the sample rate, phases are a cumulative sum in float32, and each harmonic is a
  row of samples. Both synthesisers get the same input: 100 harmonics, 65 noise bands and a room response of 1 s at 16 kHz.
- Instruments: the models `ddsp` and `ddsp_small` (network and synthesiser) play `seconds` of sound piece by piece.
- Training: steps of `experiment=ddsp_demo` are measured in `Trainer.fit` of Lightning with training data, and in a plain loop
  over one batch in memory.

All times are medians, of wall-clock time and of CPU time. On a busy machine the wall-clock time is longer. If a GPU is
available, all measurements are repeated on the GPU. The last line of the output is one JSON object with all results.
"""

import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from omegaconf import open_dict
from torch import Tensor
from torch.nn import functional

from unbraid.commands.cli import CONF
from unbraid.dsp.synthesis import convolve, filtered_noise, oscillators, white_noise
from unbraid.models.losses import MultiScaleSpectral
from unbraid.nets.ddsp import Instrument
from unbraid.runs.records import Run
from unbraid.training.build import build_workflow

RATE, HOP, HARMONICS, BANDS = 16000, 64, 100, 65
FEW_TRACKS = [  # few enough tracks that estimating their pitch takes seconds; an epoch has 30 steps
    "data.layout.train=4", "data.layout.valid=1", "data.layout.test=1", "data.layout.seconds=4", "pitch.every=4",
    "data.chunks_per_track=60",
]  # fmt: skip
INSTRUMENTS = {"ddsp": (512, 3, HARMONICS, 1.0), "ddsp_small": (128, 2, 60, 0.0)}


def main() -> None:
    """Measure DDSP synthesis and training with the options of the command line, and print the results."""
    arguments = {"seconds": "30", "rounds": "5", "steps": "20"} | dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := arguments.keys() - {"seconds", "rounds", "steps"}:
        sys.exit(f"error: unknown argument {min(unknown)}; known: rounds, seconds, steps")
    seconds, rounds, steps = float(arguments["seconds"]), int(arguments["rounds"]), int(arguments["steps"])
    torch.set_flush_denormal(True)
    threads = torch.get_num_threads()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {threads} threads, torch {torch.__version__}")
    print(f"{seconds:g} s of sound at {RATE} Hz; medians of {rounds} rounds\n")
    results: dict[str, Any] = {"seconds": seconds, "threads": threads, "tuning_error": tuning_errors()}
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        results[device] = synthesis(seconds, rounds, torch.device(device)) | training(steps, device)
    print(json.dumps(results))


def controls(seconds: float, device: torch.device) -> tuple[Tensor, ...]:
    """Return inputs of a synthesiser: f0 (150 to 300 Hz), amplitudes of harmonics, noise magnitudes, and a room response."""
    points = round(seconds * RATE / HOP) + 1
    random = torch.Generator().manual_seed(0)
    f0 = 225 + 75 * torch.linspace(0, seconds, points).sin()[None]
    amplitudes = torch.rand(1, points, HARMONICS, generator=random) / HARMONICS
    noise = 0.01 * torch.rand(1, points, BANDS, generator=random)
    room = 0.01 * torch.randn(RATE, generator=random)
    return tuple(part.to(device) for part in (f0, amplitudes, noise, room))


def ours(f0: Tensor, amplitudes: Tensor, noise: Tensor, room: Tensor) -> Tensor:
    """Compute the sound of unbraid's synthesiser from f0, amplitudes of harmonics, noise magnitudes, and a room response."""
    tone, _ = oscillators(f0, amplitudes, HOP, RATE)
    air, _ = filtered_noise(noise[:, :-1], white_noise(tone, tone.shape[1]))
    return convolve(tone + air, room)[0]


def plain(f0: Tensor, amplitudes: Tensor, noise: Tensor, room: Tensor) -> Tensor:
    """Compute the sound of the plain synthesiser from f0, amplitudes of harmonics, noise magnitudes, and a room response."""
    samples = (f0.shape[1] - 1) * HOP
    tone = plain_tone(f0, amplitudes, samples)
    taps = 2 * (BANDS - 1)
    response = torch.fft.irfft(noise[:, :-1], taps).roll(taps // 2, -1) * torch.hann_window(taps, device=f0.device)
    white = 2 * torch.rand(1, samples // HOP, HOP, device=f0.device) - 1
    size = HOP + taps
    blocks = torch.fft.irfft(torch.fft.rfft(white, size) * torch.fft.rfft(response, size), size)
    sound = tone + functional.fold(blocks.mT, (1, samples + taps), (1, size), stride=(1, HOP))[:, 0, 0, :samples]
    spectrum = torch.fft.rfft(sound, 2 * samples) * torch.fft.rfft(functional.pad(room, (0, samples - len(room))), 2 * samples)
    return torch.fft.irfft(spectrum, 2 * samples)[:, :samples]


def plain_tone(f0: Tensor, amplitudes: Tensor, samples: int) -> Tensor:
    """Compute the sum of the harmonics in the plain synthesiser, with phases as a cumulative sum in float32."""
    hz = functional.interpolate(f0[:, None, :-1], samples, mode="linear")[:, 0]
    gains = functional.interpolate(amplitudes[:, :-1].mT, samples, mode="linear").mT
    order = torch.arange(1, amplitudes.shape[-1] + 1, device=f0.device)
    gains = gains * (hz[..., None] * order < RATE / 2)
    phase = (2 * math.pi * hz / RATE).cumsum(1)
    return ((phase[..., None] * order).sin() * gains).sum(-1)


@torch.no_grad()
def tuning_errors() -> dict[str, float]:
    """Play a steady tone of 233.1 Hz with ten harmonics for a minute, and return the largest error of each synthesiser.

    The error is the distance of a sample from the exact value, computed in float64.
    """
    points = 60 * RATE // HOP + 1
    f0, amplitudes = torch.full((1, points), 233.1), torch.full((1, points, 10), 0.1)
    turns = torch.arange(60 * RATE, dtype=torch.float64) * float(f0[0, 0]) / RATE
    true = sum(0.1 * (2 * math.pi * k * turns).sin() for k in range(1, 11))
    later = (
        torch.arange(1, 60 * RATE + 1, dtype=torch.float64) * float(f0[0, 0]) / RATE
    )  # the first phase of the cumulative sum is one step, not 0
    true_later = sum(0.1 * (2 * math.pi * k * later).sin() for k in range(1, 11))
    errors = {
        "ours": float((oscillators(f0, amplitudes, HOP, RATE)[0][0] - true).abs().max()),
        "plain": float((plain_tone(f0, amplitudes, 60 * RATE)[0] - true_later).abs().max()),
    }
    print("largest error within a minute of a steady tone: " + ", ".join(f"{k} {v:.1e}" for k, v in errors.items()) + "\n")
    return errors


@torch.no_grad()
def synthesis(seconds: float, rounds: int, device: torch.device) -> dict[str, Any]:
    """Measure how many seconds of sound the synthesisers and instruments compute per second of wall-clock and CPU time."""
    inputs = controls(seconds, device)
    rows: dict[str, Callable[[], Any]] = {"synthesiser": lambda: ours(*inputs), "plain synthesiser": lambda: plain(*inputs)}
    for name, (hidden, layers, harmonics, reverb) in INSTRUMENTS.items():
        instrument = Instrument(RATE, HOP, hidden, layers, harmonics, BANDS, 0, reverb).eval().to(device)
        loudness = torch.full_like(inputs[0][0], -25.0)
        rows[f"instrument {name}"] = partial(perform, instrument, inputs[0][0], loudness)
    times = median_times(rows, rounds, device)
    print(f"{f'on {device}':<24}{'wall clock':>22}{'CPU time':>22}")
    for name, (wall, cpu) in times.items():
        print(f"  {name:<22}{seconds / wall:>8.0f} x real time{seconds / cpu:>8.0f} x real time")
    print()
    return {
        f"{name.replace(' ', '_')}_{unit}": seconds / value
        for name, both in times.items()
        for unit, value in zip(("real_time", "real_time_of_processor"), both, strict=True)
    }


def perform(instrument: Instrument, f0: Tensor, loudness: Tensor) -> None:
    """Play f0 and loudness curves on an instrument, and discard the sound."""
    for _ in instrument.perform(f0, loudness):
        pass


def median_times(rows: dict[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, tuple[float, float]]:
    """Call the functions in `rows` alternately. Return the median wall-clock time and CPU time of each in seconds."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, function in rows.items():
            clock, cpu = time.perf_counter(), time.process_time()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first round warms up
                times[name].append((time.perf_counter() - clock, time.process_time() - cpu))
    return {
        name: (statistics.median(a for a, _ in both), statistics.median(b for _, b in both)) for name, both in times.items()
    }


class StepTimer(pl.Callback):
    """Record the wall-clock time and the CPU time at the start of each training step."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Record the current wall-clock time and CPU time in seconds."""
        self.times.append((time.perf_counter(), time.process_time()))

    def medians(self) -> tuple[float, ...]:
        """Return the median wall-clock time and CPU time of a step in seconds, without the first five steps."""
        return tuple(statistics.median(b - a for a, b in pairwise(t[5:])) for t in zip(*self.times, strict=True))


def training(steps: int, device: str) -> dict[str, float]:
    """Measure the training steps per second of `ddsp_small` in `Trainer.fit` and in a plain loop, and print them."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        words = [f"data.cache_dir={folder}/cache", f"trainer.accelerator={accelerator}", f"trainer.max_steps={steps + 6}"]
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("train", ["experiment=ddsp_demo", "name=bench", *FEW_TRACKS, *words])
        with open_dict(config):
            config.callbacks = {}
        run = Run(Path(folder) / "run", config, [], {"model": "ddsp_small", "data": "demo_leads"})
        workflow: Any = build_workflow(run)
        timer = StepTimer()
        workflow.trainer.callbacks.append(timer)
        workflow.trainer.limit_val_batches = 0
        workflow.trainer.fit(workflow.task, workflow.data)
    fitted, bare = timer.medians(), plain_loop(config, steps, device)
    batch, seconds = config.data.batch_size, config.features.chunk_seconds
    print(f"steps of {batch} x {seconds} s: {1 / fitted[0]:.2f} per second, {1 / bare[0]:.2f} in a plain loop")
    print(f"CPU time per step: {fitted[1]:.3f} s and {bare[1]:.3f} s\n")
    return {
        "steps_per_second": 1 / fitted[0], "bare_steps_per_second": 1 / bare[0],
        "processor_seconds_per_step": fitted[1], "bare_processor_seconds_per_step": bare[1],
    }  # fmt: skip


def plain_loop(config: Any, steps: int, device: str) -> tuple[float, ...]:
    """Train `ddsp_small` in a plain loop over one batch. Return the median wall-clock and CPU time of a step in seconds."""
    hidden, layers, harmonics, reverb = INSTRUMENTS["ddsp_small"]
    net = Instrument(RATE, HOP, hidden, layers, harmonics, BANDS, 0, reverb).to(device)
    loss = MultiScaleSpectral([2048, 1024, 512, 256, 128, 64], 1.0).to(device)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)
    points = round(config.features.chunk_seconds * RATE / HOP) + 1
    f0 = torch.empty(config.data.batch_size, points, device=device).uniform_(200, 500)
    level, sound = torch.full_like(f0, -25.0), 0.1 * torch.randn(len(f0), (points - 1) * HOP, device=device)
    timer = StepTimer()
    for _ in range(steps + 6):
        timer.on_train_batch_start()
        optimizer.zero_grad()
        loss(net(f0, level), sound).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 3.0)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
    return timer.medians()


if __name__ == "__main__":
    main()
