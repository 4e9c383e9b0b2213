"""How fast DDSP sounds and learns: our synthesiser beside a plain one, whole instruments, and training beside a bare loop.

    python scripts/bench/synthesis.py [seconds=30] [rounds=5] [steps=20]

The plain synthesiser is the usual way to write one, as the public implementation of acids-ircam and many others do: controls
are brought to the sample rate, phases are a cumulative sum in float32, every harmonic is a row of samples. Both get the same
controls, 100 harmonics, 65 noise bands and a room of 1 s at 16 kHz, in turn. Instruments are played piece by piece, network
and all. A step of training is that of `experiment=ddsp_demo`, in a whole `Trainer.fit` with data and Lightning, and in a bare
loop over one batch in memory. Times are medians, of the wall clock and of the processor: on a machine that is busy with other
work these differ. Where there is a GPU all is measured there, too. The last line is the same as one JSON object.
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
INSTRUMENTS = {"ddsp": (512, 3, HARMONICS, 1.0), "ddsp_small": (128, 2, 60, 0.0)}


def main() -> None:
    arguments = {"seconds": "30", "rounds": "5", "steps": "20"} | dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := arguments.keys() - {"seconds", "rounds", "steps"}:
        sys.exit(f"error: unknown argument {min(unknown)}; known: rounds, seconds, steps")
    seconds, rounds, steps = float(arguments["seconds"]), int(arguments["rounds"]), int(arguments["steps"])
    torch.set_flush_denormal(True)
    threads = torch.get_num_threads()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {threads} threads, torch {torch.__version__}")
    print(f"{seconds:g} s of sound at {RATE} Hz; medians of {rounds} rounds\n")
    figures: dict[str, Any] = {"seconds": seconds, "threads": threads, "tuning_error": tuning_errors()}
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        figures[device] = synthesis(seconds, rounds, torch.device(device)) | training(steps, device)
    print(json.dumps(figures))


def controls(seconds: float, device: torch.device) -> tuple[Tensor, ...]:
    """f0 [1, F + 1] from 150 to 300 Hz, amplitudes, noise magnitudes, a room [R]."""
    points = round(seconds * RATE / HOP) + 1
    random = torch.Generator().manual_seed(0)
    f0 = 225 + 75 * torch.linspace(0, seconds, points).sin()[None]
    amplitudes = torch.rand(1, points, HARMONICS, generator=random) / HARMONICS
    noise = 0.01 * torch.rand(1, points, BANDS, generator=random)
    room = 0.01 * torch.randn(RATE, generator=random)
    return tuple(part.to(device) for part in (f0, amplitudes, noise, room))


def ours(f0: Tensor, amplitudes: Tensor, noise: Tensor, room: Tensor) -> Tensor:
    tone, _ = oscillators(f0, amplitudes, HOP, RATE)
    air, _ = filtered_noise(noise[:, :-1], white_noise(tone, tone.shape[1]))
    return convolve(tone + air, room)[0]


def plain(f0: Tensor, amplitudes: Tensor, noise: Tensor, room: Tensor) -> Tensor:
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
    hz = functional.interpolate(f0[:, None, :-1], samples, mode="linear")[:, 0]
    gains = functional.interpolate(amplitudes[:, :-1].mT, samples, mode="linear").mT
    order = torch.arange(1, amplitudes.shape[-1] + 1, device=f0.device)
    gains = gains * (hz[..., None] * order < RATE / 2)
    phase = (2 * math.pi * hz / RATE).cumsum(1)
    return ((phase[..., None] * order).sin() * gains).sum(-1)


@torch.no_grad()
def tuning_errors() -> dict[str, float]:
    """Largest difference from ten equal sines in closed form within a minute, for a steady tone of 233.1 Hz."""
    points = 60 * RATE // HOP + 1
    f0, amplitudes = torch.full((1, points), 233.1), torch.full((1, points, 10), 0.1)
    turns = torch.arange(60 * RATE, dtype=torch.float64) * float(f0[0, 0]) / RATE
    true = sum(0.1 * (2 * math.pi * k * turns).sin() for k in range(1, 11))
    later = torch.arange(1, 60 * RATE + 1, dtype=torch.float64) * float(f0[0, 0]) / RATE  # its first sample is a step late
    true_later = sum(0.1 * (2 * math.pi * k * later).sin() for k in range(1, 11))
    found = {
        "ours": float((oscillators(f0, amplitudes, HOP, RATE)[0][0] - true).abs().max()),
        "plain": float((plain_tone(f0, amplitudes, 60 * RATE)[0] - true_later).abs().max()),
    }
    print("largest error within a minute of a steady tone: " + ", ".join(f"{k} {v:.1e}" for k, v in found.items()) + "\n")
    return found


@torch.no_grad()
def synthesis(seconds: float, rounds: int, device: torch.device) -> dict[str, Any]:
    given = controls(seconds, device)
    rows: dict[str, Callable[[], Any]] = {"synthesiser": lambda: ours(*given), "plain synthesiser": lambda: plain(*given)}
    for name, (hidden, layers, harmonics, reverb) in INSTRUMENTS.items():
        instrument = Instrument(RATE, HOP, hidden, layers, harmonics, BANDS, 0, reverb).eval().to(device)
        loudness = torch.full_like(given[0][0], -25.0)
        rows[f"instrument {name}"] = partial(whole, instrument, given[0][0], loudness)
    taken = in_turn(rows, rounds, device)
    print(f"{f'on {device}':<24}{'wall clock':>22}{'processor':>22}")
    for name, (wall, processor) in taken.items():
        print(f"  {name:<22}{seconds / wall:>8.0f} x real time{seconds / processor:>8.0f} x real time")
    print()
    keys = {name: name.replace(" ", "_") for name in taken}
    return {
        f"{keys[name]}_{what}": seconds / value
        for name, both in taken.items()
        for what, value in zip(("real_time", "real_time_of_processor"), both, strict=True)
    }


def whole(instrument: Instrument, f0: Tensor, loudness: Tensor) -> None:
    """Played to its end."""
    for _ in instrument.perform(f0, loudness):
        pass


def in_turn(rows: dict[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, tuple[float, float]]:
    """Median seconds of each, of the clock and of the processor."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, function in rows.items():
            clock, processor = time.perf_counter(), time.process_time()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first one warms up
                taken[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {
        name: (statistics.median(a for a, _ in both), statistics.median(b for _, b in both)) for name, both in taken.items()
    }


class Watch(pl.Callback):
    """When each step has begun."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.times.append((time.perf_counter(), time.process_time()))

    def medians(self) -> tuple[float, ...]:
        """Seconds of a step, of the clock and of the processor, without the first five."""
        return tuple(statistics.median(b - a for a, b in pairwise(t[5:])) for t in zip(*self.times, strict=True))


def training(steps: int, device: str) -> dict[str, float]:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        words = [f"trainer.accelerator={'gpu' if device == 'cuda' else 'cpu'}", f"trainer.max_steps={steps + 6}", "name=bench"]
        config = hydra.compose("train", ["experiment=ddsp_demo", *words])
    with open_dict(config):
        config.callbacks = {}
    with tempfile.TemporaryDirectory() as folder:
        course: Any = build_workflow(Run(Path(folder), config, [], {"model": "ddsp_small", "data": "demo_leads"}))
        watch = Watch()
        course.trainer.callbacks.append(watch)
        course.trainer.limit_val_batches = 0
        course.trainer.fit(course.task, course.data)
    fitted, bare = watch.medians(), bare_loop(config, steps, device)
    batch = config.data.batch_size
    print(
        f"a step of {batch} x {config.features.chunk_seconds} s: {1 / fitted[0]:.2f} a second, {1 / bare[0]:.2f} in a bare loop"
    )
    print(f"of the processor: {fitted[1]:.3f} s and {bare[1]:.3f} s\n")
    return {
        "steps_per_second": 1 / fitted[0], "bare_steps_per_second": 1 / bare[0],
        "processor_seconds_per_step": fitted[1], "bare_processor_seconds_per_step": bare[1],
    }  # fmt: skip


def bare_loop(config: Any, steps: int, device: str) -> tuple[float, ...]:
    hidden, layers, harmonics, reverb = INSTRUMENTS["ddsp_small"]
    net = Instrument(RATE, HOP, hidden, layers, harmonics, BANDS, 0, reverb).to(device)
    loss = MultiScaleSpectral([2048, 1024, 512, 256, 128, 64], 1.0).to(device)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)
    points = round(config.features.chunk_seconds * RATE / HOP) + 1
    f0 = torch.empty(config.data.batch_size, points, device=device).uniform_(200, 500)
    level, sound = torch.full_like(f0, -25.0), 0.1 * torch.randn(len(f0), (points - 1) * HOP, device=device)
    watch = Watch()
    for _ in range(steps + 6):
        watch.on_train_batch_start()
        optimizer.zero_grad()
        loss(net(f0, level), sound).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 3.0)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
    return watch.medians()


if __name__ == "__main__":
    main()
