"""Tests of the RoFormers against MSST: names of tensors, config options, and recorded output of the networks of MSST.

The figures were recorded from `BSRoformer` and `MelBandRoformer` of Music-Source-Separation-Training, November 2026, with the
configs, weights and mixture of this file. `names/*.txt` lists the tensors of these networks.
"""

import pytest
import torch

from tests.interop.msst.state import formula_mixture, formula_state, listing
from unbraid.interop.msst.roformer import FAMILIES
from unbraid.runs.errors import InputError

BASE = {
    "dim": 8, "depth": 2, "stereo": True, "num_stems": 2, "time_transformer_depth": 1, "freq_transformer_depth": 1,
    "dim_head": 4, "heads": 2, "stft_n_fft": 128, "stft_win_length": 128, "stft_hop_length": 32,
}  # fmt: skip
BS = BASE | {"freqs_per_bands": [9, 16, 40]}
MEL = BASE | {"num_bands": 4, "sample_rate": 8000, "match_input_audio_length": True}
LINEAR = {"linear_transformer_depth": 1, "time_transformer_depth": 2}
SKIP = {"skip_connection": True, "zero_dc": False}
CONFIGS = {
    "bs_roformer": BS,
    "bs_roformer_linear": BS | LINEAR,
    "bs_roformer_skip": BS | SKIP | {"stft_win_length": 96, "stft_normalized": True},
    "mel_band_roformer": MEL,
    "mel_band_roformer_linear": MEL | LINEAR | {"mask_estimator_depth": 2},
    "mel_band_roformer_skip": MEL | SKIP,
}
RECORDED = {  # samples 200, 800 and 1400 of each channel of each source, for a mixture of 1503 samples
    "bs_roformer": [
        0.058243, 0.054863, 0.091978, -0.010059, 0.026224, -0.009178,
        0.08508, 0.071251, 0.01519, -0.012834, 0.020163, -0.009207,
    ],
    "bs_roformer_linear": [
        0.113076, 0.045458, 0.073595, 0.006021, -0.017798, -0.008923,
        0.030766, 0.055822, 0.026064, 0.053184, -0.012916, -0.012459,
    ],
    "bs_roformer_skip": [
        0.155528, 0.055802, 0.170625, -0.011727, 0.03083, -0.004877,
        0.208, 0.087925, 0.069526, -0.014382, 0.036549, -0.010388,
    ],
    "mel_band_roformer": [
        0.03306, 0.017453, 0.032844, -0.038782, -0.006324, -0.004726,
        0.065778, -0.012905, 0.048682, -0.091149, -0.025101, 0.005367,
    ],
    "mel_band_roformer_linear": [
        0.07054, 0.142763, 0.098807, -0.020458, -0.021807, 0.004014,
        0.007751, 0.012564, -0.004622, -0.002087, -0.016214, -0.022309,
    ],
    "mel_band_roformer_skip": [
        0.105978, 0.025872, 0.033791, -0.044848, -0.010818, -0.002946,
        0.153942, -0.001408, 0.051162, -0.09612, -0.023272, 0.005329,
    ],
}  # fmt: skip
LISTED = ["bs_roformer", "bs_roformer_linear", "mel_band_roformer", "mel_band_roformer_linear"]


def shapes_of(name):
    return listing(name.removesuffix("_skip"))


def family_of(name):
    return FAMILIES[name.startswith("mel")]


def loaded(name):
    """Return the network of a config with the weights of the recording."""
    family = family_of(name)
    net = family.network(2, **family.arguments({"model": CONFIGS[name]})).eval()
    net.load_state_dict(family.renamed(formula_state(shapes_of(name))))  # strict
    return net


@torch.inference_mode()
@pytest.mark.parametrize("name", RECORDED)
def test_output_agrees_with_the_recording(name):
    estimates = loaded(name)(formula_mixture(1503))
    assert estimates.shape == (1, 2, 2, 1503)
    assert (estimates[0, ..., 200:1500:600].flatten() - torch.tensor(RECORDED[name])).abs().max() < 1e-5


@pytest.mark.parametrize("name", LISTED)
def test_names_map_one_to_one(name):
    state = formula_state(shapes_of(name))
    constant = {key for key in state if key.endswith(".rotary_embed.freqs")}
    assert constant and len(family_of(name).renamed(state)) == len(state) - len(constant) == len(loaded(name).state_dict())


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod."])
def test_prefix_is_removed(name, prefix):
    family, shapes = family_of(name), shapes_of(name)
    prefixed = {f"{prefix}{key}": shape for key, shape in shapes.items()}
    assert family.renamed(formula_state(prefixed)).keys() == loaded(name).state_dict().keys()
    assert family is FAMILIES[1] or family.guess(prefixed) == family.guess(shapes)
    assert [other for other in FAMILIES if other.recognises(prefixed)] == [family]
    assert family.model_types == (name.removesuffix("_linear"),)


@pytest.mark.parametrize("name", LISTED)
def test_arguments_are_guessed_from_shapes(name):
    family = family_of(name)
    if family is FAMILIES[1]:
        with pytest.raises(InputError) as error:  # MSST's networks never have 8 kHz
            family.guess(shapes_of(name))
        assert error.value.where == "checkpoint" and "config" in error.value.hint
        return
    known, guessed = family.arguments({"model": CONFIGS[name]}), family.guess(shapes_of(name))
    assert guessed == {key: known[key] for key in guessed}
    assert {*known} - {*guessed} == {
        "hop_length", "win_length", "attn_dropout", "ff_dropout", "skip_connection", "gradient_checkpointing", "zero_dc",
    }  # fmt: skip


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("options", [{}, {"sample_rate": 48000, "n_fft": 1024, "num_bands": 20}, {"n_fft": 4096}])
def test_rate_and_transform_are_guessed_from_mel_bands(channels, options):
    family, model = FAMILIES[1], MEL | {"stereo": channels == 2}
    arguments = family.arguments({"model": model}) | {"sample_rate": 44100, "n_fft": 2048, "num_bands": 24, **options}
    ours = {name: tuple(value.shape) for name, value in family.network(1, **arguments).state_dict().items()}
    shapes = shapes_of("mel_band_roformer") | {
        f"band_split.to_features.{band}.0.gamma": ours[f"band_split.bands.{band}.0.weight"]
        for band in range(arguments["num_bands"])
    }
    guessed = family.guess(shapes)
    assert guessed == {key: arguments[key] for key in guessed} and {"sample_rate", "n_fft", "audio_channels"} < {*guessed}


def test_missing_options_have_the_defaults_of_msst():
    for family in FAMILIES:
        arguments = family.arguments({"model": {"dim": 8, "depth": 1, "sage_attention": True, "multi_stft_hop_size": 147}})
        assert (arguments["time_transformer_depth"], arguments["dim_head"], arguments["hop_length"]) == (2, 64, 512)
        assert arguments["zero_dc"] is True and arguments["audio_channels"] == 1 and arguments["win_length"] is None
        with torch.device("cpu"):
            assert family.network(1, **arguments).stride == 512


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("option", "found"),
    [
        ({"dim": None}, None),
        ({"depth": "six"}, "six"),
        ({"use_pope": True}, True),
        ({"num_residual_streams": 4}, 4),
        ({"add_value_residual": True}, True),
        ({"unknown": 1}, 1),
    ],
)
def test_unsupported_options_are_refused(family, option, found):
    with pytest.raises(InputError) as error:
        family.arguments({"model": BASE | option})
    assert (error.value.where, error.value.found) == (f"model.{next(iter(option))}", found)


def test_options_of_one_network_are_refused_by_the_other():
    for family, model, option in ((FAMILIES[0], MEL, "num_bands"), (FAMILIES[1], BS, "freqs_per_bands")):
        with pytest.raises(InputError) as error:
            family.arguments({"model": model})
        assert error.value.where == f"model.{option}"
