"""Measure the speed and memory of separation, for each model and in comparison with the openunmix package.

    python scripts/bench/separate.py [seconds=30] [rounds=1] [clip=5] [models=all] [minutes=1,3] [memory=unet]

The results in docs/explanation/speed.md are from `seconds=180 rounds=3 clip=20 minutes=6,60 memory=unet,open_unmix`. Results:

- `vs_openunmix`: time of openunmix's own `Separator` divided by the time of `unbraid.load(…).separate`. Both separate a song
  of `seconds` length into four targets, with the same weights, alternately in one process. Times are medians of `rounds`.
- `vs_openunmix_processors`: the same ratio for CPU time, which other programs on the machine affect less.
- `real_time_factor`: seconds of audio that a model separates per second of wall-clock time, measured with `clip` seconds of
  audio. `models=unet,open_unmix` measures only these models.
- `peak_gb`: peak memory of `scripts/separate.py` on stereo files of `minutes` length, for each model in the list `memory`.
- `rss_long_over_short`: peak memory for the longest file divided by peak memory for the shortest file, for each model in the
  list `memory`.
- `openunmix_rss_3min_over_1min`: the same ratio for the openunmix package, with songs of three minutes and one minute.

The weights are random, which does not change speed or memory. `rounds=0` skips the comparison with openunmix, and `minutes=0`
skips the measurements of memory. The last line of the output is one JSON object.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as in all scripts of this project

import hydra
import numpy as np
import openunmix.model as package
import soundfile
import torch
from omegaconf import DictConfig, OmegaConf

from unbraid.commands.cli import CONF
from unbraid.data.demo_songs.song import render_song
from unbraid.inference.loading import load_separator
from unbraid.runs.config import build

RATE = 44100
TARGETS = ("bass", "drums", "other", "vocals")
DEFAULTS = {"seconds": "30", "rounds": "1", "clip": "5", "models": "all", "minutes": "1,3", "memory": "unet"}
OF_MODELS = {"unet_softmax": ["targets=all"], "open_unmix": ["targets=vocals_accompaniment", "phase=wiener"]}
SCRIPT = Path(__file__).parents[1] / "separate.py"


def main() -> None:
    """Measure speed and memory of separation with the options of the command line, and print the results."""
    arguments = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := arguments.keys() - DEFAULTS.keys():
        sys.exit(f"error: unknown argument {min(unknown)}; known: {', '.join(DEFAULTS)}")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load}, torch {torch.__version__}")
    print(f"{torch.get_num_threads()} threads\n")
    torch.set_flush_denormal(True)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if int(arguments["rounds"]):
            figures |= compare_with_openunmix(Path(folder), float(arguments["seconds"]), int(arguments["rounds"]))
        figures["real_time_factor"] = speeds(Path(folder), arguments["models"], float(arguments["clip"]))
        minutes = [float(value) for value in arguments["minutes"].split(",")]
        if minutes[0]:
            figures |= memory(Path(folder), arguments["memory"].split(","), minutes)
    print(json.dumps(figures))


def song(seconds: float) -> torch.Tensor:
    """Return a generated song of 20 s, repeated to the given length in seconds. Shape: [2, samples]."""
    mixture = sum(stem.astype(np.float32) for stem in render_song(0, 20).values()) / 32768
    return torch.from_numpy(np.tile(mixture, round(np.ceil(seconds / 20)))[:, : round(seconds * RATE)])


def make_openunmix(folder: Path) -> package.Separator:
    """Return a separator of the openunmix package with random weights, and write its weights into a new folder."""
    torch.manual_seed(0)
    nets = {target: package.OpenUnmix(2049, 2, 512, 3, max_bin=1487).eval() for target in TARGETS}
    folder.mkdir()
    shape = {"nfft": 4096, "nhop": 1024, "nb_channels": 2}
    (folder / "separator.json").write_text(json.dumps({"sample_rate": RATE} | shape))
    for target, net in nets.items():
        (folder / f"{target}.json").write_text(json.dumps({"args": {"target": target, "hidden_size": 512} | shape}))
        torch.save(net.state_dict(), folder / f"{target}.pth")
    return package.Separator(nets, 1, False, False, sample_rate=float(RATE), nb_channels=2, wiener_win_len=300).eval()


def timed(function: Callable[[], Any]) -> tuple[float, float]:
    """Call a function without arguments, and return its wall-clock time and CPU time in seconds."""
    clock, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        function()
    return time.perf_counter() - clock, time.process_time() - cpu


def compare_with_openunmix(folder: Path, seconds: float, rounds: int) -> dict[str, float]:
    """Separate a song with openunmix and with unbraid. Return the time of openunmix divided by the time of unbraid."""
    theirs, mixture = make_openunmix(folder / "openunmix"), song(seconds)
    ours = load_separator(folder / "openunmix")
    ours.separate(mixture[:, : 5 * RATE], RATE)
    theirs(mixture[None, :, : 5 * RATE])
    times: list[tuple[float, float, float, float]] = []
    for _ in range(rounds):
        times.append((*timed(lambda: theirs(mixture[None])), *timed(lambda: ours.separate(mixture, RATE))))
    their_clock, their_cpu, our_clock, our_cpu = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"a song of {seconds:g} s, 4 targets, one iteration of the Wiener filter; medians of {rounds} rounds")
    print(f"  openunmix, whole song  {their_clock:7.1f} s   {their_cpu:7.1f} s of CPU time")
    print(f"  unbraid, chunks        {our_clock:7.1f} s   {our_cpu:7.1f} s of CPU time")
    print(f"  {their_clock / our_clock:.2f} times as fast, {their_cpu / our_cpu:.2f} by CPU time\n")
    return {"vs_openunmix": their_clock / our_clock, "vs_openunmix_processors": their_cpu / our_cpu}


def config_of(model: str) -> DictConfig:
    """Compose the training config with a model by its name, such as `unet`."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", ["name=bench", f"model={model}", *OF_MODELS.get(model, ["targets=vocals"])])


def make_run(folder: Path, model: str) -> Path:
    """Write a run folder with the config and random weights of a model, unless the folder already exists; return it."""
    if not folder.exists():
        config, _ = config_of(model), torch.manual_seed(0)
        (folder / "checkpoints").mkdir(parents=True)
        OmegaConf.save(config, folder / "config.yaml", resolve=True)
        torch.save({"state_dict": build(config.model).state_dict()}, folder / "checkpoints/best.ckpt")
    return folder


def separating_models() -> list[str]:
    """Return the names of all model configs that contain a separator, except those whose name ends with `_large`."""
    names = sorted(path.stem for path in (CONF / "model").glob("*.yaml") if not path.stem.endswith("_large"))
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return [name for name in names if "separator" in hydra.compose("train", [f"model={name}", "name=bench"]).model]


def speeds(folder: Path, models: str, seconds: float) -> dict[str, float]:
    """Measure how many seconds of audio each model separates per second of wall-clock time."""
    print(f"real-time factors, clips of {seconds:g} s, stereo, 44.1 kHz")
    mixture, factors = song(seconds), {}
    for model in separating_models() if models == "all" else filter(None, models.split(",")):
        loaded = load_separator(make_run(folder / model, model))
        loaded.separate(mixture[:, :RATE], RATE)
        clock, cpu = timed(lambda loaded=loaded: loaded.separate(mixture, RATE))  # type: ignore[misc]
        factors[model] = seconds / clock
        targets = len(loaded.targets)
        print(f"  {model:26}{factors[model]:8.2f}   {seconds / cpu:8.2f} by CPU time   {targets} targets")
    print()
    return factors


def memory(folder: Path, models: list[str], minutes: list[float]) -> dict[str, Any]:
    """Measure the peak memory of `scripts/separate.py` for each model, and its growth from the shortest to the longest file."""
    peaks, block = {}, song(20).T.numpy()
    for length in minutes:
        path = folder / f"{length:g}.wav"
        with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
            for _ in range(round(3 * length)):
                file.write(block)
        for model in models:
            words = [f"run={make_run(folder / model, model)}", f"input={path}", f"output={folder / 'out'}", "overwrite=true"]
            peaks[model, length] = peak_of([sys.executable, str(SCRIPT), *words, "device=cpu"])
            print(f"  {model:26}{length:5g} min {peaks[model, length]:8.3f} GB", flush=True)
    short, long = minutes[0], minutes[-1]
    growth = {model: peaks[model, long] / peaks[model, short] for model in models}
    theirs = [peak_of([sys.executable, __file__, f"package={length}"]) for length in (60, 180)]
    print(f"  the openunmix package, 1 and 3 minutes: {theirs[0]:.3f} and {theirs[1]:.3f} GB\n")
    return {
        "rss_long_over_short": growth,
        "peak_gb": {model: max(peaks[model, length] for length in minutes) for model in models},
        "openunmix_rss_3min_over_1min": theirs[1] / theirs[0],
    }


# Until a child process executes its program, its peak memory includes that of its parent. So a small parent starts it.
SMALL = """if True:
    import resource, subprocess, sys
    subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20)
"""


def peak_of(command: list[str]) -> float:
    """Run a command in a new process, and return the peak memory of this process in GB."""
    return float(subprocess.run([sys.executable, "-c", SMALL, *command], capture_output=True, text=True, check=True).stdout)


def separate_with_package(seconds: float) -> None:
    """Separate a song of the given length with the openunmix package; the caller measures the memory of this process."""
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        make_openunmix(Path(folder) / "openunmix")(song(seconds)[None])


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("package="):
        separate_with_package(float(sys.argv[1].partition("=")[2]))
    else:
        main()
