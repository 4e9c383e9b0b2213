"""Compare the behaviour of the code with recorded values. `make.py` describes the values and records them."""

import json

import pytest
import torch

from tests.golden import make

torch.set_num_threads(1)  # as in make.py
VALUES = json.loads((make.HERE / "values.json").read_text())
QUICK = {"unet_small", "unet_noskip_small", "pca", "conv_ae"}


def close(recorded):
    """Return values that are equal to all numbers within the differences between processors.

    Adam divides gradients by their size, so the rounding of small gradients changes weights visibly after a step.
    """
    if isinstance(recorded, dict):
        return {name: close(value) for name, value in recorded.items()}
    return pytest.approx(recorded, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("experiment", make.EXPERIMENTS)
def test_config_of_an_experiment(experiment):
    assert make.resolved(experiment) == (make.HERE / f"configs/{experiment}.yaml").read_text()


@pytest.mark.parametrize("layout", make.LAYOUTS)
def test_first_batch_of_a_layout(layout):
    assert make.first_batch(layout) == pytest.approx(VALUES["batches"][layout], rel=1e-5)


@pytest.mark.parametrize(
    "model", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in make.MODELS]
)
def test_two_steps_of_a_model(model, monkeypatch):
    monkeypatch.setattr("sys.argv", [])
    assert make.after_two_steps(model) == close(VALUES["models"][model])


@pytest.mark.slow
def test_scores_of_a_song_under_each_protocol(monkeypatch):
    for package in ("pesq", "pystoi"):
        pytest.importorskip(package)
    monkeypatch.setattr("sys.argv", [])
    assert make.scores_by_protocol() == close(VALUES["protocols"])
