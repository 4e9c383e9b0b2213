"""Chimera: masks that share the mixture out, embeddings on a sphere, both heads, mel bands."""

import pytest
import torch

from unbraid.nets.chimera import Chimera
from unbraid.runs.errors import InputError

SMALL = {"bins": 65, "sample_rate": 8000, "hidden": 8, "layers": 2, "embedding": 5}


@pytest.mark.parametrize("heads", ["chimera", "chimera++"])
@pytest.mark.parametrize("mel_bands", [None, 20])
@pytest.mark.parametrize("channels", [1, 2])
def test_masks_share_the_mixture_out_and_embeddings_have_unit_norm(heads, mel_bands, channels):
    net = Chimera(3, audio_channels=channels, mel_bands=mel_bands, heads=heads, **SMALL)
    said = net(torch.rand(2, channels, 65, 7))
    assert said["masks"].shape == (2, 3, 1, 65, 7) and said["embeddings"].shape == (2, 5, mel_bands or 65, 7)
    torch.testing.assert_close(said["masks"].sum(dim=1), torch.ones(2, 1, 65, 7))
    torch.testing.assert_close(said["embeddings"].norm(dim=1), torch.ones(2, mel_bands or 65, 7))


def test_the_mask_head_of_the_first_layout_hangs_on_the_embeddings_and_that_of_the_second_does_not():
    for heads, expected in (("chimera", True), ("chimera++", False)):
        net = Chimera(2, heads=heads, **SMALL)
        net(torch.rand(1, 1, 65, 4))["masks"][:, 0].sum().backward()
        assert (net.embed.weight.grad is not None) == expected


def test_levels_are_heard_from_80_db_below_the_loudest_on():
    net, heard = Chimera(2, **SMALL), []
    net.body.register_forward_pre_hook(lambda _, features: heard.append(features[0]))
    for magnitude in (1.0, 1e-2, 1e-4, 1e-9):
        net(torch.full((1, 1, 65, 3), magnitude))
    assert [round(float(features.mean()), 5) for features in heard] == [1.0, 0.0, -1.0, -1.0]


def test_the_mask_head_of_the_first_layout_sees_embeddings_between_minus_1_and_1():
    net, seen = Chimera(2, **SMALL), []
    net.mask.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net.embed.weight.data *= 100
    net(torch.rand(1, 1, 65, 3))
    assert 0.9 < seen[0].abs().max() <= 1


def test_every_bin_lies_under_some_band_and_gathered_energy_is_none_lost():
    net = Chimera(2, mel_bands=40, **SMALL)
    assert (net.bands.sum(dim=0) > 0).all()
    torch.testing.assert_close(net.spread(torch.ones(40, 3)), torch.ones(65, 3))


def test_time_backwards_reaches_every_frame():
    """The body is bidirectional: what comes last changes the first mask."""
    net = Chimera(2, **SMALL).eval()
    magnitudes = torch.rand(1, 1, 65, 9)
    changed = magnitudes.clone()
    changed[..., -1] *= 0.1
    assert not torch.equal(net(magnitudes)["masks"][..., 0], net(changed)["masks"][..., 0])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden": 0}, "hidden, layers and embedding must be at least 1, found 0, 2 and 5"),
        ({"mel_bands": 66}, "mel_bands: is invalid, found 66, expected 2 to 65"),
    ],
)
def test_sizes_that_cannot_be_are_said(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        Chimera(2, **(SMALL | changes))


def test_another_transform_is_said():
    with pytest.raises(InputError, match=r"for 65 bins \(n_fft=128\), found 33"):
        Chimera(2, **SMALL)(torch.rand(1, 1, 33, 4))
