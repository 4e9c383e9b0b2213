"""Measure the speed of training steps, and compare it with the speed of a reference implementation.

    python scripts/bench/train_step.py [model=unet,deep_ae] [steps=20] [precision=bf16-mixed]

Steps of unbraid and of the reference alternate in one process. The printed numbers are medians. The last line of the output is
one JSON object. The reference depends on the model:

- `unet`, `unet_noskip`: a plain U-Net in PyTorch's default contiguous layout, with the same loss and optimizer. It reads
  magnitudes from memory and computes no STFT, which is an advantage for the reference.
- `open_unmix`: the network and the STFT of the openunmix package, with the same loss, and Adam in a plain loop. Its batch is
  in memory, or is read from stem files with musdb (this needs ffmpeg).
- `ae`, `deep_ae`, `conv_ae`: the same network, loss and optimizer in a plain loop on a batch in memory. Two steps of unbraid
  are measured: one on this batch (with STFT and corruption), and one in `Trainer.fit` (with data loading and Lightning).
- Other separators are measured without a reference.

`precision=bf16-mixed` applies to separators, and needs a processor with bfloat16 multiplication (AMX). The plain U-Net is
measured in both precisions, and the openunmix package in float32 only.
"""

import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import hydra
import openunmix.model as package
import pytorch_lightning as pl
import torch
from data import make_songs, musdb_reader
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional

from unbraid.commands.cli import CONF
from unbraid.runs.config import build
from unbraid.training.callbacks.metrics_csv import MetricsCSV

PLAIN = ("unet", "unet_noskip")
PACKAGE = ("open_unmix",)
WITHOUT_REFERENCE = {  # batch sizes for a CPU
    "chimera": 16, "chimera_small": 16, "denoising_ae": 16, "unet_segmentation": 16, "unet_softmax": 16, "unet_44khz": 16,
    "conv_tasnet": 2, "hdemucs": 2, "htdemucs": 1, "bs_roformer": 1, "mel_band_roformer": 1,
}  # fmt: skip
PRECISIONS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "32-true": nullcontext,
    "bf16-mixed": partial(torch.autocast, "cpu", torch.bfloat16),
}
BATCH = 16
AUTOENCODERS = ("ae", "deep_ae", "conv_ae")
DATA = {"digits": ["data=digits"], "demo": ["data=demo", "targets=mixture", "data.chunks_per_track=200"]}


class PlainUNet(nn.Module):
    """Estimate a mask with a U-Net in PyTorch's default contiguous layout, as the reference for unbraid's U-Net."""

    def __init__(self, skips: bool) -> None:
        super().__init__()
        self.skips = skips
        widths = [1, 16, 32, 64, 128, 256, 512]
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 5, 2, 2), nn.BatchNorm2d(o), nn.LeakyReLU(0.2)) for i, o in pairwise(widths)
        )
        factors = [1] + [2 if skips else 1] * 5
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(i * f, o, 5, 2, 2, 1) for i, o, f in zip(widths[:0:-1], widths[-2::-1], factors, strict=True)
        )
        self.norm = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[-2:0:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Compute the mask of a batch of magnitude patches. Shape: [B, 1, F, T] -> [B, 1, F, T]."""
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        for depth, up in enumerate(self.up):
            x = up(torch.cat([x, levels[-1 - depth]], 1) if self.skips and depth else x)
            if depth < 5:
                x = torch.relu(self.norm[depth](x))
                x = torch.dropout(x, 0.5, self.training) if depth < 3 else x
        return torch.sigmoid(x)


def main() -> None:
    """Measure the models that the command line names. Print one table for each kind of model, and one JSON line."""
    arguments = dict(word.split("=", 1) for word in sys.argv[1:])
    every = (*PLAIN, *PACKAGE, *AUTOENCODERS, *WITHOUT_REFERENCE)
    models = arguments.pop("model", ",".join(every[: -len(WITHOUT_REFERENCE)])).split(",")
    steps, precision = int(arguments.pop("steps", "20")), arguments.pop("precision", "32-true")
    if arguments or not {*models} <= {*every} or precision not in PRECISIONS:
        known = f"model, of {', '.join(every)}; steps; precision, of {', '.join(PRECISIONS)}"
        sys.exit(f"error: invalid arguments, found {' '.join(sys.argv[1:])}, expected {known}")
    torch.set_flush_denormal(True)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    figures: dict[str, dict[str, float]] = {}
    if plain_models := [model for model in models if model in PLAIN]:
        print(f"\nbatches of 16 patches of 512 x 128, {precision}; medians of {steps} interleaved steps\n")
        print(
            f"{'model':<14}{'steps/s':>9}{'in memory':>11}{'wait':>9}{'STFTs':>9}{'plain':>9}{'vs plain':>10}{'in float32':>12}"
        )
        figures |= {model: measure(model, steps, precision) for model in plain_models}
    if "open_unmix" in models:
        figures |= {"open_unmix": measure_open_unmix(steps, precision)}
    if alone := [model for model in models if model in WITHOUT_REFERENCE]:
        print(f"\ntraining on the demo songs, {precision}; medians of {steps} steps\n")
        print(f"{'model':<20}{'M parameters':>13}{'chunks':>8}{'seconds':>9}{'steps/s':>9}{'in memory':>11}{'wait':>9}")
        figures |= {model: measure_alone(model, steps, precision) for model in alone}
    if autoencoders := [model for model in models if model in AUTOENCODERS]:
        print(f"\nTrainer.fit compared with a plain loop; medians of 9 interleaved rounds of {2 * steps} steps\n")
        print(f"{'':<18}{'steps/s':>13}{'':>22}{'relative to the plain loop':>26}")
        print(f"{'model':<10}{'data':<8}{'fit':>13}{'in memory':>11}{'plain loop':>11}{'fit':>10}{'in memory':>16}")
        for model in autoencoders:
            figures |= {f"{model}, {data}": measure_autoencoder(model, data, 2 * steps) for data in DATA}
    print(json.dumps(figures))


def measure(model: str, steps: int, precision: str) -> dict[str, float]:
    """Measure training steps of `unet` or `unet_noskip` and of the plain U-Net. Print a table row and return its numbers."""
    separator, batches, memory, step = prepare(model, precision)
    plain = PlainUNet(skips=model == "unet")
    plain_optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
    inputs, truths = torch.rand(16, 1, 512, 128), torch.rand(16, 1, 512, 128)

    def plain_step(precision: str) -> None:
        with PRECISIONS[precision]():
            loss = (plain(inputs) * inputs - truths).abs().mean()
        learn(plain_optimizer, loss)

    def transforms() -> None:
        spectrum = separator.stft(memory.mixture)
        separator.stft(memory.sources)
        separator.stft.inverse(spectrum, memory.mixture.shape[-1])

    times: dict[str, list[float]] = {"wait": [], "step": [], "memory": [], "stft": [], "plain": [], "float32": []}
    for number in range(steps + 2):
        seconds, batch = timed(lambda: next(batches))
        row = {
            "wait": seconds,
            "step": timed(partial(step, batch))[0],
            "memory": timed(partial(step, memory))[0],
            "stft": timed(transforms)[0],
            "plain": timed(partial(plain_step, precision))[0],
        }
        row["float32"] = row["plain"] if precision == "32-true" else timed(partial(plain_step, "32-true"))[0]
        for name, value in row.items() if number >= 2 else ():  # the first two steps are a warm-up
            times[name].append(value)
    median = {name: statistics.median(values) for name, values in times.items()}
    whole = median["wait"] + median["step"]
    figures = {
        "steps_per_s": 1 / whole,
        "in_memory_steps_per_s": 1 / median["memory"],
        "wait_share": median["wait"] / whole,
        "stft_share": median["stft"] / whole,
        "vs_plain": median["plain"] / median["memory"],
        "vs_plain_float32": median["float32"] / median["memory"],
    }
    print(
        f"{model:<14}{figures['steps_per_s']:>9.2f}{figures['in_memory_steps_per_s']:>11.2f}{figures['wait_share']:>9.2%}"
        f"{figures['stft_share']:>9.2%}{1 / median['plain']:>9.2f}{figures['vs_plain']:>9.2f}x"
        f"{figures['vs_plain_float32']:>11.2f}x"
    )
    return {name: round(value, 4) for name, value in figures.items()}


def prepare(model: str, precision: str, *words: str) -> tuple[Any, Iterator[Any], Any, Callable[[Any], None]]:
    """Build a separator and its data. Return the separator, the batches, one batch in memory, and a training function."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", [f"model={model}", "name=bench", "data.chunks_per_track=100000", *words])
    OmegaConf.resolve(config)
    torch.manual_seed(0)
    task, data = build(config.model), build(config.data)
    data.prepare_data()
    data.setup("fit")
    batches: Iterator[Any] = map(data.on_after_batch_transfer, data.train_dataloader())
    optimizer, separator = task.configure_optimizers(), task.separator

    def step(batch: Any) -> None:
        with PRECISIONS[precision]():
            estimate = separator(batch.mixture)
            loss = task.loss(estimate, separator.training_target(batch.mixture, batch.sources, estimate))
        learn(optimizer, loss)

    return separator, batches, next(batches), step


def measure_alone(model: str, steps: int, precision: str) -> dict[str, float]:
    """Measure training steps of a model without a reference. Print a table row and return its numbers.

    The first step is a warm-up and is not counted.
    """
    separator, batches, memory, step = prepare(model, precision, f"data.batch_size={WITHOUT_REFERENCE[model]}")
    rows = []
    for _ in range(steps + 1):
        wait, batch = timed(lambda: next(batches))
        rows.append((wait, timed(partial(step, batch))[0], timed(partial(step, memory))[0]))
    wait, whole, ours = (statistics.median(times) for times in zip(*rows[1:], strict=True))
    figures = {
        "parameters": sum(parameter.numel() for parameter in separator.parameters()),
        "chunks": WITHOUT_REFERENCE[model],
        "chunk_seconds": separator.chunk_samples / separator.sample_rate,
        "steps_per_s": 1 / (wait + whole),
        "in_memory_steps_per_s": 1 / ours,
        "wait_share": wait / (wait + whole),
    }
    print(
        f"{model:<20}{figures['parameters'] / 1e6:>13.2f}{WITHOUT_REFERENCE[model]:>8}{figures['chunk_seconds']:>9.2f}"
        f"{figures['steps_per_s']:>9.3f}{figures['in_memory_steps_per_s']:>11.3f}{figures['wait_share']:>9.2%}",
        flush=True,
    )
    return {name: round(value, 4) for name, value in figures.items()}


def measure_open_unmix(steps: int, precision: str) -> dict[str, float]:
    """Measure training steps of `open_unmix` and of the openunmix package alternately. Print a table, return its numbers.

    Both read stem files of songs of 60 s. Unbraid decodes them once into its store (a folder of decoded songs). The package
    reads them with musdb as in its own data set, one excerpt of one source after the other. To save time, only one chunk is
    read with musdb; its time is multiplied by the batch size.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = make_songs(Path(folder) / "stems", 4, 60)
        files = ["data=musdb", f"data.root={root}", f"data.cache_dir={folder}/cache"]
        return compare_with_package(
            steps, precision, musdb_reader(root), [*files, "data.sampling.remix=1.0", "augmentation=gain_swap"]
        )


def compare_with_package(steps: int, precision: str, read_chunk: Callable[[], Any], words: list[str]) -> dict[str, float]:
    """Measure training steps of `open_unmix` and of the openunmix package alternately. Print a table, return its numbers.

    The function `read_chunk` reads one chunk with musdb; its time is multiplied by the batch size and added for the package.
    """
    separator, batches, memory, step = prepare("open_unmix", precision, *words)
    (net,), stft = separator.nets, separator.stft
    peer = package.OpenUnmix(net.bins, net.audio_channels, net.hidden, net.layers, net.causal, max_bin=net.max_bin)
    encode = nn.Sequential(package.make_filterbanks(stft.n_fft, stft.hop_length, center=True)[0], package.ComplexNorm())
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-3, weight_decay=1e-5)

    def peer_step() -> None:
        learn(optimizer, functional.mse_loss(peer(encode(memory.mixture)), encode(memory.sources[:, 0])))

    rows = []
    for _ in range(steps + 1):
        wait, batch = timed(lambda: next(batches))
        reading = BATCH * timed(read_chunk)[0]
        rows.append((wait, *(timed(run)[0] for run in (partial(step, batch), partial(step, memory), peer_step)), reading))
    rows = rows[1:]  # the first one is a warm-up
    wait, whole, ours, theirs, reading = (statistics.median(times) for times in zip(*rows, strict=True))
    figures = {
        "steps_per_s": 1 / (wait + whole),
        "in_memory_steps_per_s": 1 / ours,
        "openunmix_steps_per_s": 1 / theirs,
        "openunmix_with_loading_steps_per_s": 1 / (theirs + reading),
        "wait_share": wait / (wait + whole),
        "vs_openunmix": statistics.median(row[3] / row[2] for row in rows),
        "vs_openunmix_with_loading": (theirs + reading) / (wait + whole),
    }
    print(f"\nopen_unmix, {precision}, and the openunmix package; 16 chunks of 6 s; medians of {steps} interleaved steps\n")
    print(f"{'steps/s':>9}{'in memory':>11}{'package':>9}{'and musdb':>11}{'wait':>9}{'vs package':>12}{'and musdb':>11}")
    print("{:>9.3f}{:>11.3f}{:>9.3f}{:>11.3f}{:>9.2%}{:>11.2f}x{:>10.2f}x".format(*figures.values()))
    return {name: round(value, 4) for name, value in figures.items()}


class Clock(pl.Callback):
    """Record the time in seconds from the end of each training step to the end of the next step of the same epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.last: float | None = None

    def on_train_epoch_start(self, *_: Any) -> None:
        """Discard the time of the last step, because the time between two epochs is not measured."""
        self.last = None

    def on_train_batch_end(self, *_: Any) -> None:
        """Record the time in seconds since the last step of this epoch."""
        now = time.perf_counter()
        if self.last is not None:
            self.times.append(now - self.last)
        self.last = now


def measure_autoencoder(model: str, data: str, steps: int) -> dict[str, float]:
    """Measure training steps of an autoencoder in `Trainer.fit`, without Lightning, and in a plain loop alternately.

    Print a table row and return its numbers.
    """
    words = [f"model={model}", *DATA[data], "trainer=cpu", "name=bench", f"trainer.max_steps={steps}"]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", words)
    OmegaConf.resolve(config)
    torch.manual_seed(0)
    task, module = build(config.model), build(config.data)
    step_task, bare = build(config.model), build(config.model).net
    make_optimizer = build(config.optim.optimizer)
    module.prepare_data()
    module.setup("fit")
    batch = module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0)
    items = task.as_items(task.features.items(batch)[0])
    optimizer, bare_optimizer = make_optimizer(step_task.parameters()), make_optimizer(bare.parameters())

    def step() -> None:
        clean, _ = step_task.features.items(batch)
        corrupted = step_task.as_items(step_task.corrupt(clean, 0))
        learn(optimizer, step_task.training_loss(corrupted, step_task.features.vectors(clean)))

    def bare_step() -> None:
        learn(bare_optimizer, task.loss(task.as_vectors(bare(items)), task.as_vectors(items)))

    rounds = []
    for _ in range(10):
        clock = Clock()
        quiet = {"enable_progress_bar": False, "enable_checkpointing": False}
        with tempfile.TemporaryDirectory() as folder:
            trainer = build(config.trainer, default_root_dir=folder, callbacks=[clock, MetricsCSV()], **quiet)
            trainer.fit(task, module)
        turns = [(timed(step)[0], timed(bare_step)[0]) for _ in range(steps)]
        rounds.append((statistics.median(clock.times), *map(statistics.median, zip(*turns, strict=True))))
    rounds = rounds[1:]  # the first one is a warm-up
    fit, memory, alone = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratios = [statistics.median(row[2] / row[kind] for row in rounds) for kind in (0, 1)]
    print(f"{model:<10}{data:<8}{1 / fit:>13.1f}{1 / memory:>11.1f}{1 / alone:>11.1f}{ratios[0]:>10.3f}{ratios[1]:>16.3f}")
    figures = {"steps_per_s": 1 / fit, "in_memory_steps_per_s": 1 / memory, "bare_steps_per_s": 1 / alone}
    figures |= {"fit_vs_bare": ratios[0], "in_memory_vs_bare": ratios[1]}
    return {name: round(value, 4) for name, value in figures.items()}


def learn(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Compute the gradients of a loss, and update the weights with the optimizer."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Call a function without arguments. Return the duration in seconds and the result of the function."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
