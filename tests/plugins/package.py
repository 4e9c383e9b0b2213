"""Source of the package `mypkg` of the tests: one class of each kind that a plugin can add, and their configs."""

import textwrap
from pathlib import Path

PARTS = '''
"""One class of each kind."""
from pathlib import Path
import pytorch_lightning as pl
import torch
from torch import nn
from unbraid.data.tracks import AudioStream, Listing, Track
from unbraid.dsp.phase import Phase
from unbraid.models.features import Pixels
from unbraid.models.separators.masking import Masking
from unbraid.scoring.measures import Measure
from unbraid.sweeps.launchers.jobs import Launcher
from unbraid.sweeps.launchers.processes import start
from unbraid.tasks.separation import SeparationTask
from unbraid.training.loggers import Logger


class Net(nn.Module):
    def __init__(self, bins: int, hidden: int = 4, wrong: str | None = None) -> None:
        super().__init__()
        self.wrong = wrong
        self.layers = nn.Sequential(nn.Linear(bins, hidden), nn.ReLU(), nn.Linear(hidden, bins), nn.Sigmoid())

    def forward(self, magnitudes: torch.Tensor) -> torch.Tensor:
        mask = self.layers(magnitudes.transpose(-1, -2)).transpose(-1, -2)
        if self.wrong == "frames":
            return mask[..., :1]  # torch broadcasts it
        if self.wrong == "bins":
            return mask[..., :-1, :]
        return (mask, mask) if self.wrong == "tuple" else mask


class MySeparator(Masking):
    pass


class MyTask(SeparationTask):
    def __init__(self, separator: Masking, loss: nn.Module, optimizer, factor: float, scheduler=None) -> None:
        super().__init__(separator, loss, optimizer, scheduler)
        self.factor = factor

    def training_step(self, batch, index):
        return self.factor * super().training_step(batch, index)


class MyLoss(nn.Module):
    def __init__(self, wrong: str | None = None) -> None:
        super().__init__()
        self.wrong = wrong

    def forward(self, estimate, target):
        if self.wrong == "field":
            return (estimate.magnitudes - target.spectra).square().mean()
        squares = (estimate.magnitudes - target.magnitudes).square()
        return squares.mean().item() if self.wrong == "number" else squares if self.wrong == "bins" else squares.mean()


class OtherModule(nn.Module):
    def __init__(self, separator, loss, optimizer, factor: float, scheduler=None) -> None:
        super().__init__()


class MyPhase(Phase):
    def __call__(self, spectra, mixture, stft, samples):
        return stft.inverse(spectra, samples)

    def __str__(self) -> str:
        return "mine"


class MyLayout:
    def tracks(self, root: Path) -> Listing:
        names = ("bass", "drums", "other", "vocals")
        return Listing([
            Track(folder.name, folder.parent.name, {name: (AudioStream(folder / f"{name}.wav"),) for name in names})
            for folder in sorted(root.glob("*/*"))
        ])

    def fetch(self, root: Path) -> None:
        pass


class Louder:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, sources, sample_rate, random):
        return sources * self.factor


class MyPixels(Pixels):
    def items(self, batch):
        return 1 - batch.pixels, batch.labels


class SignSGD(torch.optim.Optimizer):
    def __init__(self, params, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(group["lr"] * parameter.grad.sign())
        return loss


class Halving(torch.optim.lr_scheduler.LRScheduler):
    def get_lr(self):
        return [base * 0.5**self.last_epoch for base in self.base_lrs]


class Counting(pl.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        with (Path(trainer.default_root_dir) / "counted.txt").open("a") as file:
            file.write(f"{trainer.current_epoch}\\n")


class Lines(Logger):
    def open(self, run):
        self.path = run.folder / "lines.txt"
        return set()

    def epoch(self, number, figures, media):
        with self.path.open("a") as file:
            file.write(f"{number} {figures['train/loss']}\\n")

    def result(self, result):
        with self.path.open("a") as file:
            file.write(f"result {sorted(result.figures)}\\n")

    def close(self, state):
        with self.path.open("a") as file:
            file.write(f"{state}\\n")


class MeanError(Measure):
    names = ("closeness", "undefined")
    unit = "no unit"

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def __call__(self, reference, estimate, sample_rate):
        return -self.factor * float((reference - estimate).abs().mean()), float("nan")


class OneByOne(Launcher):
    def refusal(self, job):
        return "is the third run" if job.number == 2 else None

    def introduction(self, jobs):
        return "one by one"

    def run(self, jobs, watch):
        for job in jobs:
            with (job.folder / "log.txt").open("ab") as log:
                process = start(job.folder, log=log)
            watch.started(job, "here")
            process.wait()
            watch.ended(job, *job.ending())


class _Private(nn.Module):
    pass


def function() -> None:
    raise AssertionError
'''
CONF = {
    "model/mine": """
        defaults: [base/masking@_here_, _self_]
        _target_: mypkg.parts.MyTask
        factor: 2.0
        separator:
          _target_: mypkg.parts.MySeparator
          stft: {n_fft: 256, hop_length: 192}
          chunk_seconds: 0.5
          net:
            _target_: mypkg.parts.Net
            _partial_: true
            bins: 129
            hidden: 4
            wrong: null
        loss:
          _target_: mypkg.parts.MyLoss
          wrong: null
        """,
    "model/other_task": """
        defaults: [mine, _self_]
        _target_: mypkg.parts.OtherModule
        """,
    "data/mine": """
        defaults: [base/tracks@_here_, _self_]
        layout:
          _target_: mypkg.parts.MyLayout
        """,
    "augmentation/mine": """
        louder:
          _target_: mypkg.parts.Louder
          factor: 1.5
        """,
    "features/mine": """
        _target_: mypkg.parts.MyPixels
        size: ${data.size}
        """,
    "optim/mine": """
        optimizer:
          _target_: mypkg.parts.SignSGD
          _partial_: true
          lr: 1e-3
        scheduler:
          _target_: mypkg.parts.Halving
          _partial_: true
        """,
    "callbacks/mine": """
        defaults: [default, _self_]
        counting:
          _target_: mypkg.parts.Counting
        """,
    "logger/mine": """
        mine:
          _target_: mypkg.parts.Lines
        """,
    "logger/rows": """
        rows:
          _target_: pytorch_lightning.loggers.CSVLogger
          save_dir: rows
        """,
    "protocol/mine": """
        defaults: [energy_ratios, _self_]
        name: mine
        measure:
          _target_: mypkg.parts.MeanError
          factor: 2.0
        """,
    "phase/mine": """
        _target_: mypkg.parts.MyPhase
        """,
    "launcher/mine": """
        # @package _global_
        launcher:
          _target_: mypkg.parts.OneByOne
        hydra:
          mode: MULTIRUN
        """,
    "experiment/mine": """
        # @package _global_
        defaults:
          - override /model: mine
        trainer: {max_epochs: 1}
        """,
}


def write(folder: Path, name: str = "mypkg") -> Path:
    """Write the package into a folder and return the folder of the package."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A plugin of the tests."""\n')
    (package / "parts.py").write_text(PARTS.lstrip())
    for path, text in CONF.items():
        file = package / "conf" / f"{path}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip().replace("mypkg", name))
    return package
