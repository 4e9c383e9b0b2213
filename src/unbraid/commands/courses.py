"""What training comes to: data, separator or autoencoder, Trainer.fit, then the best checkpoint tested."""

import logging
import resource
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from tqdm import tqdm

from unbraid.constant_spectrum import ConstantSpectrum
from unbraid.controls import Controls, Extraction, Table, controls_of
from unbraid.data.digits import Digits
from unbraid.data.module import MultitrackData
from unbraid.data.statistics import statistics
from unbraid.data.tracks import SPLITS, Split
from unbraid.errors import InputError
from unbraid.evaluation import ESTIMATE, Evaluation, Scorer, baselines, report, stft_for, write_scores
from unbraid.features import Spectra
from unbraid.ledger import sweep_name
from unbraid.loggers import About, Loggers, Media
from unbraid.loggers.telling import Telling
from unbraid.pretrained import load_published
from unbraid.reconstructions import Reconstructions, on_device
from unbraid.reconstructions import report as report_reconstructions
from unbraid.records import Run, State, plain, read_record
from unbraid.reference import Reference, said
from unbraid.resyntheses import Resyntheses, training_of
from unbraid.resyntheses import report as report_resyntheses
from unbraid.runs import build
from unbraid.scoring.protocols import Protocol
from unbraid.separators import Masking, Separator
from unbraid.subjects import Subject, fingerprint
from unbraid.tasks.callbacks import EpochTable
from unbraid.tasks.checkpoints import WholeCheckpoints
from unbraid.tasks.pruning import was_pruned
from unbraid.tasks.reconstruction import ClosedFormTask, ReconstructionTask
from unbraid.tasks.resumption import LAST, latest
from unbraid.tasks.segmentation import SegmentationTask
from unbraid.tasks.separation import SeparationTask
from unbraid.tasks.synthesis import SynthesisTask
from unbraid.tasks.task import Task
from unbraid.text import echo
from unbraid.training_tracks import write_training_tracks
from unbraid.weights import limited_size, tensors_of

BEST = "best.ckpt"
MOST_NOTICES = 10


class Course(ABC):
    """What depends on what is learnt: how it is made ready, introduced and tested."""

    task: Task
    data: MultitrackData | Digits

    def __init__(
        self, config: DictConfig, chosen: Mapping[str, str], trainer: pl.Trainer, loggers: Loggers, folder: Path
    ) -> None:
        self.config, self.chosen, self.trainer, self.loggers, self.folder = config, chosen, trainer, loggers, folder

    @property
    def starts_processes(self) -> bool:
        """Whether training starts more processes of this program, as DDP does where nobody else has started them."""
        environment = getattr(self.trainer.strategy, "cluster_environment", None)
        return self.trainer.world_size > 1 and environment is not None and not environment.creates_processes_externally

    def run(self) -> State:
        """Train and test, on each process; how it ended."""
        if not self.trainer.is_global_zero:
            return self._run()
        echo(f"{self.introduction()}\nrun     {shown(self.folder)}", flush=True)
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
            echo(f"data    {more} more: scripts/prepare.py with dry_run=true lists them", file=sys.stderr)

    def _run(self) -> State:
        fit(self.trainer, self.task, self.data, self.folder)
        self._keep_weights()
        if was_pruned(self.trainer):
            return "pruned"
        cost = self.cost()
        scores = self.test()
        if self.trainer.is_global_zero:
            _report(scores | {"cost": cost}, self.folder)
            self.loggers.result(scores)
        return "done"

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
        """What training has taken, beside the time that `metrics.csv` has: memory in bytes, at its highest."""
        device = self.trainer.strategy.root_device
        return {
            "parameters": sum(parameter.numel() for parameter in self.task.parameters()),
            "memory": peak_memory(device),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "devices": self.trainer.world_size,
        }

    def about(self) -> About:
        """What loggers are told of the run, which has a record."""
        tree: Any = OmegaConf.to_container(self.config, resolve=True)
        facts = {"parameters": sum(one.numel() for one in self.task.parameters()), "data_fingerprint": self.data.fingerprint()}
        return About(self.folder, read_record(self.folder) or {}, plain(tree), facts, sweep_name(self.folder))

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
            f"{data.residence()}" + (f"\n        left out: {data.said_left_out()}" if data.left_out else "")
        )


class Separation(Course):
    """A separator, scored on whole test tracks under a protocol."""

    task: SeparationTask
    data: MultitrackData

    def __init__(
        self, config: DictConfig, chosen: Mapping[str, str], trainer: pl.Trainer, task: SeparationTask,
        data: MultitrackData | Digits, loggers: Loggers, folder: Path,
    ) -> None:  # fmt: skip
        super().__init__(config, chosen, trainer, loggers, folder)
        assert isinstance(data, MultitrackData)  # see check_experiment
        self.task, self.data = task, data
        self.protocol: Protocol = build(config.protocol)
        self.evaluation: Evaluation = build(config.evaluation)
        self.reference: Reference | None = None if config.reference is None else build(config.reference)
        self.scorer: Scorer

    def prepare(self) -> None:
        try_one_chunk(self.task.separator, self.task.loss, self.data.chunk_samples)
        if self.config.init is not None:
            load_published(self.task.separator, self.config.init)
        self.prepare_tracks(self.data)
        if self.config.init is None:
            self.start_from_statistics()
        separator, weights = self.task.separator, self.data.target_weights()
        at = self.protocol.at(separator.sample_rate, separator.channels)
        scene = at.scene(separator.targets, weights)  # said before more is decoded
        self.scorer = Scorer(
            at, scene, weights, self.data.whole("test", *at.format, progress=self.trainer.is_global_zero),
            self.folder / "scores" / at.name, self.data.cache_dir / "baselines", self.trainer.strategy.root_device,
        )  # fmt: skip

    def start_from_statistics(self) -> None:
        """Networks that whiten their input begin with what the training mixtures are on average."""
        separator = self.task.separator
        starts = [start for net in separator.modules() if (start := getattr(net, "start_from", None))]
        if starts and isinstance(separator, Masking):
            folder, progress = self.data.cache_dir / "statistics", self.trainer.is_global_zero
            found = statistics(self.data.split("train"), separator.stft, folder, progress)
            for start in starts:
                start(*found)

    def _run(self) -> State:
        if self.trainer.is_global_zero:
            write_training_tracks(self.folder, {split: self.data.split(split) for split in ("train", "valid")})
        return super()._run()

    def introduction(self) -> str:
        separator = self.task.separator
        return (
            f"model   {self.chosen['model']}: {_millions(separator)} M parameters, {' + '.join(separator.targets)}, "
            f"{separator.sample_rate} Hz, {'mono' if separator.channels == 1 else 'stereo'}\n"
            f"{self.introduced_tracks(self.data)}"
        )

    def test(self) -> dict[str, Any]:
        """Each track is scored by one of the processes."""
        task, data, trainer, scorer = self.task, self.data, self.trainer, self.scorer
        weights, origin = self.best_weights(task)
        separator = task.separator.to(trainer.strategy.root_device)
        subject = self.evaluation.of(separator, origin, data.split("test"), scorer.protocol)
        rows: dict[str, Subject] = {ESTIMATE: subject} | baselines(stft_for(task.separator, scorer.protocol.sample_rate))
        mine = scorer.tracks[trainer.global_rank :: trainer.world_size]
        error: InputError | None = None
        try:
            for track in tqdm(mine, "scoring", unit="track", leave=False, disable=not trainer.is_global_zero):
                scorer.score(rows, track, wait=True)
            if trainer.is_global_zero:
                self.evaluation.leave_clips(subject, data.target_weights(), self.folder)
        except InputError as caught:  # the other processes must hear of it instead of waiting
            error = caught
        for found in _gathered(error, trainer.world_size):
            if found:
                raise found
        if not trainer.is_global_zero:
            return {}
        scores = scorer.scores(rows, weights)
        return scores | self._compared(scores) | self._segmentation()

    def clips(self, media: Media) -> Callable[[Path], None]:
        separator = self.task.separator
        chosen = media.choose(self.data.in_order("valid").dataset, separator.sample_rate)
        return partial(self.evaluation.leave_batches, separator, chosen)

    def _compared(self, scores: Mapping[str, Any]) -> dict[str, Any]:
        """With published figures, where the experiment has some."""
        if self.reference is None:
            return {}
        return {"reference": self.reference.compare(scores, self.chosen["data"], self.chosen["model"])}

    def _segmentation(self) -> dict[str, Any]:
        """Where bins were given classes: how many rightly, in each test track."""
        if not isinstance(self.task, SegmentationTask):
            return {}
        device, tracks = self.trainer.strategy.root_device, self.data.split("test")
        batches = self.data.in_order("test")
        return {
            "segmentation": {
                track.name: self.task.segmentation(on_device(batch, device))
                for track, batch in zip(tracks, batches, strict=True)
            }
        }


@torch.no_grad()
def try_one_chunk(separator: Separator, loss: torch.nn.Module, samples: int) -> None:
    """Find out before any decoding whether the network takes a chunk of this size, the phase its sources, and the loss both."""
    separator.eval()
    mixture = torch.zeros(1, separator.channels, samples)
    try:
        estimate = separator(mixture)
        sources = estimate.sources
    except (RuntimeError, TypeError) as error:  # a library's network of sizes that do not go together
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"model.separator.net: its sizes do not suit chunks of {samples} samples: {reason}") from error
    loss(estimate, separator.reference(mixture, sources, estimate))
    separator.train()


class Reconstruction(Course):
    """An autoencoder, judged by what it rebuilds of the test data."""

    task: ReconstructionTask
    data: MultitrackData | Digits

    def __init__(
        self, config: DictConfig, chosen: Mapping[str, str], trainer: pl.Trainer, task: ReconstructionTask,
        data: MultitrackData | Digits, loggers: Loggers, folder: Path,
    ) -> None:  # fmt: skip
        super().__init__(config, chosen, trainer, loggers, folder)
        if data.kind != task.features.kind:
            raise InputError(f"features: are made of {task.features.kind}, and data={self.chosen['data']} has {data.kind}")
        if isinstance(task, ClosedFormTask) and trainer.world_size > 1:
            raise InputError(f"trainer.devices: {self.chosen['model']} is fitted by 1 process, found {trainer.world_size}")
        self.task, self.data = task, data
        self.reconstructions: Reconstructions = build(config.evaluation)

    def prepare(self) -> None:
        if isinstance(self.data, MultitrackData):
            self.prepare_tracks(self.data)
        else:
            self.data.prepare_data()
            self.data.setup("fit")

    def introduction(self) -> str:
        data, net = self.data, self.task.net
        said = self.introduced_tracks(data) if isinstance(data, MultitrackData) else f"data    {data.summary()}"
        return (
            f"model   {self.chosen['model']}: {_millions(net)} M parameters, a code of {net.code_size} for "
            f"{' x '.join(map(str, self.task.item_shape))} numbers\n{said}"
        )

    def clips(self, media: Media) -> Callable[[Path], None]:
        rate = self.task.features.sample_rate if isinstance(self.task.features, Spectra) else None
        chosen = media.choose(self.data.in_order("valid").dataset, rate)
        return partial(self.reconstructions.leave_batches, self.task, chosen, self.data.labels())

    def test(self) -> dict[str, Any]:
        weights, _ = self.best_weights(self.task)
        if not self.trainer.is_global_zero:
            return {}
        task = self.task.to(self.trainer.strategy.root_device).eval()
        return self.reconstructions.scores(task, self.data, self.folder) | {"checkpoint": weights}


class Synthesis(Course):
    """An instrument, judged by what it plays of the test data."""

    task: SynthesisTask
    data: MultitrackData

    def __init__(
        self, config: DictConfig, chosen: Mapping[str, str], trainer: pl.Trainer, task: SynthesisTask,
        data: MultitrackData | Digits, loggers: Loggers, folder: Path,
    ) -> None:  # fmt: skip
        super().__init__(config, chosen, trainer, loggers, folder)
        self.features: Extraction = build(config.features)
        if not isinstance(data, MultitrackData):
            raise InputError(f"features: are made of {self.features.kind}, and data={chosen['data']} has {data.kind}")
        if len(data.targets) != 1:
            raise InputError(f"targets: an instrument has one, found {', '.join(data.targets)}")
        if data.augmentation or data.sampling.remix:
            raise InputError("augmentation: pitch and loudness are found in tracks as they are; use none, and no remix")
        self.task, self.data = task, data
        self.resyntheses: Resyntheses = build(config.evaluation)
        self.controls: dict[Path, Controls] = {}

    def prepare(self) -> None:
        self.prepare_tracks(self.data)
        folder, progress = self.data.cache_dir / "controls", self.trainer.is_global_zero
        found = controls_of(self.data.tracks, self.sources, self.features, folder, progress)
        self.controls = {track.entry: controls for track, controls in zip(self.data.tracks, found, strict=True)}
        self.data.beside = lambda tracks: Table([self.controls[track.entry] for track in tracks], self.features.hop_length)
        self.task.net.start_from(training_of([self.controls[t.entry] for t in self.data.split("train")], self.features))

    @property
    def sources(self) -> list[str]:
        """Those that the target sums."""
        (weights,) = self.data.target_weights()
        return [source for source, weight in zip(self.data.sources, weights, strict=True) if weight]

    def introduction(self) -> str:
        known = self.task.net.training_range
        (target,) = self.data.targets
        return (
            f"model   {self.chosen['model']}: {_millions(self.task.net)} M parameters, {target} from MIDI pitch "
            f"{known.lowest:.0f} to {known.highest:.0f}, {self.features.sample_rate} Hz\n{self.introduced_tracks(self.data)}"
        )

    def clips(self, media: Media) -> Callable[[Path], None]:
        points = round(media.seconds * self.features.sample_rate / self.features.hop_length)
        named = zip((track.name for track in self.data.split("valid")), self._heard("valid"), strict=True)
        chosen = {
            name: (sound[: points * self.features.hop_length], Controls(*(curve[: points + 1] for curve in controls)))
            for name, (sound, controls) in islice(named, media.clips)
        }
        return partial(self.resyntheses.leave_clips, self.task.net, chosen, self.features)

    def test(self) -> dict[str, Any]:
        weights, _ = self.best_weights(self.task)
        if not self.trainer.is_global_zero:
            return {}
        net, loss = self.task.net.cpu().eval(), self.task.loss.cpu()
        constant = ConstantSpectrum.of(self._heard("train"), net.harmonics, net.bands, self.features, loss)
        heard = zip((track.name for track in self.data.split("test")), self._heard("test"), strict=True)
        tracks = ((name, sound, controls) for name, (sound, controls) in tqdm(heard, "testing", leave=False))
        (target,) = self.data.targets
        scores = self.resyntheses.scores(net, loss, self.features, constant, tracks, target, self.folder)
        return scores | {"checkpoint": weights}

    def _heard(self, split: Split) -> Iterator[tuple[torch.Tensor, Controls]]:
        """Each track's sound, and its controls."""
        for track in self.data.split(split):
            yield track.tensor(self.sources).sum(dim=0)[0], self.controls[track.entry]


def peak_memory(device: torch.device) -> int:
    """In bytes, of this process since it began: of the GPU, or of RAM where it has none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _millions(net: torch.nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in net.parameters()) / 1e6:.2f}"


def set_up_process(seed: int) -> None:
    # On CPU, mask and gradient values that fall into denormal numbers make steps several times slower. Worker threads
    # inherit the mode when they start, so it comes before the first operation.
    torch.set_flush_denormal(True)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # Lightning 2.6.6 asks torch 2.11 in a way that torch announces to end; nothing in a user's hands changes it.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", module="pytorch_lightning")
    # On a machine with Slurm; launcher=slurm is what it would advise.
    warnings.filterwarnings("ignore", "The `srun` command is available", module="lightning_fabric")
    pl.seed_everything(seed, workers=True, verbose=False)


def _trainer(config: DictConfig, loggers: Loggers, folder: Path) -> pl.Trainer:
    for key in ("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"):
        if config.trainer[key] is None or config.trainer[key] < 1:
            raise InputError(f"trainer.{key} must be at least 1, found {config.trainer[key]}")
    precision = str(config.trainer.precision)
    if "16" in precision and not precision.startswith("bf16"):  # an overflow would be taken for a training that diverged
        raise InputError(f"trainer.precision: found {precision}, in which gradients overflow; expected bf16-mixed or 32-true")
    callbacks = [callback for callback in build(config.callbacks).values() if callback is not None]
    if config.get("search") is not None:
        callbacks.append(build(config.search))
    if loggers.loggers:
        callbacks.append(Telling(loggers, _table(callbacks)))
    try:
        trainer = build(
            config.trainer, default_root_dir=str(folder), callbacks=callbacks, plugins=[WholeCheckpoints(), *cluster()]
        )
    except InstantiationException as error:
        if isinstance(error.__cause__, MisconfigurationException):
            raise InputError(f"trainer: {error.__cause__}") from error
        raise
    return trainer


def _table(callbacks: Sequence[pl.Callback]) -> EpochTable:
    found = next((one for one in callbacks if isinstance(one, EpochTable)), None)
    if found is None:
        raise InputError("logger: is told what metrics.csv says, and there is none without callbacks.table")
    return found


def cluster() -> list[SLURMEnvironment]:
    """Where Slurm has started this process: Lightning learns of the others from it, and leaves signals to `LastCheckpoint`."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect() else []


def shown(path: Path) -> Path:
    """As short as it can be typed from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def fit(trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, folder: Path) -> None:
    checkpoint = latest(folder)
    if checkpoint and trainer.is_global_zero:
        said = "" if checkpoint.name == LAST else f"; {LAST} is damaged"
        # It is where the run has begun.
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty", module="pytorch_lightning")
        echo(f"        goes on from checkpoints/{checkpoint.name}{said}")
    try:
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    except MisconfigurationException as error:
        raise InputError(" ".join(str(error).split())) from error
    except SystemExit as error:  # how Lightning ends after a KeyboardInterrupt
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def _gathered(mine: Any, world_size: int) -> list[Any]:
    """What each process has."""
    if world_size == 1:
        return [mine]
    parts: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(parts, mine)
    return parts


SAY = {"reconstruction": report_reconstructions, "resynthesis": report_resyntheses}


def _report(scores: dict[str, Any], folder: Path) -> None:
    write_scores(folder, scores)
    say = SAY.get(scores["protocol"]["name"], report)
    echo(f"\n{say(scores, 'this run')}\n")
    if "reference" in scores:
        echo(f"{said(scores['reference'])}\n")
    if found := list(scores.get("segmentation", {}).values()):
        means = {name: sum(one[name] for one in found) / len(found) for name in found[0]}
        echo(f"classes of bins: accuracy {means['accuracy']:.3f}, mean IoU {means['mIoU']:.3f}\n")
    for verb, name in {"listen": "audio", "look": "pictures", "scores": "scores.json"}.items():
        if (folder / name).exists():
            echo(f"{verb:<8}{shown(folder / name)}")


def _check_clipping(config: DictConfig, trainer: pl.Trainer) -> None:
    """What Lightning would say with a traceback in the first step."""
    fused = OmegaConf.select(config, "model.optimizer.fused")
    if fused and trainer.gradient_clip_val and isinstance(trainer.precision_plugin, MixedPrecision):
        raise InputError(
            "trainer.gradient_clip_val: a fused optimizer cannot clip in mixed precision; set optim.optimizer.fused=false"
        )


def ready(run: Run) -> Course:
    """All that is trained, with and on, ready."""
    config, folder = run.config, run.folder.absolute()
    set_up_process(config.seed)
    task: SeparationTask | ReconstructionTask | SynthesisTask
    with limited_size("model", psutil.virtual_memory().total):
        task = build(config.model)
    data: MultitrackData | Digits = build(config.data)
    loggers = Loggers.of(build(config.logger) if config.get("logger") else {})
    data.trainer = trainer = _trainer(config, loggers, folder)
    _check_clipping(config, trainer)
    if trainer.is_global_zero:
        loggers.check()
    course: Course
    if isinstance(task, SeparationTask):
        course = Separation(config, run.choices, trainer, task, data, loggers, folder)
    elif isinstance(task, SynthesisTask):
        course = Synthesis(config, run.choices, trainer, task, data, loggers, folder)
    else:
        course = Reconstruction(config, run.choices, trainer, task, data, loggers, folder)
    course.prepare()
    return course
