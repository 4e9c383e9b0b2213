"""Test that every kind of picture refuses values that are not finite."""

import pytest
import torch

from unbraid.dsp.stft import STFT
from unbraid.evaluation import pictures
from unbraid.runs.errors import InputError

WAVE, STRANGE = torch.ones(1, 2048), torch.tensor([[1.0, torch.nan] * 1024])
SPECTRUM, TRANSFORM = torch.rand(257, 8), STFT(512, 256)


def draw(path, kind, bad):
    wave, plane = STRANGE if bad else WAVE, torch.full((4, 2), torch.inf if bad else 0.5)
    match kind:
        case "spectrograms":
            pictures.spectrograms(path, "title", {"mixture": WAVE, "estimate": wave}, None, TRANSFORM, 8000)
        case "mask":
            pictures.spectrograms(path, "title", {"mixture": WAVE}, SPECTRUM / (0.0 if bad else 1.0), TRANSFORM, 8000)
        case "rows":
            pictures.rows(path, {"input": torch.rand(2, 3, 2), "output": plane.reshape(2, 2, 2)}, "magma")
        case "scatter":
            pictures.scatter(path, plane, ["a", "b", "a", "b"], ["a", "b"], ("x", "y"))
        case "controls":
            pictures.controls(path, "title", {"pitch": plane[:, 0], "amplitudes": plane}, 0.1)
        case "anomalies":
            pictures.anomalies(path, "title", plane[:, 0], 0.1, [], [])
        case "strip":
            pictures.strip(path, wave, TRANSFORM, 1.0, 100, 100)


@pytest.mark.parametrize("kind", ["spectrograms", "mask", "rows", "scatter", "controls", "anomalies", "strip"])
def test_values_that_are_not_finite_are_refused(tmp_path, kind):
    draw(tmp_path / "good.png", kind, bad=False)
    assert (tmp_path / "good.png").stat().st_size > 0
    with pytest.raises(InputError) as caught:
        draw(tmp_path / "bad.png", kind, bad=True)
    assert caught.value.where == str(tmp_path / "bad.png")
    assert [path.name for path in tmp_path.iterdir()] == ["good.png"]
