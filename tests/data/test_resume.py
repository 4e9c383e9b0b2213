"""A resumed run gets the same batches as an uninterrupted run, wherever in an epoch it was interrupted."""

import warnings

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from tests.data.test_module import module
from unbraid.data.augmentation import Gain
from unbraid.data.sampler import Sampling

EPOCHS, STEPS = 3, 6


class Recorder(pl.LightningModule):
    """A module that records its training batches, and optionally fails at a step."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.weight, self.seen, self.fail_at = torch.nn.Parameter(torch.zeros(1)), [], fail_at

    def training_step(self, batch, index):
        if len(self.seen) == self.fail_at:
            raise RuntimeError("interrupted")
        self.seen.append((index, batch.mixture.sum().item(), batch.sources.sum().item()))
        return (self.weight - batch.mixture.mean()).square().sum()

    def validation_step(self, batch, index):
        self.log("valid/loss", self.weight.abs().sum(), batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


USUAL = Sampling("tracks", 0.5, None, 0.1)
REDRAWN = Sampling("time", 0.5, -12.0, 0.1, shortest_seconds=0.2)  # most chunks are below this level


def fit(songs, folder, num_workers, checkpoints=None, fail_at=None, resume=None, sampling=USUAL):
    data = module(
        songs, folder / "cache", batch_size=2, chunks_per_track=STEPS, num_workers=num_workers,
        sampling=sampling, augmentation={"gain": Gain(0.25, 1.25)},
    )  # fmt: skip
    recorder = Recorder(fail_at)
    trainer = pl.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, callbacks=[checkpoints] if checkpoints else [],
        enable_checkpointing=checkpoints is not None, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, use_distributed_sampler=False, default_root_dir=folder, log_every_n_steps=1,
    )  # fmt: skip
    try:
        trainer.fit(recorder, data, ckpt_path=resume)
    except RuntimeError:
        assert fail_at is not None
    return recorder.seen


def each_steps(number):
    return ModelCheckpoint(filename="{step}", every_n_train_steps=number, save_top_k=-1)


@pytest.fixture(autouse=True)
def _no_false_alarm():
    """Turn the warning of Lightning about loaders that cannot be resumed into an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="You're resuming from a checkpoint that ended before the epoch ended")
        yield


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("step", [1, 4, 6, 8, 12, 17])
def test_resume_from_any_step(songs, tmp_path, num_workers, step):
    whole = fit(songs, tmp_path, num_workers, each_steps(1))
    (path,) = tmp_path.rglob(f"step={step}.ckpt")
    assert len({batch[1:] for batch in whole}) == EPOCHS * STEPS
    assert fit(songs, tmp_path, num_workers, resume=path) == whole[step:]


@pytest.mark.parametrize("sampling", [USUAL, REDRAWN])
@pytest.mark.parametrize("fail_at", [1, 3, 6, 9])
def test_resume_after_a_failure(songs, tmp_path, fail_at, sampling):
    whole = fit(songs, tmp_path, 0, sampling=sampling)
    seen = fit(songs, tmp_path, 0, ModelCheckpoint(filename="last", save_on_exception=True), fail_at, sampling=sampling)
    (path,) = tmp_path.rglob("last.ckpt")
    assert seen == whole[:fail_at] and fit(songs, tmp_path, 0, resume=path, sampling=sampling) == whole[fail_at:]


def test_resume_from_end_of_epoch(songs, tmp_path):
    whole = fit(songs, tmp_path, 0, ModelCheckpoint(filename="{epoch}", monitor="valid/loss", save_top_k=-1))
    (path,) = tmp_path.rglob("epoch=1.ckpt")
    assert fit(songs, tmp_path, 0, resume=path) == whole[2 * STEPS :]
