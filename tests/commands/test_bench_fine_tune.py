"""Curves of `scripts/bench/fine_tune.py`: two tiny trainings that differ only in their initial weights."""

import csv
import json
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

TINY = [
    "models=unet_small", "epochs=1", "output=out/curves.csv", "model.separator.net.channels=[2,2,4,4,4,4]",
    "data.layout.valid=1", "data.layout.test=1", "data.layout.seconds=12", "data.chunks_per_track=1", "data.num_workers=0",
]  # fmt: skip


@pytest.mark.slow
def test_both_curves_are_written(tmp_path):
    words = [sys.executable, PROJECT / "scripts/bench/fine_tune.py", *TINY, f"data.cache_dir={tmp_path}/cache"]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with (tmp_path / "out/curves.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["model"], row["steps"]) == ("unet_small", "3") and row["scratch_db"] != row["tuned_db"]
    usdr = json.loads(result.stdout.splitlines()[-1])["unet_small"]["usdr"]
    assert [*usdr["first"]] == ["1", "2"] and usdr["tuned"]["3"] == float(row["tuned_db"])  # only full batches of 4
