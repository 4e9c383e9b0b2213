"""Songs separated with a checkpoint and a config of MSST, compared with recorded output of `demix` of MSST.

The figures were recorded from Music-Source-Separation-Training, November 2026: `normalize_audio`, `demix` and
`denormalize_audio` with the SCNet, weights, config and mixture of this file.
"""

import pytest
import torch
import yaml

import unbraid
from tests.interop.msst.state import formula_mixture, formula_state, listing
from tests.interop.msst.test_scnet import MODEL
from unbraid.inference.chunked import InferenceOptions

CONFIG = {
    "audio": {"chunk_size": 2000, "sample_rate": 44100, "num_channels": 2}, "model": MODEL,
    "training": {"instruments": ["a", "b"], "target_instrument": None},
    "inference": {"num_overlap": 4, "batch_size": 1, "normalize": True},
}  # fmt: skip
RECORDED = {  # samples 0, L / 4 and 3 L / 4 of each channel of each source, for a mixture of L samples
    7003: [
        0.087533, 0.022361, -0.005745, 0.037644, 0.00757, 0.007171, 0.03629, 0.043759, 0.046848, 0.026481, 0.078877, 0.0469,
    ],
    1503: [
        0.047322, 0.010481, -0.032126, 0.002899, 0.021741, -0.008155, 0.010391, 0.018656, 0.025614, 0.021159, 0.050749,
        -0.012437,
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def separator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scnet")
    torch.save(formula_state(listing("scnet")), folder / "model.ckpt")
    (folder / "model.yaml").write_text(yaml.safe_dump(CONFIG))
    return unbraid.load(folder / "model.ckpt", config=folder / "model.yaml", device="cpu")


def picked(stems, samples):
    return torch.stack([stems["a"], stems["b"]])[..., :: samples // 4][..., [0, 1, 3]].flatten()


@pytest.mark.parametrize("options", [None, InferenceOptions(batch_size=3)])
@pytest.mark.parametrize(("samples", "tolerance"), [(7003, 1e-5), (1503, 1e-4)])
def test_a_song_agrees_with_msst(separator, samples, tolerance, options):
    """MSST divides the sum of squared differences by L, unbraid by L - 1. This changes very short songs."""
    stems = separator.separate(formula_mixture(samples)[0], 44100, options)
    assert (picked(stems, samples) - torch.tensor(RECORDED[samples])).abs().max() < tolerance


def test_other_options_change_the_song(separator):
    """This test shows that `test_a_song_agrees_with_msst` can fail."""
    for options in (InferenceOptions(join="crossfade"), InferenceOptions(join="average"), InferenceOptions(overlap=0.5)):
        stems = separator.separate(formula_mixture(7003)[0], 44100, options)
        assert (picked(stems, 7003) - torch.tensor(RECORDED[7003])).abs().max() > 1e-4
