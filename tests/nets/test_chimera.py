"""Tests of Chimera: masks, embeddings, both kinds of heads, and mel bands."""

import pytest
import torch

from unbraid.nets.chimera import Chimera
from unbraid.runs.errors import InputError

SMALL = {"bins": 65, "sample_rate": 8000, "hidden": 8, "layers": 2, "embedding": 5}


@pytest.mark.parametrize("heads", ["chimera", "chimera++"])
@pytest.mark.parametrize("mel_bands", [None, 20])
@pytest.mark.parametrize("channels", [1, 2])
def test_masks_sum_to_one(heads, mel_bands, channels):
    net = Chimera(3, audio_channels=channels, mel_bands=mel_bands, heads=heads, **SMALL)
    outputs = net(torch.rand(2, channels, 65, 7))
    assert outputs["masks"].shape == (2, 3, 1, 65, 7) and outputs["embeddings"].shape == (2, 5, mel_bands or 65, 7)
    torch.testing.assert_close(outputs["masks"].sum(dim=1), torch.ones(2, 1, 65, 7))
    torch.testing.assert_close(outputs["embeddings"].norm(dim=1), torch.ones(2, mel_bands or 65, 7))


def test_input_of_the_mask_head():
    for heads, expected in (("chimera", True), ("chimera++", False)):
        net = Chimera(2, heads=heads, **SMALL)
        net(torch.rand(1, 1, 65, 4))["masks"][:, 0].sum().backward()
        assert (net.embed.weight.grad is not None) == expected


def test_input_is_limited_to_80_db():
    net, inputs = Chimera(2, **SMALL), []
    net.body.register_forward_pre_hook(lambda _, features: inputs.append(features[0]))
    for magnitude in (1.0, 1e-2, 1e-4, 1e-9):
        net(torch.full((1, 1, 65, 3), magnitude))
    assert [round(float(features.mean()), 5) for features in inputs] == [1.0, 0.0, -1.0, -1.0]


def test_input_of_the_mask_head_is_bounded():
    net, seen = Chimera(2, **SMALL), []
    net.mask.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net.embed.weight.data *= 100
    net(torch.rand(1, 1, 65, 3))
    assert 0.9 < seen[0].abs().max() <= 1


def test_each_bin_is_in_a_mel_band():
    net = Chimera(2, mel_bands=40, **SMALL)
    assert (net.bands.sum(dim=0) > 0).all()
    torch.testing.assert_close(net.spread(torch.ones(40, 3)), torch.ones(65, 3))


def test_last_frame_changes_the_first_mask():
    net = Chimera(2, **SMALL).eval()
    magnitudes = torch.rand(1, 1, 65, 9)
    changed = magnitudes.clone()
    changed[..., -1] *= 0.1
    assert not torch.equal(net(magnitudes)["masks"][..., 0], net(changed)["masks"][..., 0])


@pytest.mark.parametrize(
    ("name", "value", "expected"), [("hidden", 0, "at least 1"), ("mel_bands", 66, "2 to 65"), ("mel_bands", 1, "2 to 65")]
)
def test_invalid_sizes_are_refused(name, value, expected):
    with pytest.raises(InputError) as error:
        Chimera(2, **(SMALL | {name: value}))
    assert (error.value.where, error.value.found, error.value.expected) == (f"Chimera.{name}", value, expected)


def test_another_number_of_bins_is_refused():
    with pytest.raises(InputError) as error:
        Chimera(2, **SMALL)(torch.rand(1, 1, 33, 4))
    assert (error.value.where, error.value.found) == ("Chimera.bins", 65) and "33" in error.value.expected
