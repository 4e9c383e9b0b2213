"""Read changed user files, and check that the fuzz runner finds planted faults."""

import os

import pytest

from tests.fuzz.planted import READERS
from tests.fuzz.run import run
from tests.fuzz.targets import TARGETS

INPUTS = 2000 if os.environ.get("UNBRAID_CAMPAIGN") == "full" else 50
FIRST = 2000 * int(os.environ.get("UNBRAID_CAMPAIGN_SEED", "0"))


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_files_are_read_or_refused(name, tmp_path):
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    outcome = run(name, INPUTS, tmp_path, FIRST)
    assert not outcome.losses and sum(outcome.verdicts.values()) == INPUTS
    assert outcome.verdicts["result"]  # the first inputs are valid


@pytest.mark.slow
@pytest.mark.parametrize("reader", [reader.__name__ for reader in READERS])
def test_planted_faults_are_found(reader, tmp_path):
    outcome = run(reader, 2, tmp_path / "kept", module="tests.fuzz.planted", seconds=3)
    assert outcome.verdicts == {"refused" if reader == "refuse" else "lost": 2}
    assert all((folder / "LOSS.txt").is_file() for folder in outcome.losses.values())
