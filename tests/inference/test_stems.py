"""Stem files of one audio file."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from unbraid import audio
from unbraid.audio import AudioInput
from unbraid.dsp.phase import MixturePhase
from unbraid.dsp.stft import STFT
from unbraid.inference.chunked import InferenceOptions
from unbraid.inference.loading import Loaded
from unbraid.inference.stems import OutputFormat, write_stems
from unbraid.models.separators.masking import Masking
from unbraid.nets.unet import UNet
from unbraid.runs.errors import InputError


def test_file_is_decoded_once(tmp_path, monkeypatch):
    """The file is not decoded a second time if the input of the network is scaled."""
    samples = 0.1 * np.random.default_rng(0).standard_normal((1, 20_000)).astype(np.float32)
    audio.write(tmp_path / "song.wav", samples, 8000)
    opened, original = [], AudioInput.open
    monkeypatch.setattr(AudioInput, "open", lambda source: opened.append(source) or original(source))
    torch.manual_seed(0)
    net = partial(UNet, None, (4, 8), dropout_layers=1)
    model = Masking(net, STFT(128, 96), ["vocals"], 8000, 1, 1.0, MixturePhase()).eval()
    output_format = OutputFormat("wav", 32, residual=False, accompaniment=False, peaks="scale", tags=False)
    outputs = {"vocals": tmp_path / "stems/vocals.wav"}
    source = AudioInput(tmp_path / "song.wav", 0, "downmix")
    write_stems(Loaded(model, Path()), source, outputs, output_format, InferenceOptions(), lambda rate, done: None)
    assert opened == [source]
    (vocals,), _ = audio.read(outputs["vocals"])
    assert vocals.shape == samples.shape and np.abs(vocals).max() > 0


@pytest.mark.parametrize(
    ("changes", "where"),
    [({"format": "doc"}, "format"), ({"bits": 8}, "bits"), ({"format": "flac", "bits": 32}, "bits")],
)
def test_invalid_formats_are_refused(changes, where):
    valid = {"format": "wav", "bits": 16, "residual": False, "accompaniment": False, "peaks": "scale", "tags": False}
    with pytest.raises(InputError) as error:
        OutputFormat(**valid | changes)
    assert (error.value.where, error.value.found) == (where, changes[where])
