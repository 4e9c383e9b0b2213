"""Stems of one file: it is decoded once."""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from unbraid import audio
from unbraid.audio import AudioInput
from unbraid.dsp import STFT
from unbraid.loading import Loaded
from unbraid.nets.unet import UNet
from unbraid.phases import MixturePhase
from unbraid.separation import Way
from unbraid.separators import Masking
from unbraid.stems import Form, write_stems


def test_a_file_is_decoded_once(tmp_path, monkeypatch):
    """Also if the network's input is scaled."""
    samples = 0.1 * np.random.default_rng(0).standard_normal((1, 20_000)).astype(np.float32)
    audio.write(tmp_path / "song.wav", samples, 8000)
    opened, own = [], AudioInput.open
    monkeypatch.setattr(AudioInput, "open", lambda source: opened.append(source) or own(source))
    torch.manual_seed(0)
    net = partial(UNet, None, (4, 8), dropout_layers=1)
    model = Masking(net, STFT(128, 96), ["vocals"], 8000, 1, 1.0, MixturePhase()).eval()
    form = Form("wav", 32, residual=False, accompaniment=False, peaks="scale", tags=False)
    outputs = {"vocals": tmp_path / "stems/vocals.wav"}
    source = AudioInput(tmp_path / "song.wav", 0, "downmix")
    write_stems(Loaded(model, Path()), source, outputs, form, Way(), lambda rate, done: None)
    assert opened == [source]
    (found,), _ = audio.read(outputs["vocals"])
    assert found.shape == samples.shape and np.abs(found).max() > 0
