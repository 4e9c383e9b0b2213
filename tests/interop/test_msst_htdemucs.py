"""Configs and tensor names of HTDemucs in Music-Source-Separation-Training (MSST)."""

from pathlib import Path

import pytest
import torch

from unbraid.interop.msst.htdemucs import FAMILY, arguments, guess
from unbraid.nets.htdemucs import HTDemucs
from unbraid.runs.errors import InputError

# Names and shapes of all tensors of a small network of MSST, as its `state_dict` lists them: dim,dim,…
NAMES = Path(__file__).parent / "names/htdemucs.txt"
OPTIONS = {"channels": 16, "nfft": 2048, "dconv_mode": 3, "bottom_channels": 16, "t_layers": 3, "t_heads": 2}


def config(**options):
    training = {"instruments": ["drums", "bass", "other", "vocals"], "channels": 2, "samplerate": 44100, "segment": 11}
    return {"model": "htdemucs", "training": training, "htdemucs": OPTIONS | options}


def shapes():
    pairs = (line.rsplit(" ", 1) for line in NAMES.read_text().splitlines())
    return {name: tuple(map(int, sizes.split(","))) for name, sizes in pairs}


def test_each_tensor_has_a_name_here():
    theirs = shapes()
    renamed = FAMILY.renamed({name: torch.empty(shape, device="meta") for name, shape in theirs.items()})
    with torch.device("meta"):
        net = HTDemucs(4, **arguments(config()))
    assert FAMILY.recognises(theirs) and len(renamed) == len(theirs)
    assert {name: tensor.shape for name, tensor in renamed.items()} == {
        name: tensor.shape for name, tensor in net.state_dict().items()
    }


def test_options_are_derived_from_shapes():
    expected = arguments(config())
    derived = guess(shapes())
    assert derived == {name: expected[name] for name in derived}
    assert {*expected} - {*derived} == {"heads", "dropout", "segment_samples"}


def test_other_networks_are_not_recognised():
    assert not FAMILY.recognises({name for name in shapes() if not name.startswith("crosstransformer")})


def test_defaults_of_the_reference_are_known():
    plain = arguments({"model": "htdemucs", "training": {"instruments": ["a"]}, "htdemucs": {}})
    assert plain["bottom_channels"] is None and plain["decoder_dconv"] is False and plain["dropout"] == 0.0
    assert plain["segment_samples"] is None
    HTDemucs(1, **plain | {"channels": 16, "layers": 1})


def test_the_training_segment_is_in_samples():
    assert arguments(config(use_train_segment=True))["segment_samples"] == 485100


def test_options_without_effect_are_accepted():
    neutral = {"t_sparsity": 0.9, "rescale": 0.2, "multi_freqs": [], "channels_time": None, "wiener_iters": 1}
    assert arguments(config(**neutral)) == arguments(config())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("t_sparse_self_attn", True),
        ("cac", False),
        ("t_emb", "cape"),
        ("num_subbands", 2),
        ("dconv_mode", 2),
        ("dcnov_mode", 3),
    ],
)
def test_unsupported_options_are_named(option, value):
    with pytest.raises(InputError) as error:
        arguments(config(**{option: value}))
    assert error.value.where == f"htdemucs.{option}" and error.value.found == value


@pytest.mark.parametrize("other", [{"model": "hdemucs", "hdemucs": {}}, {"model": {"dim": 3}}, {"model": "htdemucs"}])
def test_configs_of_other_networks_are_refused(other):
    with pytest.raises(InputError) as error:
        arguments(other)
    assert error.value.where in ("model", "htdemucs")
