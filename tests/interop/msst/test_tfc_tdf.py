"""Tests of MDX23C against MSST: names of tensors, config options, and recorded output of the network of MSST.

The figures were recorded from `TFC_TDF_net` of Music-Source-Separation-Training, November 2026, with the configs, weights and
mixture of this file. `names/*.txt` lists the tensors of these networks.
"""

import pytest
import torch

from tests.interop.msst.state import formula_mixture, formula_state, listing
from unbraid.interop.msst.tfc_tdf import FAMILY
from unbraid.runs.errors import InputError

AUDIO = {"num_channels": 2, "n_fft": 256, "hop_length": 64, "dim_f": 128, "chunk_size": 960}
MODEL = {
    "act": "gelu", "bottleneck_factor": 4, "growth": 4, "norm": "InstanceNorm", "num_blocks_per_scale": 2, "num_channels": 8,
    "num_scales": 2, "num_subbands": 4, "scale": [2, 2],
}  # fmt: skip
CASES = {  # options, names, samples 500, 1200 and 1900 of each channel of each source, for a mixture of 4032 samples
    "instance": (
        {}, "mdx23c",
        [
            -0.077537, -0.195639, -0.160676, -0.13623, 0.084827, -0.044392,
            0.125449, 0.093287, 0.33252, 0.043854, -0.348332, 0.000872,
        ],
    ),
    "group": (
        {"norm": "GroupNorm2", "act": "elu0.5"}, "mdx23c",
        [
            -0.078504, -0.19197, 0.024739, -0.150916, 0.081232, -0.078069,
            0.118006, 0.135997, 0.256568, 0.035672, -0.472938, 0.029745,
        ],
    ),
    "none": (
        {"norm": "Identity", "act": "relu", "scale": [4, 2]}, "mdx23c_none",
        [
            0.004909, -0.145016, 0.01539, 0.020707, 0.077211, 0.02714,
            0.086678, 0.041128, 0.094347, 0.000756, 0.10435, 0.011418,
        ],
    ),
}  # fmt: skip


def loaded(case):
    """Return the network of a config with the weights of the recording, and its weights by their names in MSST."""
    options, names, _ = CASES[case]
    state = formula_state(listing(names))
    net = FAMILY.network(2, **FAMILY.arguments({"audio": AUDIO, "model": MODEL | options})).eval()
    net.load_state_dict(FAMILY.renamed(state))  # strict
    return net, state


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_output_agrees_with_the_recording(case):
    estimates = loaded(case)[0](formula_mixture(4032))
    assert estimates.shape == (1, 2, 2, 4032)
    assert (estimates[0, ..., 500:2500:700].flatten() - torch.tensor(CASES[case][2])).abs().max() < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_names_map_one_to_one(case):
    net, state = loaded(case)
    assert len(FAMILY.renamed(state)) == len(state) == len(net.state_dict())
    prefixed = {f"module.{key}": value for key, value in state.items()}
    assert FAMILY.renamed(prefixed).keys() == net.state_dict().keys() and FAMILY.recognises(prefixed)


@pytest.mark.parametrize("case", ["instance", "none"])
def test_arguments_are_guessed_from_shapes(case):
    options, names, _ = CASES[case]
    known = FAMILY.arguments({"audio": AUDIO, "model": MODEL | options})
    undetermined = {"hop_length", "activation", "n_fft", "bins", "subbands", "audio_channels"}
    undetermined |= {"norm"} if case == "instance" else set()
    assert FAMILY.guess(listing(names)) == {key: value for key, value in known.items() if key not in undetermined}


def test_batch_norm_is_recognised():
    shapes = {f"module.{name}": shape for name, shape in listing("mdx23c").items()}
    shapes["module.encoder_blocks.0.tfc_tdf.blocks.0.tfc1.0.running_mean"] = (8,)
    assert FAMILY.guess(shapes)["norm"] == "batch"
    assert FAMILY.arguments({"audio": AUDIO, "model": MODEL | {"norm": "BatchNorm"}})["norm"] == "batch"


@pytest.mark.parametrize(
    ("audio", "model", "where"),
    [
        ({}, {"subbands": 4}, "model.subbands"),
        ({"dim_f": None}, {}, "audio.dim_f"),
        ({}, {"scale": None}, "model.scale"),
    ],
)
def test_other_options_are_refused(audio, model, where):
    sections = {"audio": AUDIO | audio, "model": MODEL | model}
    config = {name: {key: value for key, value in section.items() if value is not None} for name, section in sections.items()}
    with pytest.raises(InputError) as error:
        FAMILY.arguments(config)
    assert error.value.where == where
