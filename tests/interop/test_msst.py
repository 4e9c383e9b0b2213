"""Checkpoints of Music-Source-Separation-Training with their config files, on the example of Hybrid Demucs."""

import pytest
import torch
import yaml

import unbraid
from unbraid.inference.chunked import InferenceOptions
from unbraid.interop.msst.checkpoint import family_of, read_foreign
from unbraid.interop.msst.config import read_msst_config
from unbraid.interop.msst.families import FAMILIES
from unbraid.interop.msst.hdemucs import FAMILY
from unbraid.nets.adapters import HDemucs
from unbraid.runs.errors import InputError

CONFIG = """
audio: {chunk_size: 88200, num_channels: 2}
training:
  segment: 2
  samplerate: 44100
  channels: 2
  instruments: !!python/tuple [drums, vocals]
  target_instrument: null
inference: {num_overlap: 4, batch_size: 1}
model: hdemucs
hdemucs: {channels: 4, depth: 6, nfft: 4096, cac: true, multi_freqs: [], dconv_init: 0.1}
"""
BACK = (("net.freq_encoder.", "encoder."), ("net.freq_decoder.", "decoder."), ("net.time_encoder.", "tencoder."))
BACK += (("net.time_decoder.", "tdecoder."), ("net.freq_emb.", "freq_emb."))


def theirs(net):
    """Return the tensors of a network by their names in MSST."""
    state = {}
    for name, tensor in net.state_dict().items():
        for ours, foreign in BACK:
            name = foreign + name.removeprefix(ours) if name.startswith(ours) else name
        state[name] = tensor
    return {name: tensor for name, tensor in state.items() if not name.startswith("tencoder.4.norm1")}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return HDemucs(2, channels=4, dconv_init=0.1).eval()


@pytest.fixture
def pair(net, tmp_path):
    """Return the paths of a checkpoint and of its config."""
    torch.save({"state": theirs(net)}, tmp_path / "model.ckpt")
    (tmp_path / "model.yaml").write_text(CONFIG)
    return tmp_path / "model.ckpt", tmp_path / "model.yaml"


def rewritten(pair, change):
    """Change the content of the config, and return its path."""
    tree = yaml.safe_load(CONFIG.replace("!!python/tuple ", ""))
    change(tree)
    pair[1].write_text(yaml.safe_dump(tree))
    return pair[1]


def error_of(path, config):
    with pytest.raises(InputError) as error:
        unbraid.load(path, config=config, device="cpu")
    return error.value


def test_the_network_computes_what_the_other_tool_computes(pair, net):
    separator = unbraid.load(pair[0], config=pair[1], device="cpu")
    mixture = 0.1 * torch.randn(2, 80_000)
    with torch.inference_mode():
        expected = net(mixture[None])[0]
        found = separator.model(mixture[None]).sources[0]
    assert torch.equal(found, expected) and expected.abs().max() > 1e-3


def test_the_config_sets_targets_rate_and_chunks(pair):
    separator = unbraid.load(pair[0], config=pair[1], device="cpu")
    assert (separator.targets, separator.sample_rate) == (["drums", "vocals"], 44100)
    assert (separator.model.chunk_samples, separator.options) == (
        88200, InferenceOptions(overlap=0.75, join="average"),
    )  # fmt: skip
    assert [*separator.separate(torch.zeros(1, 9000), 8000)] == ["drums", "vocals"]


@pytest.mark.parametrize(
    ("sections", "fields"),
    [
        ({"training": {"instruments": ["a", "b"], "target_instrument": "b"}}, {"targets": ("b",)}),
        ({"inference": {"num_overlap": 2, "normalize": True}}, {"overlap": 0.5, "join": "average", "normalize": True}),
        ({"inference": {"num_overlap": 1}}, {"overlap": 0.0, "normalize": False}),
        ({"inference": {"num_overlap": 20}}, {"overlap": 0.95}),
        ({"inference": {"chunk_size": 500, "num_overlap": 2}, "model": {}}, {"chunk_samples": 500, "join": "weighted"}),
        ({"model": {"dim": 3}}, {"chunk_samples": 88200}),
        ({"audio": {"sample_rate": 48000, "chunk_size": 9, "num_channels": 1}}, {"sample_rate": 48000, "channels": 1}),
    ],
)
def test_options_of_a_config(pair, sections, fields):
    config = read_msst_config(rewritten(pair, lambda tree: tree.update(sections)))
    assert {name: getattr(config, name) for name in fields} == fields


def test_a_song_is_normalised_if_the_config_says_so(pair):
    config = read_msst_config(rewritten(pair, lambda tree: tree["inference"].update(normalize=True)))
    assert config.separator(FAMILY)["normalisation"] == "song"
    assert "normalisation" not in read_msst_config(rewritten(pair, lambda tree: None)).separator(FAMILY)


@pytest.mark.parametrize("key", [None, "state", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "model.", "module.model."])
def test_tensors_are_found_under_keys_and_prefixes(tmp_path, net, key, prefix):
    state = {prefix + name: tensor for name, tensor in theirs(net).items()}
    torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / "a.ckpt")
    found = read_foreign(tmp_path / "a.ckpt")
    assert (found.key, found.prefix) == (key, prefix) and {*found.tensors} == {*theirs(net)}
    assert family_of(found) is FAMILY


def test_names_are_renamed_without_loss(net):
    own, renamed = net.state_dict(), FAMILY.renamed(theirs(net))
    assert all(torch.equal(tensor, own[name]) for name, tensor in renamed.items())
    assert {*own} - {*renamed} == {"net.time_encoder.4.norm1.weight", "net.time_encoder.4.norm1.bias"}
    assert FAMILY.guess({name: tuple(tensor.shape) for name, tensor in theirs(net).items()}) == {
        "channels": 4, "audio_channels": 2, "depth": 6,
    }  # fmt: skip


def test_every_family_has_its_own_marks():
    assert FAMILIES and len({family.marks for family in FAMILIES}) == len(FAMILIES)


def test_every_tensor_that_does_not_fit_is_listed(pair, net):
    state = theirs(net)
    del state["encoder.0.conv.bias"]
    state["tdecoder.0.conv_tr.bias"] = torch.zeros(7)
    state["more.weight"] = torch.zeros(1)
    torch.save(state, pair[0])
    error = error_of(*pair)
    assert error.where == str(pair[0]) and error.found.startswith("3 tensors")
    for name in ("net.net.freq_encoder.0.conv.bias missing", "net.net.time_decoder.0.conv_tr.bias [7]", "net.more.weight [1]"):
        assert name in error.found


@pytest.mark.parametrize(
    ("change", "where", "found"),
    [
        (lambda t: t["hdemucs"].update(cac=False), ", hdemucs.cac", False),
        (lambda t: t["hdemucs"].update(channels_time=3), ", hdemucs.channels_time", 3),
        (lambda t: t.pop("hdemucs"), "", None),
        (lambda t: t.update(hdemucs=[1]), ", model", "list"),
        (lambda t: t.update(audio=3), ", audio", "int"),
        (lambda t: t["training"].update(instruments=[]), ", training.instruments", "[]"),
        (lambda t: t["training"].update(instruments=["a", "a"]), ", training.instruments", "['a', 'a']"),
        (lambda t: t["training"].update(instruments="vocals"), ", training.instruments", "'vocals'"),
        (lambda t: t["training"].update(segment=0.5), ", training.segment", "0.5"),
        (lambda t: t["training"].update(samplerate=True), ", training.samplerate", "True"),
        (lambda t: t["inference"].update(num_overlap=0), ", inference.num_overlap", "0"),
        (lambda t: t["inference"].update(num_overlap=10**9), ", inference.num_overlap", 10**9),
        (lambda t: (t.update(model={}), t["audio"].pop("chunk_size")), ", audio.chunk_size", "None"),
    ],
)
def test_an_invalid_config_is_one_error(pair, change, where, found):
    error = error_of(pair[0], rewritten(pair, change))
    assert (error.where, error.found) == (f"{pair[1]}{where}", found)


def test_a_missing_or_other_file_is_one_error(pair, tmp_path):
    assert error_of(pair[0], tmp_path / "no.yaml").where == f"config={tmp_path / 'no.yaml'}"
    assert error_of(tmp_path / "no.ckpt", pair[1]).where == str(tmp_path / "no.ckpt")
    pair[1].write_text("- 1\n")
    assert error_of(*pair).found == "list"


def test_a_checkpoint_without_config_names_the_family(pair):
    error = error_of(pair[0], None)
    assert error.where == str(pair[0]) and "config=FILE" in error.hint and "hdemucs" in error.hint


def test_an_unknown_network_suggests_a_translation(tmp_path):
    path = tmp_path / "lightning.ckpt"
    torch.save({"state_dict": {"model.a.weight": torch.zeros(2), "model.b.bias": torch.zeros(2)}, "epoch": 1}, path)
    error = error_of(path, None)
    assert "a.weight" in error.found and "lightning.ckpt" in error.hint and "key: state_dict" in error.hint
    assert "{'model.**': 'nets.0.**'}" in error.hint
