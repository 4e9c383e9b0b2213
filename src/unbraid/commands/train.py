"""Train: data, separator and task from the config, Trainer.fit, then the best checkpoint scored on the test tracks."""

import logging
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from tqdm import tqdm

from unbraid.commands.experiment import check_experiment
from unbraid.data.module import MultitrackData
from unbraid.data.tracks import SPLITS
from unbraid.errors import InputError
from unbraid.evaluation import ESTIMATE, Evaluation, Scorer, baselines, report, stft_for, write_scores
from unbraid.runs import Run, build
from unbraid.scoring.protocols import Protocol
from unbraid.subjects import Subject, fingerprint
from unbraid.tasks.checkpoints import WholeCheckpoints
from unbraid.tasks.separation import SeparationTask

BEST = "best.ckpt"


def train(config: DictConfig) -> None:
    """Run one experiment in the folder that Hydra has chosen for it."""
    check_experiment(config)
    _set_up_process(config.seed)
    folder = Path(HydraConfig.get().runtime.output_dir)
    task: SeparationTask = build(config.model)
    data: MultitrackData = build(config.data)
    protocol: Protocol = build(config.protocol)
    evaluation: Evaluation = build(config.evaluation)
    data.trainer = trainer = _trainer(config, folder)
    _try_one_chunk(task, data)
    data.prepare_data()
    data.setup("fit")
    data.place()  # what cannot hold the samples is said before the run has a folder
    if len(data.split("valid")) < trainer.world_size:
        raise InputError(f"data.root={data.root}: has fewer valid tracks than the {trainer.world_size} processes")

    scorer = _scorer(protocol, trainer, task, data, folder)  # so is what cannot be scored
    if not trainer.is_global_zero:
        _fit(trainer, task, data)
        _test(evaluation, scorer, trainer, task, data)
        return
    run = Run(folder, config, HydraConfig.get().overrides.task)
    run.start()
    try:
        print(_introduction(task, data, folder))
        _fit(trainer, task, data)
        _report(_test(evaluation, scorer, trainer, task, data), folder)
    except BaseException as error:
        with suppress(OSError):  # a full disk must not hide its own message
            run.mark("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    run.mark("done")


def _set_up_process(seed: int) -> None:
    # On CPU, mask and gradient values that fall into denormal numbers make steps several times slower. Worker threads
    # inherit the mode when they start, so it comes before the first operation.
    torch.set_flush_denormal(True)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # Lightning 2.6.6 asks torch 2.11 in a way that torch announces to end; nothing in a user's hands changes it.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", module="pytorch_lightning")
    pl.seed_everything(seed, workers=True, verbose=False)


@torch.no_grad()
def _try_one_chunk(task: SeparationTask, data: MultitrackData) -> None:
    """Find out before any decoding whether the network takes a chunk of this size."""
    separator = task.separator.eval()
    separator(torch.zeros(1, separator.channels, data.chunk_samples))
    separator.train()


def _trainer(config: DictConfig, folder: Path) -> pl.Trainer:
    for key in ("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"):
        if config.trainer[key] is None or config.trainer[key] < 1:
            raise InputError(f"trainer.{key} must be at least 1, found {config.trainer[key]}")
    callbacks = [callback for callback in build(config.callbacks).values() if callback is not None]
    try:
        trainer = build(config.trainer, default_root_dir=str(folder), callbacks=callbacks, plugins=[WholeCheckpoints()])
    except InstantiationException as error:
        if isinstance(error.__cause__, MisconfigurationException):
            raise InputError(f"trainer: {error.__cause__}") from error
        raise
    if trainer.world_size > 1 and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise InputError(
            f"trainer: {trainer.world_size} processes inside a sweep would pair the processes of different runs; "
            "start each of these runs by itself"
        )
    return trainer


def _introduction(task: SeparationTask, data: MultitrackData, folder: Path) -> str:
    """What is about to be trained, on what, and where it will lie."""
    separator, chosen = task.separator, HydraConfig.get().runtime.choices
    millions = sum(parameter.numel() for parameter in separator.parameters()) / 1e6
    counts = ", ".join(f"{len(data.split(split))} {split}" for split in SPLITS)
    return (
        f"model   {chosen['model']}: {millions:.2f} M parameters, {' + '.join(separator.targets)}, "
        f"{separator.sample_rate} Hz, {'mono' if separator.channels == 1 else 'stereo'}\n"
        f"data    {chosen['data']}: {counts} tracks; {data.sampler().steps_per_epoch} steps an epoch; {data.residence()}\n"
        + (f"        left out: {data.said_left_out()}\n" if data.left_out else "")
        + f"run     {_shown(folder)}"
    )


def _shown(path: Path) -> Path:
    """As short as it can be typed from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _fit(trainer: pl.Trainer, task: SeparationTask, data: MultitrackData) -> None:
    try:
        trainer.fit(task, data)
    except MisconfigurationException as error:
        raise InputError(" ".join(str(error).split())) from error
    except SystemExit as error:  # how Lightning ends after Ctrl-C, with the last checkpoint written
        raise KeyboardInterrupt from error


def _scorer(protocol: Protocol, trainer: pl.Trainer, task: SeparationTask, data: MultitrackData, folder: Path) -> Scorer:
    separator, weights = task.separator, data.target_weights()
    at = protocol.at(separator.sample_rate, separator.channels)
    scene = at.scene(separator.targets, weights)  # said before more is decoded
    return Scorer(
        at, scene, weights, data.whole("test", *at.format, progress=trainer.is_global_zero),
        folder / "scores" / at.name, data.cache_dir / "baselines", trainer.strategy.root_device,
    )  # fmt: skip


def _test(
    evaluation: Evaluation, scorer: Scorer, trainer: pl.Trainer, task: SeparationTask, data: MultitrackData
) -> dict[str, Any]:
    """All test tracks scored with the best weights, each by one of the processes; the first one has the scores."""
    trainer.strategy.barrier()  # rank 0 has written the checkpoint
    folder = Path(trainer.default_root_dir)
    weights, origin = "the last weights", f"the last weights of {folder}"
    if (best := folder / "checkpoints" / BEST).is_file():
        task.load_state_dict(torch.load(best, weights_only=True, map_location="cpu")["state_dict"])
        weights, origin = f"checkpoints/{BEST}", fingerprint(best)
    subject = evaluation.of(task.separator.to(trainer.strategy.root_device), origin, data.split("test"), scorer.protocol)
    rows: dict[str, Subject] = {ESTIMATE: subject} | baselines(stft_for(task.separator, scorer.protocol.sample_rate))
    mine = scorer.tracks[trainer.global_rank :: trainer.world_size]
    error: InputError | None = None
    try:
        for track in tqdm(mine, "scoring", unit="track", leave=False, disable=not trainer.is_global_zero):
            scorer.score(rows, track, wait=True)
        if trainer.is_global_zero:
            evaluation.leave_clips(subject, data.target_weights(), folder)
    except InputError as caught:  # the other processes must hear of it instead of waiting
        error = caught
    for found in _gathered(error, trainer.world_size):
        if found:
            raise found
    return scorer.scores(rows, weights) if trainer.is_global_zero else {}


def _gathered(mine: Any, world_size: int) -> list[Any]:
    """What each process has."""
    if world_size == 1:
        return [mine]
    parts: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(parts, mine)
    return parts


def _report(scores: dict[str, Any], folder: Path) -> None:
    write_scores(folder, scores)
    print(f"\n{report(scores, 'this run')}\n")
    for verb, name in {"listen": "audio", "look": "pictures", "scores": "scores.json"}.items():
        print(f"{verb:<8}{_shown(folder / name)}")
