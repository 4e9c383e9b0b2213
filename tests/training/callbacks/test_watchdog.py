"""Test that the watchdog ends a stalled run."""

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
        if index == 1:  # from the end of this batch on; before, processes may be slow to start
            watchdog.seconds = (5, 15)[self.global_rank]
        if index == 2 and self.global_rank == int(sys.argv[2]):
            self.waits_for_ever()
        return self.net(batch).sum()
    def waits_for_ever(self):
        time.sleep(1000)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

watchdog = Watchdog(10)
trainer = pl.Trainer(accelerator="cpu", devices=int(sys.argv[1]), strategy="ddp", max_epochs=1, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, callbacks=[watchdog])
trainer.fit(Module(), DataLoader(torch.ones(8, 1)))
print("done", trainer.global_step)
"""


def run(folder, *words):
    (folder / "program.py").write_text(PROGRAM)
    process = [sys.executable, folder / "program.py", *map(str, words)]
    return subprocess.run(process, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_each_stalled_process_prints_its_stack(tmp_path):
    """The second process sleeps, and the first one waits for it. The first ends first: a sleep does not notice that."""
    result = run(tmp_path, 2, 1)
    assert result.returncode != 0
    assert "Timeout (0:00:05)!" in result.stderr and "Timeout (0:00:15)!" in result.stderr
    assert "in waits_for_ever" in result.stderr and "in backward" in result.stderr


@pytest.mark.slow
def test_run_with_progress_is_not_ended(tmp_path):
    result = run(tmp_path, 1, -1)
    assert result.returncode == 0 and "done 8" in result.stdout and "Timeout" not in result.stderr


def test_zero_minutes_are_refused():
    with pytest.raises(InputError) as error:
        Watchdog(0)
    assert (error.value.where, error.value.found) == ("minutes", 0)
