"""Stems of one file: it is decoded once."""

from functools import partial
from pathlib import Path

import numpy as np
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


def test_a_file_is_decoded_once(tmp_path, monkeypatch):
    """Also if the network's input is scaled."""
    samples = 0.1 * np.random.default_rng(0).standard_normal((1, 20_000)).astype(np.float32)
    audio.write(tmp_path / "song.wav", samples, 8000)
    opened, own = [], AudioInput.open
    monkeypatch.setattr(AudioInput, "open", lambda source: opened.append(source) or own(source))
    torch.manual_seed(0)
    net = partial(UNet, None, (4, 8), dropout_layers=1)
    model = Masking(net, STFT(128, 96), ["vocals"], 8000, 1, 1.0, MixturePhase()).eval()
    output_format = OutputFormat("wav", 32, residual=False, accompaniment=False, peaks="scale", tags=False)
    outputs = {"vocals": tmp_path / "stems/vocals.wav"}
    source = AudioInput(tmp_path / "song.wav", 0, "downmix")
    write_stems(Loaded(model, Path()), source, outputs, output_format, InferenceOptions(), lambda rate, done: None)
    assert opened == [source]
    (found,), _ = audio.read(outputs["vocals"])
    assert found.shape == samples.shape and np.abs(found).max() > 0
