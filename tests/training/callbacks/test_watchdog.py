"""A run that stands still."""

import subprocess
import sys

import pytest

from unbraid.runs.errors import InputError
from unbraid.training.callbacks.watchdog import Watchdog

PROGRAM = """
import sys, time
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from unbraid.training.callbacks.watchdog import Watchdog

class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)
    def training_step(self, batch, index):
        if index == 2 and self.global_rank == int(sys.argv[2]):
            self.waits_for_ever()
        return self.net(batch).sum()
    def waits_for_ever(self):
        time.sleep(1000)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

trainer = pl.Trainer(accelerator="cpu", devices=int(sys.argv[1]), strategy="ddp", max_epochs=1, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, callbacks=[Watchdog(0.05)])
trainer.fit(Module(), DataLoader(torch.ones(8, 1)))
print("done", trainer.global_step)
"""


def run(folder, *words):
    (folder / "program.py").write_text(PROGRAM)
    process = [sys.executable, folder / "program.py", *map(str, words)]
    return subprocess.run(process, capture_output=True, text=True, timeout=120)


def test_each_process_of_a_run_that_stands_still_says_where_and_ends(tmp_path):
    """The second one waits for ever, and the first one waits for it."""
    result = run(tmp_path, 2, 1)
    assert result.returncode != 0 and result.stderr.count("Timeout (0:00:03)!") == 2
    assert "in waits_for_ever" in result.stderr and "in backward" in result.stderr


def test_a_run_that_moves_is_left_alone(tmp_path):
    result = run(tmp_path, 1, -1)
    assert result.returncode == 0 and "done 8" in result.stdout and "Timeout" not in result.stderr


def test_its_time_must_be_some():
    with pytest.raises(InputError, match="minutes must be above 0, found 0"):
        Watchdog(0)
