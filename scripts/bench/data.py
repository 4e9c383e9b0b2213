"""Measure the speed and memory of loading training data: decoding songs, drawing batches, and waiting for a batch.

    python scripts/bench/data.py [songs=20] [seconds=120]

The store (unbraid's folder of decoded songs) is compared with reading by the musdb package and by soundfile. The script needs
ffmpeg for musdb (`apt install ffmpeg`) and the packages of the `dev` extra. The songs are copies of the stem file in the
stempeg wheel, repeated to a length of `seconds`. For soundfile the songs are decoded to wav files.

A batch has 16 random chunks of 6 s with 4 stereo sources at 44.1 kHz, and the sums of the sources, in float32. Each source is
from another song (as in Open-Unmix). The three ways to read alternate in one process, with all files in the page cache of the
operating system. The printed numbers are medians. The last line of the output is a JSON object.
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # the value that train.py sets

import hydra
import numpy as np
import soundfile
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from unbraid import audio
from unbraid.commands.cli import CONF
from unbraid.data.layouts.musdb import MUSDB18, STEM_STREAMS
from unbraid.data.store import Store
from unbraid.runs.config import build

RATE, BATCH, CHUNK_SECONDS = 44100, 16, 6.0
CPU = torch.device("cpu")
CHUNK = round(RATE * CHUNK_SECONDS)
SOURCES = ("drums", "bass", "other", "vocals")
STEREO = ["model.separator.sample_rate=44100", "model.separator.channels=2", f"data.chunk_seconds={CHUNK_SECONDS}"]
FEW = "data.chunks_per_track=400"  # a usual length of an epoch
RECIPE = ["targets=all", "data.sampling.remix=1", "data.batch_size=16", "data.chunks_per_track=100000", *STEREO]


def main() -> None:
    """Run all measurements of data loading, and print the results."""
    arguments = {"songs": "20", "seconds": "120"} | dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := arguments.keys() - {"songs", "seconds"}:
        sys.exit(f"error: {min(unknown)}: unknown argument, expected songs or seconds")
    if not shutil.which("ffmpeg"):
        sys.exit("error: ffmpeg is not on the PATH, and the musdb package needs it. Install it with: apt install ffmpeg")
    torch.set_flush_denormal(True)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        root = make_songs(Path(folder) / "stems", int(arguments["songs"]), float(arguments["seconds"]))
        figures = fill(root, Path(folder)) | chunks(root, Path(folder)) | waits(root, Path(folder)) | memory(Path(folder))
        if torch.cuda.is_available():
            figures |= on_device(root, Path(folder), torch.device("cuda"))
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def make_songs(root: Path, count: int, seconds: float) -> Path:
    """Write a folder like MUSDB18 with `count` training songs as stem files of the given length in seconds; return it."""
    spec = find_spec("stempeg")
    assert spec is not None and spec.submodule_search_locations
    (source,) = (Path(spec.submodule_search_locations[0]) / "data").glob("*.stem.mp4")
    loops = str(int(seconds / 6))
    ffmpeg = ["ffmpeg", "-loglevel", "error", "-stream_loop", loops, "-i", str(source), "-map", "0:a", "-c", "copy"]
    for split in ("train", "valid", "test"):
        (root / split).mkdir(parents=True)
        for number in range(count if split == "train" else 1):
            subprocess.run([*ffmpeg, str(root / split / f"{split} {number}.stem.mp4")], check=True)
    return root


def data_module(root: Path, cache: Path, *words: str) -> Any:
    """Return the data module of a MUSDB18 folder, ready for training. `words` are overrides of the config."""
    choices = [f"data.root={root}", f"data.cache_dir={cache}", "data=musdb", "name=bench", *words]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", choices)
    OmegaConf.resolve(config)
    data = build(config.data)
    data.prepare_data()
    data.setup("fit")
    return data


def batches(data: Any) -> Iterator[Any]:
    """Yield the training batches of a data module, after augmentation and mixing of the sources."""
    return map(data.on_after_batch_transfer, data.train_dataloader())


# Filling the store


def fill(root: Path, folder: Path) -> dict[str, float]:
    """Compare the time of decoding a song into the store with the time of reading the song with the musdb package."""
    print("\nreading whole tracks of 5 stereo streams: seconds per track")
    short = make_songs(folder / "short", 40, 6.0)
    return {
        "fill_vs_musdb": fill_one_kind(root, folder / "cache"),
        "fill_vs_musdb_short_tracks": fill_one_kind(short, folder / "short cache"),
    }


def fill_one_kind(root: Path, cache: Path) -> float:
    """Return the seconds per song of musdb (the faster of two ways to read) divided by the seconds of filling the store."""
    import musdb

    tracks = musdb.DB(root=str(root), subsets="train", split="train").tracks[:4]
    at_once = statistics.median(timed(partial(getattr, track, "stems"))[0] for track in tracks)
    each = statistics.median(timed(partial(read_each, track))[0] for track in tracks)
    rows = {"musdb, track.stems": at_once, "musdb, one stem at a time": each}
    for decoders in (1, None):
        shutil.rmtree(cache, ignore_errors=True)
        listed = MUSDB18().tracks(root).tracks
        store = Store(cache / "store", RATE, 2, decoders)
        rows[f"store, processes: {decoders or os.cpu_count()}"] = timed(partial(store.open, listed, False))[0] / len(listed)
    musdb_seconds, store_seconds = min(at_once, each), list(rows.values())[-1]
    for name, seconds in rows.items():
        print(f"  {tracks[0].duration:4.0f} s, {name:<34}{seconds:8.2f}{musdb_seconds / seconds:10.1f} x")
    return musdb_seconds / store_seconds


def read_each(track: Any) -> list[Any]:
    """Read the mixture and the four stems of a song one after the other with musdb, and return their samples."""
    return [track.audio, *(source.audio for source in track.sources.values())]


# Chunks


def chunks(root: Path, folder: Path) -> dict[str, float]:
    """Compare how many training chunks per second the store, soundfile and musdb deliver."""
    wavs = decode_to_wav(root, folder / "wav")
    readers: dict[str, Callable[[], Any]] = {}
    for place in ("disk", "host"):
        stored = batches(data_module(root, folder / "cache", *RECIPE, f"data.residency={place}"))
        readers[f"store, {place}"] = partial(next, stored)
    readers["soundfile, seeking in wav"] = soundfile_reader(wavs)
    readers["musdb, stem files"] = musdb_reader(root)
    times: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(12):
        for name, reader in readers.items():
            if name.startswith("musdb") and turn > 2:
                continue
            times[name].append(timed(reader)[0] * (BATCH if name.startswith("musdb") else 1))
    rates = {name: BATCH / statistics.median(seconds[1:]) for name, seconds in times.items()}
    print(f"\nbatches of {BATCH} x {CHUNK_SECONDS:g} s, 4 stereo sources at {RATE} Hz: chunks per second")
    for name, rate in rates.items():
        print(f"  {name:<34}{rate:8.1f}{rates['store, disk'] / rate:10.1f} x slower than the store")
    peers = {"vs_musdb": "musdb, stem files", "vs_soundfile": "soundfile, seeking in wav"}
    return {figure: rates["store, disk"] / rates[peer] for figure, peer in peers.items()}


def decode_to_wav(root: Path, folder: Path) -> list[dict[str, Path]]:
    """Decode the training songs to wav files. Return for each song the path of the wav file of each source."""
    songs = []
    for path in sorted((root / "train").iterdir()):
        streams, rate = audio.read(path, [STEM_STREAMS[source] for source in SOURCES])
        songs.append({source: folder / path.stem / f"{source}.wav" for source in SOURCES})
        (folder / path.stem).mkdir(parents=True)
        for file, samples in zip(songs[-1].values(), streams, strict=True):
            soundfile.write(file, samples.T, rate, subtype="PCM_16")
    return songs


def batch_of(chunk: Callable[[], Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Call `chunk` `count` times, and return a batch of the chunks: the mixtures, and the sources."""
    sources = torch.stack([chunk() for _ in range(count)])
    return sources.sum(dim=1), sources


def soundfile_reader(songs: list[dict[str, Path]]) -> Callable[[], Any]:
    """Return a function that reads a batch of random chunks from wav files with soundfile."""
    random = np.random.default_rng(0)

    def source(name: str) -> Tensor:
        with soundfile.SoundFile(songs[random.integers(len(songs))][name]) as file:
            file.seek(int(random.integers(file.frames - CHUNK)))
            return torch.from_numpy(file.read(CHUNK, dtype="float32", always_2d=True)).T

    return lambda: batch_of(lambda: torch.stack([source(name) for name in SOURCES]), BATCH)


def musdb_reader(root: Path) -> Callable[[], Any]:
    """Return a function that reads one random chunk with musdb. A chunk takes seconds, so no whole batch is read."""
    import musdb

    random = np.random.default_rng(0)
    tracks = musdb.DB(root=str(root), subsets="train", split="train").tracks

    def source(name: str) -> Tensor:
        track = tracks[random.integers(len(tracks))]
        track.chunk_duration = CHUNK_SECONDS
        track.chunk_start = random.uniform(0, track.duration - CHUNK_SECONDS)
        audio = torch.as_tensor(track.sources[name].audio.T, dtype=torch.float32)
        samples = round(CHUNK_SECONDS * track.rate)  # musdb rounds the times, so an excerpt may be one sample shorter
        return torch.nn.functional.pad(audio[:, :samples], (0, max(samples - audio.shape[1], 0)))

    return lambda: batch_of(lambda: torch.stack([source(name) for name in SOURCES]), 1)


# Waiting for batches


def waits(root: Path, folder: Path) -> dict[str, float]:
    """Measure which share of the time of a training step is spent waiting for its batch."""
    print("\nshare of a training step that is spent waiting for its batch (gathered, augmented, summed)")
    print(f"  {'':<44}{'workers=0':>12}{'workers=1':>12}{'step':>10}")
    figures = {}
    recipe = ["targets=vocals", "data.sampling.remix=1", "augmentation=gain_swap", "data.batch_size=16", *STEREO]
    cases = {
        "unet": ("U-Net, 8192 Hz mono", unet_step(), []),
        "open_unmix": ("Open-Unmix, 44.1 kHz stereo", open_unmix_step(), ["data.batch_size=16", *STEREO]),
        "open_unmix_recipe": ("the same with remix and augmentation", open_unmix_step(), recipe),
    }
    for name, (title, step, words) in cases.items():
        data = [
            batches(data_module(root, folder / "cache", "data.chunks_per_track=100000", f"data.num_workers={n}", *words))
            for n in (0, 1)
        ]
        rows: list[list[tuple[float, float]]] = [[], []]
        for _ in range(7):
            for stream, row in zip(data, rows, strict=True):
                start = time.perf_counter()
                batch = next(stream)
                ready = time.perf_counter()
                step(batch)
                row.append((ready - start, time.perf_counter() - ready))
        shares = [statistics.median(wait / (wait + work) for wait, work in row[2:]) for row in rows]
        print(f"  {title:<44}{shares[0]:>12.2%}{shares[1]:>12.2%}{statistics.median(w for _, w in rows[0][2:]):>8.2f} s")
        figures[f"wait_share_{name}"] = min(shares)
    return figures


def on_device(root: Path, folder: Path, device: torch.device) -> dict[str, float]:
    """Measure training with all songs in GPU memory: chunks per second, and the share of a step spent on data loading."""
    cases: dict[str, tuple[str, Callable[[Any], None], list[str]]] = {
        "unet": ("U-Net, 8192 Hz mono", unet_step(device), []),
        "open_unmix": ("Open-Unmix, 44.1 kHz stereo", open_unmix_step(device), ["data.batch_size=16", *STEREO]),
    }
    print(f"\nsamples in the memory of {torch.cuda.get_device_name(device) if device.type == 'cuda' else device}")
    figures: dict[str, float] = {}
    for name, (title, step, words) in cases.items():
        data = data_module(root, folder / "cache", "data.chunks_per_track=100000", *words)
        data._device, data.place = (lambda: device), (lambda: "device")  # replaces the methods that need a Trainer
        chunks, mixing = iter(data.train_dataloader()), data.on_after_batch_transfer

        def batch(chunks: Iterator[Any] = chunks, mixing: Callable[[Any], Any] = mixing) -> Any:
            drawn = next(chunks)
            return mixing(drawn._replace(tracks=drawn.tracks.to(device), starts=drawn.starts.to(device)))

        ready = batch()
        seconds = {
            "whole": per_round(partial(in_turn, batch, step), device),
            "network": per_round(partial(step, ready), device),
            "data": per_round(batch, device),
        }
        share, rate = 1 - seconds["network"] / seconds["whole"], BATCH / seconds["data"]
        print(f"  {title:<44}{rate:>10.0f} chunks/s{share:>10.2%} of a step is outside the network")
        figures |= {f"device_share_{name}": share, f"device_chunks_per_s_{name}": rate}
    return figures


def in_turn(batch: Callable[[], Any], step: Callable[[Any], None]) -> None:
    """Draw a batch with `batch`, then pass it to `step`, which trains on it."""
    step(batch())


def per_round(function: Callable[[], Any], device: torch.device, rounds: int = 20) -> float:
    """Return the mean duration of a call of `function` in seconds, including its work on the GPU."""
    for _ in range(3):
        function()
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(rounds):
        function()
    wait()
    return (time.perf_counter() - start) / rounds


def unet_step(device: torch.device = CPU) -> Callable[[Any], None]:
    """Return a function that trains the default model, a U-Net, on a batch."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", ["name=bench"])
    OmegaConf.resolve(config)
    task = build(config.model).to(device)
    optimizer = task.configure_optimizers()

    def step(batch: Any) -> None:
        estimate = task.separator(batch.mixture)
        reference = task.separator.training_target(batch.mixture, batch.sources, estimate)
        learn(optimizer, task.loss(estimate, reference))

    return step


def open_unmix_step(device: torch.device = CPU) -> Callable[[Any], None]:
    """Return a function that trains the network of the openunmix package on a batch, with one target and default size."""
    from openunmix.model import OpenUnmix
    from openunmix.transforms import ComplexNorm, make_filterbanks

    stft, _ = make_filterbanks(n_fft=4096, n_hop=1024)
    encoder = nn.Sequential(stft, ComplexNorm(mono=False)).to(device)
    network = OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=1487).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-5)

    def step(batch: Any) -> None:
        with torch.no_grad():
            mixture, target = encoder(batch.mixture), encoder(batch.sources[:, 0])
        learn(optimizer, (network(mixture) - target).square().mean())

    return step


def learn(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Compute the gradients of a loss, and update the weights with the optimizer."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# Memory


def memory(folder: Path) -> dict[str, float]:
    """Compare the peak memory of a process that draws batches from a store on the disk, for 6 songs and for 60 songs."""
    sizes = {}
    for count in (6, 60):
        root = make_songs(folder / f"{count} songs", count, 24.0)
        data_module(root, folder / f"cache {count}", *RECIPE, FEW)
        words = [sys.executable, __file__, "--memory", str(root), str(folder / f"cache {count}")]
        sizes[count] = int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1]) / 1024
    print("\nresident memory after 100 batches from the disk, residency=disk")
    for count, size in sizes.items():
        print(f"  {count:>3} tracks of 30 s {size:12.0f} MB")
    return {"rss_growth_10x": sizes[60] / sizes[6]}


def draw_and_print_memory(root: str, cache: str) -> None:
    """Draw 100 batches from a store on the disk, and print the peak memory of this process in kB."""
    stream = batches(data_module(Path(root), Path(cache), *RECIPE, FEW, "data.residency=disk"))
    for _ in range(100):
        next(stream)
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(line.split()[1])


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Call a function without arguments. Return the duration in seconds and the result of the function."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        draw_and_print_memory(*sys.argv[2:])
    else:
        main()
