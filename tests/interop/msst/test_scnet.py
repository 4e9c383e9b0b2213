"""Tests of SCNet against MSST: names of tensors, config options, and recorded output of the networks of MSST.

The figures were recorded from `SCNet` and `SCNet_Tran` of Music-Source-Separation-Training, and `SCNet` of starrytong/SCNet,
November 2026, with the configs, weights and mixture of this file. `names/*.txt` lists the tensors of these networks.
"""

import pytest
import torch

from tests.interop.msst.state import formula_mixture, formula_state, listing
from unbraid.interop.msst.scnet import FAMILIES
from unbraid.runs.errors import InputError

MODEL = {
    "sources": ["a", "b"], "audio_channels": 2, "dims": [4, 8, 16], "nfft": 256, "hop_size": 64, "win_size": 256,
    "normalized": True, "band_SR": [0.25, 0.35, 0.4], "band_stride": [1, 2, 4], "band_kernel": [3, 2, 4],
    "conv_depths": [2, 1, 0], "compress": 4, "conv_kernel": 3, "num_dplayer": 2, "expand": 1,
}  # fmt: skip
ATTENTION = {
    "tran_rotary_embedding_dim": 4, "tran_depth": 2, "tran_heads": 2, "tran_dim_head": 6, "tran_attn_dropout": 0.0,
    "tran_ff_dropout": 0.0, "tran_flash_attn": False,
}  # fmt: skip
PLAIN, MASKED, TRANSFORMER = FAMILIES
AUDIO = {"audio": {"sample_rate": 44100}}
CONFIGS = {
    "scnet": AUDIO | {"model": MODEL},
    "scnet_official": {"model": MODEL},
    "scnet_masked": AUDIO | {"model": MODEL},
    "scnet_tran": AUDIO | {"model": MODEL | ATTENTION},
}
FAMILY = {"scnet": PLAIN, "scnet_official": PLAIN, "scnet_masked": MASKED, "scnet_tran": TRANSFORMER}
RECORDED = {  # samples 500, 1200 and 1900 of each channel of each source, for a mixture of 3000 samples
    "scnet": [
        0.000447, -0.114322, 0.031816, 0.027348, -0.179887, 0.044764, 0.036243, 0.163633, -0.054494, 0.033758, -0.0099,
        -0.115266,
    ],
    "scnet_official": [
        -0.000389, 0.076396, -0.099748, 0.029263, -0.067226, -0.06495, 0.040991, 0.02123, -0.078944, 0.021887, -0.132869,
        -0.132745,
    ],
    "scnet_masked": [
        -0.000407, -0.051476, -0.005859, -0.004358, -0.038099, -0.032342, 0.038604, -0.016479, 0.035881, -0.006684, -0.030311,
        -0.028902,
    ],
    "scnet_tran": [
        -0.900554, -1.078196, 0.603426, 0.077196, -1.19345, 0.641669, -0.911041, 0.091584, 0.131058, -0.035096, -0.681463,
        0.177158,
    ],
}  # fmt: skip


def shapes_of(name):
    return listing("scnet" if name == "scnet_official" else name)


def loaded(name):
    """Return the network of a config with the weights of the recording."""
    net = FAMILY[name].network(2, **FAMILY[name].arguments(CONFIGS[name])).eval()
    net.load_state_dict(FAMILY[name].renamed(formula_state(shapes_of(name))))  # strict
    return net


@torch.inference_mode()
@pytest.mark.parametrize("name", RECORDED)
def test_output_agrees_with_the_recording(name):
    estimates = loaded(name)(formula_mixture(3000))
    assert estimates.shape == (1, 2, 2, 3000)
    assert (estimates[0, ..., 500:2500:700].flatten() - torch.tensor(RECORDED[name])).abs().max() < 1e-5


@pytest.mark.parametrize("name", FAMILY)
def test_names_map_one_to_one(name):
    state = formula_state(shapes_of(name))
    unused = {key for key in state if key.endswith(".freqs") or key.startswith("first_conv")}
    assert len(FAMILY[name].renamed(state)) == len(state) - len(unused) == len(loaded(name).state_dict())


def test_prefix_of_distributed_training_is_removed():
    for name, family in FAMILY.items():
        state = formula_state(shapes_of(name))
        prefixed = {f"module.{key}": value for key, value in state.items()}
        assert family.renamed(prefixed).keys() == family.renamed(state).keys() and family.recognises(prefixed)
        assert family.guess(shapes_of(name)) == family.guess({f"module.{key}": size for key, size in shapes_of(name).items()})


@pytest.mark.parametrize("name", ["scnet", "scnet_masked", "scnet_tran"])
def test_one_family_recognises_a_checkpoint(name):
    assert [family for family in FAMILIES if family.recognises(shapes_of(name))] == [FAMILY[name]]
    assert FAMILY[name].model_types == (name,)


@pytest.mark.parametrize("name", ["scnet", "scnet_masked", "scnet_tran"])
def test_arguments_are_guessed_from_shapes(name):
    family = FAMILY[name]
    known, guessed = family.arguments(CONFIGS[name]), family.guess(listing(name))
    assert {*known} - {*guessed} <= {
        "band_shares", "band_strides", "hop_length", "normalized", "n_fft", "attn_dropout", "ff_dropout", "standardize",
    }  # fmt: skip
    assert {key: value for key, value in guessed.items() if key in known} == {
        key: known[key] for key in guessed if key in known
    }


@pytest.mark.parametrize(
    ("option", "where", "found"),
    [
        ({"win_size": 128}, "model.win_size", 128),
        ({"dims": [2, 8, 16]}, "model.dims", 2),
        ({"tran_depth": 1}, "model.tran_depth", 1),
    ],
)
def test_unsupported_options_are_refused(option, where, found):
    with pytest.raises(InputError) as error:
        PLAIN.arguments(AUDIO | {"model": MODEL | option})
    assert (error.value.where, error.value.found) == (where, found)


def test_missing_options_have_the_defaults_of_msst():
    net = PLAIN.network(1, **PLAIN.arguments(AUDIO | {"model": {}}))
    assert net.stft.n_fft == 4096 and [level.mix.out_channels for level in net.encoder] == [32, 64, 128]
