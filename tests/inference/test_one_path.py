"""`scripts/evaluate.py` scores the same estimates as `scripts/separate.py` writes and `unbraid.load` returns."""

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

import unbraid
from tests.conftest import NARROW, make_run
from unbraid.commands.scoring_session import Session
from unbraid.evaluation.scorer import ESTIMATE

CPU = ["trainer.accelerator=cpu", "evaluation.clips=0"]
MODELS = {
    "masking": ["model=unet_small", NARROW],
    "waveform": ["model=conv_tasnet", "model.separator.chunk_seconds=0.5", "model.separator.net.msk_num_layers=2"],
    "normalised": [
        "model=conv_tasnet", "model.separator.chunk_seconds=0.5", "model.separator.net.msk_num_layers=2",
        "model.separator.normalisation=song",
    ],
    "clustering": ["model=chimera_small", "model.separator.masks_from=clusters"],
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_scored_estimate_equals_written_stem(cli, songs, tmp_path, model):
    torch.manual_seed(0)
    words = [*MODELS[model], "targets=vocals_accompaniment", "data=musdb", f"data.root={songs}", "protocol=musdb18_mdx", *CPU]
    run = make_run(tmp_path / "run", *words)
    config = OmegaConf.merge(
        OmegaConf.load(run / "config.yaml"),
        {
            "run": str(run), "checkpoint": "best", "estimates": None, "oracle": None, "output": str(tmp_path / "scores"),
            "config": None, "start": None, "interpolate": None,
        },
    )  # fmt: skip
    scored = Session(OmegaConf.to_yaml(config)).rows[ESTIMATE].separate("song 3")
    song = songs / "test/song 3/mixture.wav"
    assert cli(f"run={run}", f"input={song}", "format=wav", "bits=32", script="scripts/separate.py")[0] == 0
    for estimate, target in zip(scored, ("vocals", "accompaniment"), strict=True):
        written, rate = soundfile.read(tmp_path / f"work/separated/mixture/{target}.wav", dtype="float32")
        assert rate == 44100
        np.testing.assert_allclose(estimate, written.T, rtol=0, atol=1e-6)
    assert np.abs(scored).max() > 1e-3
    samples, rate = soundfile.read(song, dtype="float32", always_2d=True)
    for estimate, loaded in zip(scored, unbraid.load(run).separate(samples.T, rate).values(), strict=True):
        np.testing.assert_allclose(estimate, loaded, rtol=0, atol=1e-6)
