"""Test that checkpoints are written atomically and that damaged ones are detected."""

import resource
import subprocess
import sys

import pytest
import torch

from unbraid.training.callbacks.last_checkpoint import latest
from unbraid.training.checkpoints import AtomicCheckpointIO, is_whole


def checkpoint(value, size=1000):
    return {"epoch": value, "state_dict": {"weight": torch.full((size,), float(value))}}


@pytest.fixture
def last(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints/last.ckpt"


def write(last, value):
    AtomicCheckpointIO().save_checkpoint(checkpoint(value), last, storage_options=last.with_name("previous.ckpt"))


def test_previous_checkpoint_is_kept(last):
    for value in range(3):
        write(last, value)
    assert [torch.load(last.with_name(name), weights_only=True)["epoch"] for name in ("last.ckpt", "previous.ckpt")] == [2, 1]


PROGRAM = """
import sys
from pathlib import Path
import torch
from unbraid.training.checkpoints import AtomicCheckpointIO
last = Path(sys.argv[1])
AtomicCheckpointIO().save_checkpoint(
    {"epoch": 2, "state_dict": {"weight": torch.zeros(100_000)}}, last, storage_options=last.with_name("previous.ckpt")
)
"""


@pytest.mark.slow
def test_full_disk_keeps_earlier_checkpoints(last):
    """Simulate a full disk by a limit on the size of files."""
    for value in range(2):
        write(last, value)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    result = subprocess.run([sys.executable, "-c", PROGRAM, last], preexec_fn=limit, capture_output=True, text=True)
    assert result.returncode != 0 and "File too large" in result.stderr
    assert sorted(path.name for path in last.parent.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert latest(last.parents[1]) == last and torch.load(last, weights_only=True)["epoch"] == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone", "text"])
def test_damaged_checkpoint_is_skipped(last, damage):
    for value in range(2):
        write(last, value)
    whole = last.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "cut": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "empty": b"",
        "text": b"not a checkpoint",
    }
    last.unlink() if damage == "gone" else last.write_bytes(damaged[damage])
    assert not is_whole(last) and latest(last.parents[1]) == last.with_name("previous.ckpt")
    last.with_name("previous.ckpt").unlink()
    assert latest(last.parents[1]) is None
