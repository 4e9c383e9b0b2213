"""Tests of the adapters: results agree with torchaudio, the length is kept, and invalid arguments are refused."""

import sys
from functools import partial

import pytest
import torch
import torchaudio

from unbraid.nets.adapters import ConvTasNet, HDemucs
from unbraid.nets.libraries import import_torchaudio
from unbraid.runs.allowlist import resolve
from unbraid.runs.errors import InputError

NETS = {
    "hdemucs": partial(HDemucs, channels=4, n_fft=1024, depth=5),
    "conv_tasnet": partial(
        ConvTasNet, enc_num_feats=8, msk_num_feats=8, msk_num_hidden_feats=8, msk_num_layers=2, msk_num_stacks=1
    ),
}


def small(name: str, sources: int, channels: int = 2):
    torch.manual_seed(0)
    return NETS[name](sources, **({} if name == "conv_tasnet" else {"audio_channels": channels})).eval()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("samples", "sources", "channels"), [(1200, 1, 2), (1303, 3, 1)])
def test_output_has_the_length_of_the_mixture(name, samples, sources, channels):
    estimates = small(name, sources, channels)(torch.randn(2, channels, samples))
    assert estimates.shape == (2, sources, channels, samples)
    assert estimates.isfinite().all()


@pytest.mark.parametrize("name", NETS)
def test_items_of_a_batch_are_independent(name):
    net, mixtures = small(name, 2), torch.randn(2, 2, 1200)
    assert torch.allclose(net(mixtures)[1:], net(mixtures[1:]), atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_has_a_gradient(name):
    net = small(name, 2).train()
    net(torch.randn(2, 2, 1303)).square().sum().backward()
    without_gradient = [key for key, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert without_gradient == []


def test_hdemucs_agrees_with_torchaudio():
    adapter = small("hdemucs", 4)
    theirs = torchaudio.models.HDemucs(["drums", "bass", "other", "vocals"], nfft=1024, depth=5, channels=4).eval()
    theirs.load_state_dict(adapter.net.state_dict())
    mixture = torch.randn(1, 2, 1303)
    assert torch.equal(adapter(mixture), theirs(mixture))


def test_published_hdemucs_can_be_loaded():
    """`hdemucs_high` creates the network of torchaudio.pipelines.HDEMUCS_HIGH_MUSDB."""
    with torch.device("meta"):
        theirs = torchaudio.models.hdemucs_high(["drums", "bass", "other", "vocals"]).state_dict()
        ours = HDemucs(4).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {f"net.{name}": v.shape for name, v in theirs.items()}


def test_conv_tasnet_agrees_with_torchaudio():
    adapter = small("conv_tasnet", 2)
    theirs = torchaudio.models.ConvTasNet(2, 16, 8, 3, 8, 8, 2, 1).eval()
    theirs.load_state_dict(adapter.net.state_dict())
    mixture = torch.randn(3, 2, 1201)
    for channel in range(2):
        assert torch.allclose(adapter(mixture)[:, :, channel], theirs(mixture[:, channel : channel + 1]), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "samples", "minimum"),
    [
        ("hdemucs", 1023, 1024),
        ("conv_tasnet", 3, 16),
        ("conv_tasnet", 0, 16),
    ],
)
def test_short_chunks_are_refused(name, samples, minimum):
    with pytest.raises(InputError) as error:
        small(name, 1)(torch.zeros(1, 2, samples))
    assert (error.value.where, error.value.found) == ("mixture", f"{samples} samples")
    assert f"{minimum} samples" in error.value.expected


@pytest.mark.parametrize(
    ("make", "where", "found"),
    [
        (partial(HDemucs, 1, channels=0), "HDemucs", None),
        (partial(HDemucs, 1, depth=13), "HDemucs.depth", 13),
        (partial(ConvTasNet, 1, enc_kernel_size=7), "ConvTasNet.enc_kernel_size", 7),
        (partial(ConvTasNet, 1, msk_kernel_size=4), "ConvTasNet.msk_kernel_size", 4),
    ],
)
def test_invalid_arguments_are_refused(make, where, found):
    with pytest.raises(InputError) as error:
        make()
    assert (error.value.where, error.value.found) == (where, found)


@pytest.mark.parametrize("name", ["hdemucs", "conv_tasnet"])
def test_missing_torchaudio_is_reported(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(InputError) as error:
        small(name, 1)
    assert error.value.where == f"model={name}" and "torchaudio" in error.value.problem and "torch" in error.value.hint


def test_torchaudio_for_another_torch_is_reported(tmp_path, monkeypatch):
    (tmp_path / "torchaudio.py").write_text("raise OSError('undefined symbol')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in [module for module in sys.modules if module.split(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(InputError) as error:
        import_torchaudio("init=hdemucs_high_musdb")
    assert error.value.where == "init=hdemucs_high_musdb" and "undefined symbol" in error.value.problem
    with pytest.raises(InputError) as error:
        resolve("torchaudio.models.HDemucs", "model.separator.net")
    assert error.value.where == "model.separator.net._target_"
