"""The workflow of a training run: prepare the data, train, test the best checkpoint, write the run folder."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from unbraid.data.digits import Digits
from unbraid.data.listings import left_out_text
from unbraid.data.module import MultitrackData
from unbraid.data.tracks import SPLITS
from unbraid.evaluation.methods import fingerprint
from unbraid.evaluation.scorer import write_scores
from unbraid.runs.errors import InputError
from unbraid.runs.files import relative_path
from unbraid.runs.records import State, read_record, strip_launch_keys, sweep_name
from unbraid.runs.text import echo
from unbraid.runs.weights import tensors_of
from unbraid.tasks.task import Task
from unbraid.training.callbacks.pruned import was_pruned
from unbraid.training.loggers import About, Loggers, Media
from unbraid.training.trainer import fit

BEST = "best.ckpt"
MOST_NOTICES = 10
THIS_RUN = "this run"  # its row in tables


class Workflow(ABC):
    """Train and test a model. Subclasses define what depends on the kind of model: preparation,
    introduction, clips, test and report."""

    task: Task
    data: MultitrackData | Digits

    def __init__(
        self, config: DictConfig, chosen: Mapping[str, str], trainer: pl.Trainer, task: Task, data: MultitrackData | Digits,
        loggers: Loggers, folder: Path,
    ) -> None:  # fmt: skip
        self.config, self.chosen, self.trainer, self.loggers, self.folder = config, chosen, trainer, loggers, folder
        self.task, self.data = task, data
        if data.kind != self.data_kind:
            found, expected = f"{data.kind} (data={chosen['data']})", f"{self.data_kind} for model={chosen['model']}"
            raise InputError("data", "the model cannot be trained on this kind of data", found=found, expected=expected)

    @property
    def data_kind(self) -> str:
        """Kind of data that the model is trained on: `audio` or `images`."""
        return "audio"

    @property
    def starts_processes(self) -> bool:
        """Whether training starts more processes of this program, as DDP does where nobody else has started them."""
        environment = getattr(self.trainer.strategy, "cluster_environment", None)
        return self.trainer.world_size > 1 and environment is not None and not environment.creates_processes_externally

    def run(self) -> State:
        """Train and test, on each process; how it ended."""
        if not self.trainer.is_global_zero:
            return self._run()
        echo(f"{self.introduction()}\nrun     {relative_path(self.folder)}", flush=True)
        self._print_notices()
        with self.loggers.following(self.about, self.clips):
            state = self._run()
            self.loggers.ended(state)
        return state

    def _print_notices(self) -> None:
        """Print decisions about the user's files that they should know of, on standard error."""
        notices = self.data.notices() if isinstance(self.data, MultitrackData) else []
        for notice in notices[:MOST_NOTICES]:
            echo(f"data    {notice}", file=sys.stderr)
        if len(notices) > MOST_NOTICES:
            more = len(notices) - MOST_NOTICES
            echo(f"data    {more} more; those of files are listed by scripts/prepare.py with dry_run=true", file=sys.stderr)

    def _run(self) -> State:
        fit(self.trainer, self.task, self.data, self.folder)
        self._keep_weights()
        if was_pruned(self.trainer):
            return "pruned"
        cost = self.cost()
        scores = self.test()
        if self.trainer.is_global_zero:
            self._write_and_print(scores | {"cost": cost})
            self.loggers.result(scores)
        return "done"

    def _write_and_print(self, scores: dict[str, Any]) -> None:
        """Write `scores.json`; print the table and the paths of audio, pictures and scores."""
        write_scores(self.folder, scores)
        echo(f"\n{self.report(scores)}\n")
        for verb, name in {"listen": "audio", "look": "pictures", "scores": "scores.json"}.items():
            if (self.folder / name).exists():
                echo(f"{verb:<8}{relative_path(self.folder / name)}")

    def _keep_weights(self) -> None:
        """Save the last weights as the best ones if no validation has chosen any, so that what is scored can be used.

        Raises:
            InputError: they are not finite.
        """
        best = self.folder / "checkpoints" / BEST
        if self.trainer.strategy.broadcast(best.is_file()):
            return
        self.task.check_finite()
        self.trainer.save_checkpoint(best)
        if self.trainer.is_global_zero:
            echo(f"best    no validation has chosen weights; checkpoints/{BEST} holds the last ones", flush=True)

    def cost(self) -> dict[str, Any]:
        """Return the number of parameters, the devices, and the peak memory of this process in bytes."""
        device = self.trainer.strategy.root_device
        return {
            "parameters": parameter_count(self.task),
            "memory": peak_memory(device),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "devices": self.trainer.world_size,
        }

    def about(self) -> About:
        """What loggers are told of the run, which has a record."""
        tree: Any = OmegaConf.to_container(self.config, resolve=True)
        facts = {"parameters": parameter_count(self.task), "data_fingerprint": self.data.fingerprint()}
        return About(self.folder, read_record(self.folder) or {}, strip_launch_keys(tree), facts, sweep_name(self.folder))

    @abstractmethod
    def clips(self, media: Media) -> Callable[[Path], None]:
        """What leaves audio and pictures of a few clips in a folder, as the network is when it is called."""

    @abstractmethod
    def prepare(self) -> None:
        """Data and all that is needed to test; InputError for what can be said before training."""

    @abstractmethod
    def introduction(self) -> str:
        """What is about to be trained, and on what."""

    @abstractmethod
    def report(self, scores: Mapping[str, Any]) -> str:
        """Return the scores of this run as a table."""

    @abstractmethod
    def test(self) -> dict[str, Any]:
        """What `scores.json` holds, with audio and pictures in the run folder; nothing on other processes than the first."""

    def best_weights(self, task: pl.LightningModule) -> tuple[str, str]:
        """Load them; where they come from, for the reader and for the record."""
        self.trainer.strategy.barrier()  # rank 0 has written the checkpoint
        best = self.folder / "checkpoints" / BEST
        task.load_state_dict(tensors_of(best))
        return f"checkpoints/{BEST}", fingerprint(best)

    def prepare_tracks(self, data: MultitrackData) -> None:
        """Decoded, and placed where they lie while the run lasts."""
        data.prepare_data()
        data.setup("fit")
        data.place()

    def introduced_tracks(self, data: MultitrackData) -> str:
        counts = ", ".join(f"{len(data.split(split))} {split}" for split in SPLITS)
        return (
            f"data    {self.chosen['data']}: {counts} tracks; {data.sampler().steps_per_epoch} steps an epoch; "
            f"{data.residence()}" + (f"\n        left out: {left_out_text(data.left_out)}" if data.left_out else "")
        )


def peak_memory(device: torch.device) -> int:
    """Return the peak memory of this process in bytes: memory of the GPU if `device` is one, otherwise RAM."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # only on POSIX; psutil has no peak there

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, kibibytes on Linux


def parameter_count(net: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


def millions(net: torch.nn.Module) -> str:
    """Return the number of parameters in millions, as printed."""
    return f"{parameter_count(net) / 1e6:.2f}"
