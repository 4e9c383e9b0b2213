"""Choose settings with which a training fits into memory (`plan=fit`), without a change of its effective batch.

The effective batch is the number of chunks between two updates of the weights: `data.batch_size` times
`trainer.accumulate_grad_batches`. The settings are the batch size, gradient accumulation, gradient checkpointing and, on a GPU,
the precision. The memory is measured in short trials with two small batch sizes. The memory of other batch sizes is predicted
with a straight line, because the memory of activations is proportional to the batch size.
"""

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from unbraid.commands.trial import trial
from unbraid.data.store import spell_size
from unbraid.runs.errors import InputError
from unbraid.runs.records import Run
from unbraid.runs.text import echo
from unbraid.sweeps.launchers.processes import duration

UNITS = {"MB": 1e6, "GB": 1e9, "MiB": 2**20, "GiB": 2**30}
SHARE = 0.95  # of the memory limit that a prediction may use
CHECKPOINTING = "model.separator.net.gradient_checkpointing"
CHUNK = "model.separator.chunk_seconds"
SHORTEST_CHUNK = 1.0  # s
COLUMNS = ("batch", "accumulation", "checkpointing", "precision", "chunk", "memory", "epoch")


@dataclass(frozen=True)
class Setting:
    """Store the settings of a training that change its memory.

    Args:
        batch: number of chunks that the network processes at once.
        accumulate: number of batches between two updates of the weights.
        precision: precision of the Trainer, such as `bf16-mixed`.
        checkpointing: whether the network computes intermediate results again to save memory; None: it lacks this option.
        chunk: length of a chunk in s; None: the data has no such length.
    """

    batch: int
    accumulate: int
    precision: str
    checkpointing: bool | None
    chunk: float | None

    def keys(self) -> dict[str, Any]:
        """Return the settings as config keys with their values."""
        values = {
            "data.batch_size": self.batch, "trainer.accumulate_grad_batches": self.accumulate,
            "trainer.precision": self.precision, CHECKPOINTING: self.checkpointing, CHUNK: self.chunk,
        }  # fmt: skip
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True)
class Prediction:
    """Store a setting with its predicted peak memory in bytes and its predicted time for an epoch in s."""

    setting: Setting
    memory: float
    epoch: float


def fit_memory(run: Run) -> None:
    """Print the settings with which a run fits into memory, and the command of the fastest of them.

    Args:
        run: run to plan. Its config has the key `memory`.

    Raises:
        InputError: the run has no batch size, `memory` is invalid, no trial succeeds, or no setting fits.
    """
    if OmegaConf.select(run.config, "data.batch_size") is None:
        raise InputError("plan=fit", "the data set has no batch size")
    limit = memory_limit(run.config.get("memory"), run.config.trainer.accelerator)
    given = _given(run)
    effective = given.batch * given.accumulate
    trials = SettingTrials(run)
    rows: list[Prediction] = []
    for option in _options(given, trials.on_gpu):
        rows += trials.predictions(option, effective)
    if not rows:
        raise InputError("plan=fit", "no trial succeeded", found=trials.error)
    while not _fitting(rows, limit) and (shorter := _shorter(rows[-1].setting)):
        if not (found := trials.predictions(shorter, effective)):
            break  # the network does not accept chunks of this length
        rows += found
    chosen = _verified(trials, rows, limit)
    _print(rows, chosen, effective, limit)
    if trials.batch_norm and chosen.setting.batch != given.batch:
        sizes = f"{given.batch} to {chosen.setting.batch} chunks"
        echo(f"note    batch normalisation uses the statistics of each batch, and the batch changes from {sizes}")
    if chosen.setting.chunk != given.chunk:
        echo(f"note    chunks of {given.chunk:g} s do not fit. Shorter chunks change the training, not only its memory")
    echo(f"command {_command(run, given, chosen.setting)}")


class SettingTrials:
    """Measure settings of a run in short trials, each in a process of its own.

    Args:
        run: run to measure.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.batch_norm, self.error = run, False, ""
        self.on_gpu = _is_on_gpu(run.config.trainer.accelerator)

    def measure(self, setting: Setting) -> dict[str, Any]:
        """Train a setting for a few steps, and return the measured values of `unbraid.commands.probe`."""
        echo(f"measuring {_text(setting)}", file=sys.stderr, flush=True)
        config: Any = OmegaConf.create(OmegaConf.to_container(self.run.config, resolve=True))
        for key, value in setting.keys().items():
            OmegaConf.update(config, key, value)
        if setting.chunk is not None:
            config.data.chunk_seconds = setting.chunk
        config.trainer.accumulate_grad_batches = 1
        result = trial(replace(self.run, config=config))
        self.batch_norm = self.batch_norm or bool(result.get("batch_norm"))
        return result

    def predictions(self, option: Setting, effective: int) -> list[Prediction]:
        """Measure a setting with two small batch sizes, and predict memory and time of all batch sizes.

        Args:
            option: setting whose batch size is replaced.
            effective: number of chunks between two updates of the weights.

        Returns:
            One prediction for each divisor of `effective`, from the largest to the smallest. If the second trial fails, only
            the smallest batch size. If the first trial fails, an empty list; the attribute `error` is then the reason.
        """
        sizes = [size for size in range(1, effective + 1) if effective % size == 0]
        small, large = sizes[0], sizes[min(2, len(sizes) - 1)]
        first = self.measure(replace(option, batch=small))
        if "error" in first:
            self.error = first["error"]
            return []
        second = first if large == small else self.measure(replace(option, batch=large))
        if "error" in second:  # out of memory
            large, second = small, first
        memory, seconds = (
            _line(small, large, first["memory"], second["memory"]),
            _line(small, large, *map(_step, (first, second))),
        )
        return [
            Prediction(
                replace(option, batch=size, accumulate=effective // size), memory(size), seconds(size) * first["chunks"] / size
            )
            for size in reversed(sizes if large > small else [small])
        ]


def memory_limit(text: str | None, accelerator: str) -> float:
    """Return the memory that a training may use, in bytes.

    Args:
        text: amount with a unit, such as `24GB`; None: the memory of the first GPU, or the free RAM if training uses the CPU.
        accelerator: config key `trainer.accelerator`.

    Returns:
        The memory in bytes.

    Raises:
        InputError: the text is not a number with one of the units in `UNITS`.
    """
    if text is None:
        if _is_on_gpu(accelerator):
            return float(torch.cuda.get_device_properties(0).total_memory)
        return float(psutil.virtual_memory().available)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]i?B)", text.strip())
    if found is None or found[2] not in UNITS or not float(found[1]):
        raise InputError("memory", found=text, expected=f"a number above 0 with a unit ({', '.join(UNITS)}), such as 24GB")
    return float(found[1]) * UNITS[found[2]]


def _is_on_gpu(accelerator: str) -> bool:
    return torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda")


def _given(run: Run) -> Setting:
    config = run.config
    checkpointing, chunk = (OmegaConf.select(config, key) for key in (CHECKPOINTING, CHUNK))
    return Setting(
        config.data.batch_size, config.trainer.accumulate_grad_batches, str(config.trainer.precision), checkpointing, chunk
    )


def _options(given: Setting, on_gpu: bool) -> list[Setting]:
    """Return the given setting, and the settings with checkpointing and, on a GPU, with bfloat16."""
    options = [given]
    if on_gpu and given.precision.startswith("32"):
        options.append(replace(given, precision="bf16-mixed"))
    return options + [replace(option, checkpointing=True) for option in options if option.checkpointing is False]


def _shorter(setting: Setting) -> Setting | None:
    """Return a setting with chunks of half the length; None if such chunks are too short, or the data has no chunk length."""
    if setting.chunk is None or setting.chunk / 2 < SHORTEST_CHUNK:
        return None
    return replace(setting, chunk=setting.chunk / 2)


def _step(measured: Mapping[str, Any]) -> float:
    """Return the duration of a measured training step in s."""
    return 1 / float(measured["steps_per_second"])


def _line(x0: int, x1: int, y0: float, y1: float) -> Any:
    """Return the function of the straight line through two points; a constant if both points have the same x."""
    slope = (y1 - y0) / (x1 - x0) if x1 != x0 else 0.0
    return lambda x: y0 + slope * (x - x0)


def _fitting(rows: list[Prediction], limit: float) -> list[Prediction]:
    """Return the predictions that fit into the limit, the fastest first."""
    return sorted((row for row in rows if row.memory <= SHARE * limit), key=lambda row: row.epoch)


def _verified(trials: SettingTrials, rows: list[Prediction], limit: float) -> Prediction:
    """Measure the fastest setting that fits, and print its memory. If it does not fit, measure the next one."""
    for row in _fitting(rows, limit):
        measured = trials.measure(row.setting)
        if "error" not in measured and measured["memory"] <= limit:
            share = row.memory / measured["memory"] - 1
            echo(
                f"memory  predicted {spell_size(row.memory)}, measured {spell_size(measured['memory'])} ({share:+.1%}), "
                f"limit {spell_size(limit)}"
            )
            return row
    least = min(rows, key=lambda row: row.memory)
    raise InputError(
        "memory", "no setting fits", found=spell_size(limit), expected=f"at least {spell_size(least.memory / SHARE)}",
        hint="Choose a smaller model",
    )  # fmt: skip


def _print(rows: list[Prediction], chosen: Prediction, effective: int, limit: float) -> None:
    echo(f"batch   {effective} chunks for each update of the weights")
    table = Table(*COLUMNS, "", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        setting = row.setting
        checkpointing = {None: "-", True: "yes", False: "no"}[setting.checkpointing]
        chunk = "-" if setting.chunk is None else f"{setting.chunk:.3g} s"
        note = "chosen" if row is chosen else "" if row.memory <= SHARE * limit else "too large"
        table.add_row(
            str(setting.batch), str(setting.accumulate), checkpointing, setting.precision, chunk, spell_size(row.memory),
            duration(row.epoch), note,
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _text(setting: Setting) -> str:
    """Return a setting as text for the line that is printed before a trial."""
    words = [f"batch {setting.batch}", setting.precision]
    words += ["checkpointing"] if setting.checkpointing else []
    return ", ".join(words + ([f"chunks of {setting.chunk:.3g} s"] if setting.chunk else []))


def _command(run: Run, given: Setting, chosen: Setting) -> str:
    """Return the command that trains the run with the chosen setting."""
    changed = {key: value for key, value in chosen.keys().items() if value != given.keys().get(key)}
    words = [word for word in run.overrides if word.lstrip("+").split("=")[0] not in changed]
    spelled = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in changed.items()]
    return shlex.join(["unbraid", "train", *words, *spelled])
