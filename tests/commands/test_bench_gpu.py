"""Measurements of training steps by `scripts/bench/gpu.py`, here on the CPU: columns, and rows of failed measurements."""

import csv
import importlib.util
import subprocess
import sys

import pytest
import torch

from tests.conftest import PROJECT

SCRIPT = PROJECT / "scripts/bench/gpu.py"
COLUMNS = [
    "model", "checkpointing", "compile", "status", "batch", "chunk_s", "parameters_m", "steps_per_s", "peak_gb", "forward_gb",
    "tflop", "peak_share", "first_step_s",
]  # fmt: skip
SHORT = "model.separator.chunk_seconds=6"


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(folder, *words):
    """Run the script in a folder, and return its output and the rows of its table."""
    command = [sys.executable, SCRIPT, "device=cpu", "models=unet_small", "output=out/gpu.csv", *words]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout, rows_in(folder / "out/gpu.csv")


def rows_in(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_script_lists_failed_measurements(tmp_path):
    out, rows = rows_of(tmp_path, "minutes=5", f"batch={10**13}", SHORT)
    assert [*rows[0]] == COLUMNS and [row["compile"] for row in rows] == ["False", "True"] and "no GPU is used" in out
    assert [row["status"] for row in rows] == ["out of memory"] * 2
    assert rows[0]["steps_per_s"] == "" and float(rows[0]["parameters_m"]) == 2.46 and float(rows[0]["tflop"]) > 0
    _, rows = rows_of(tmp_path, "minutes=0.001")
    assert [row["status"] for row in rows] == ["skipped"] * 2


@pytest.fixture
def row():
    return {"model": "unet_small", "device": "cpu", "batch": 1, "words": [SHORT], "checkpointing": False, "compile": False}


def test_a_step_is_measured(gpu, row, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "STEP_SECONDS", 0.001)  # one step
    found = {}
    gpu.measure(row, found.update)
    assert found["status"] == "ok" and found["chunk_s"] == 6
    assert found["steps_per_s"] > 0 and min(found["forward_gb"], found["peak_gb"]) > 0.1
    assert gpu.shares(found, 989e12 / found["steps_per_s"], "NVIDIA H200")["peak_share"] == pytest.approx(1, rel=1e-2)
    found |= gpu.shares(found, found.pop("flop"), "NVIDIA H200 MIG 1g.18gb")
    gpu.write(tmp_path / "out/gpu.csv", [row | found])
    (written,) = rows_in(tmp_path / "out/gpu.csv")
    assert [*written] == COLUMNS and [name for name in COLUMNS if not written[name]] == ["peak_share"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"batch": 10**13}, "out of memory"), ({"words": ["model.separator.chunk_seconds=1"]}, "InputError: chunk_seconds")],
    ids=["memory", "error"],
)
def test_a_failed_measurement_is_a_row(gpu, row, changes, status):
    found = {}
    gpu.attempt(gpu.measure, row | changes, found.update)
    assert found["status"].startswith(status) and found["parameters_m"] == 2.46 and "steps_per_s" not in found


def test_operations_of_lstm_layers_are_counted(gpu):
    net, inputs = torch.nn.LSTM(10, 20, 2, bidirectional=True), torch.randn(7, 3, 10, requires_grad=True)
    forward = 2 * 7 * 3 * 2 * (80 * 10 + 80 * 20 + 80 * 40 + 80 * 20)
    with gpu.FlopCounterMode(display=False, custom_mapping=gpu.RECURRENT) as counter:
        net(inputs)[0].sum().backward()
    assert counter.get_total_flops() == 3 * forward
    assert gpu.lstm_flop(inputs.shape, [weight.shape for weight in net.parameters()]) == forward  # as cuDNN is called


@pytest.mark.parametrize("word", ["models=unett", "model=unet", "device=abacus"])
def test_unknown_words_are_refused(gpu, monkeypatch, word):
    monkeypatch.setattr(sys, "argv", ["gpu.py", word])
    with pytest.raises(SystemExit) as error:
        gpu.main()
    assert str(error.value).startswith("error: ")
