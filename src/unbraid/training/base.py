"""Base class of workflows. A workflow prepares the data, trains a model, tests the best checkpoint and writes a run folder."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

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
from unbraid.interop.initial import Init, Started
from unbraid.nets.layer_costs import LayerCost
from unbraid.runs.errors import InputError
from unbraid.runs.files import relative_path
from unbraid.runs.records import LEDGER, State, read_record, strip_launch_keys
from unbraid.runs.text import echo
from unbraid.runs.weights import tensors_of
from unbraid.tasks.lora import without_adapters
from unbraid.tasks.task import Task
from unbraid.training.callbacks.pruned import was_pruned
from unbraid.training.chosen_checkpoint import BEST, copy_checkpoint, start_of
from unbraid.training.loggers import About, Loggers, Media
from unbraid.training.trainer import fit

MAX_NOTICES = 10  # number of notices that are printed
THIS_RUN = "this run"  # row label of the run in tables
ItemT = TypeVar("ItemT")


def try_shortest(data: MultitrackData, forward: Callable[[int], object]) -> None:
    """If the chunks have random lengths, try the model on the two shortest lengths, before the data are decoded.

    Two lengths find networks that only accept multiples of a number of samples.

    Args:
        data: data of the run.
        forward: function that applies model and loss to a chunk of the given length, in samples.

    Raises:
        InputError: the model or the loss cannot process these lengths.
    """
    if (shortest := data.shortest_samples) is None:
        return
    for samples in (shortest, min(shortest + 1, data.chunk_samples)):
        try:
            forward(samples)
        except (RuntimeError, InputError) as error:
            problem, found = "the model cannot be trained on chunks of this length", f"{samples} samples"
            raise InputError("data.sampling.shortest_seconds", problem, found=found, hint=f"Reason: {error}") from error


class Workflow(ABC):
    """Train and test a model, from the preparation of the data to the files in the run folder.

    Separators, autoencoders and instruments (DDSP synthesizers) each have a subclass. Each subclass defines how the data are
    prepared, how the model is tested, and which texts, audio and pictures describe the run.

    Args:
        config: config of the run.
        chosen: name of the chosen option of each config group, such as `{"model": "unet"}`.
        trainer: Lightning Trainer of the run.
        task: model with its loss and optimizer.
        data: data set of the run.
        loggers: loggers that receive the metrics of each epoch.
        folder: run folder.

    Raises:
        InputError: the data are images but the model needs audio, or the reverse.
    """

    task: Task
    data: MultitrackData | Digits
    costs: Sequence[LayerCost] = ()  # of one forward pass of `one_pass`, which `prepare` counts
    one_pass = "a chunk"
    trained = ""  # text about the trained parameters, if not all are trained
    started: Started | None = None  # weights from which the training starts, if the key `init` names them

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
        """True if Lightning starts all processes of this run except the first.

        False if the run has only one process, or if Slurm starts all processes.
        """
        environment = getattr(self.trainer.strategy, "cluster_environment", None)
        return self.trainer.world_size > 1 and environment is not None and not environment.creates_processes_externally

    def run(self) -> State:
        """Train and test the model. In a run with several processes, every process calls this method.

        Returns:
            `done` if the run is complete. `pruned` if a callback ended the run early, because other runs of the hyperparameter
            search had better scores.
        """
        if not self.trainer.is_global_zero:
            return self._run()
        echo(f"{self.introduction()}\nrun     {relative_path(self.folder)}", flush=True)
        self._print_start()
        self._print_notices()
        with self.loggers.following(self.about, self.clips):
            state = self._run()
            self.loggers.ended(state)
        return state

    def _print_start(self) -> None:
        """Print the origin of the initial weights, the tensors that start from random weights, and the trained parameters."""
        if (started := self.started) is not None:
            random = f"; random: {', '.join(started.random)}" if started.random else ""
            echo(f"init    {started.name} ({started.kind}): {started.loaded} tensors{random}")
        if self.trained:
            echo(f"trains  {self.trained}")

    def _print_notices(self) -> None:
        """Print notices on standard error, at most 10.

        A notice names a file of the data set, and states how unbraid has interpreted or repaired this file.
        """
        notices = self.data.notices() if isinstance(self.data, MultitrackData) else []
        for notice in notices[:MAX_NOTICES]:
            echo(f"data    {notice}", file=sys.stderr)
        if len(notices) > MAX_NOTICES:
            more = len(notices) - MAX_NOTICES
            echo(f"data    {more} more notices; scripts/prepare.py dry_run=true lists all notices about files", file=sys.stderr)

    def _run(self) -> State:
        if self.trainer.is_global_zero:
            copy_checkpoint(self.config, self.folder)
        # A process that another program started may be here before the checkpoint is copied, so it gets the original.
        fit(self.trainer, self.task, self.data, self.folder, start_of(self.config))
        self._save_best_if_missing()
        if was_pruned(self.trainer):
            return "pruned"
        if not self.config.get("test", True):
            return "done"
        cost = self.cost()
        scores = self.test()
        if self.trainer.is_global_zero:
            self._write_and_print(scores | {"cost": cost})
            self.loggers.result(scores)
        return "done"

    def _write_and_print(self, scores: dict[str, Any]) -> None:
        """Write `scores.json` to the run folder, and print a table of the scores.

        The paths of `scores.json`, of the audio and of the pictures are printed, too.
        """
        write_scores(self.folder, scores)
        echo(f"\n{self.report(scores)}\n")
        for verb, name in {"listen": "audio", "look": "pictures", "scores": "scores.json"}.items():
            if (self.folder / name).exists():
                echo(f"{verb:<8}{relative_path(self.folder / name)}")

    def _save_best_if_missing(self) -> None:
        """Save the latest weights as `best.ckpt` if the run had no validation."""
        best = self.folder / "checkpoints" / BEST
        if self.trainer.strategy.broadcast(best.is_file()):
            return
        self.task.check_finite()
        self.trainer.save_checkpoint(best)
        if self.trainer.is_global_zero:
            origin = "no validation selected weights; the last weights"
            if not self.config.get("train", True):
                origin = f"the weights of {self.config.ckpt_path or f'init={Init.of(self.config.init).path}'}"
            echo(f"best    {origin} are in checkpoints/{BEST}", flush=True)

    def cost(self) -> dict[str, Any]:
        """Return the cost of the run: number of parameters, name of the device, number of devices, and peak memory in bytes."""
        device = self.trainer.strategy.root_device
        return {
            "parameters": parameter_count(self.task),
            "memory": peak_memory(device),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "devices": self.trainer.world_size,
        }

    def layers(self) -> dict[str, Any]:
        """Return the number of parameters and of multiply-accumulate operations of each layer, for `run.json`."""
        return {"macs": self.macs, "macs_of": self.one_pass, "layers": [vars(cost) for cost in self.costs]}

    def start(self) -> dict[str, Any]:
        """Return the origin of the initial weights, for `run.json`; empty if the weights are random or the run is resumed."""
        return {} if self.started is None else {"init": vars(self.started)}

    @property
    def macs(self) -> int:
        """Number of multiply-accumulate operations of one forward pass, see `unbraid.nets.layer_costs`."""
        return sum(cost.macs for cost in self.costs)

    def size(self) -> str:
        """Return a text with two numbers of the model: parameters, and multiply-accumulate operations of one forward pass."""
        count = parameter_count(self.task)
        parameters = f"{count / 1e6:.2f} M" if count >= 1e5 else giga(count)
        return f"{parameters} parameters, {giga(self.macs)} MACs for {self.one_pass}"

    def limited(self, items: Sequence[ItemT]) -> list[ItemT]:
        """Return the first test items. The key `trainer.limit_test_batches` limits how many test items are returned.

        The key is a number of items, or a share of all items. At least one item is returned.
        """
        limit = self.trainer.limit_test_batches
        return list(items[: max(1, limit if isinstance(limit, int) else round(limit * len(items)))])

    def about(self) -> About:
        """Return the description of the run for its loggers: run folder, `run.json`, config, model size and sweep."""
        tree: Any = OmegaConf.to_container(self.config, resolve=True)
        facts = {"parameters": parameter_count(self.task), "data_fingerprint": self.data.fingerprint()}
        return About(self.folder, read_record(self.folder) or {}, strip_launch_keys(tree), facts, sweep_name(self.folder))

    @abstractmethod
    def clips(self, media: Media) -> Callable[[Path], None]:
        """Return a function that applies the model with its current weights to a few validation clips.

        The function writes the estimated audio and pictures to a folder.

        Args:
            media: options with the number of clips and the length of a clip in seconds.

        Returns:
            Function with one argument, the folder to write to.
        """

    @abstractmethod
    def prepare(self) -> None:
        """Prepare the data, and check the options of training and test. An invalid option raises InputError."""

    @abstractmethod
    def introduction(self) -> str:
        """Return a text about the model and the data set. The text is printed before training."""

    @abstractmethod
    def report(self, scores: Mapping[str, Any]) -> str:
        """Format the test scores of this run (the content of `scores.json`) as a text table."""

    @abstractmethod
    def test(self) -> dict[str, Any]:
        """Test the weights of `best.ckpt` on the test data, and write audio and pictures to the run folder.

        Returns:
            Content of `scores.json` in the first process, an empty dictionary in the other processes.
        """

    def best_weights(self, task: pl.LightningModule) -> tuple[str, str]:
        """Load the weights of `best.ckpt` into a task.

        Args:
            task: task that receives the weights.

        Returns:
            Path of `best.ckpt` relative to the run folder, and fingerprint of `best.ckpt` (the start of the SHA-256 hash).
        """
        self.trainer.strategy.barrier()  # rank 0 has written the checkpoint
        best = self.folder / "checkpoints" / BEST
        without_adapters(task)
        task.load_state_dict(tensors_of(best))
        return f"checkpoints/{BEST}", fingerprint(best)

    def prepare_tracks(self, data: MultitrackData) -> None:
        """Decode all tracks, and decide whether training reads the decoded tracks from disk, RAM or GPU memory."""
        data.prepare_data()
        data.setup("fit")
        data.place()

    def introduced_tracks(self, data: MultitrackData) -> str:
        """Return a text about the data set: excluded tracks, number of tracks in each split, and steps per epoch."""
        counts = ", ".join(f"{len(data.split(split))} {split}" for split in SPLITS)
        return (
            f"data    {self.chosen['data']}: {counts} tracks; {data.sampler().steps_per_epoch} steps an epoch; "
            f"{data.residence()}" + (f"\n        left out: {left_out_text(data.left_out)}" if data.left_out else "")
        )


def peak_memory(device: torch.device) -> int:
    """Return the peak memory of this process in bytes: GPU memory if `device` is a GPU, otherwise RAM."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # only on POSIX, where psutil does not report a peak

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, kibibytes on Linux


def parameter_count(net: torch.nn.Module) -> int:
    """Return the number of parameters of a network."""
    return sum(parameter.numel() for parameter in net.parameters())


def giga(count: float) -> str:
    """Return a number of operations as text with three digits and a unit: k (thousands), M (millions) or G (billions)."""
    factor, unit = next((pair for pair in ((1e9, "G"), (1e6, "M")) if count >= pair[0]), (1e3, "k"))
    return f"{count / factor:.3g} {unit}"


def sweep_name(run: Path) -> str | None:
    """Return the name of the sweep folder that contains the run folder `run`; None if `run` is not part of a sweep."""
    return run.parent.name if (run.parent / LEDGER).is_file() else None
