"""The output of HTDemucs for weights made by formulas, and properties that hold for all weights."""

import copy

import pytest
import torch
from torch import nn

from tests.nets.formula import formula_song, formula_weights
from unbraid.nets.cross_transformer import Attention, TransformerLayer, embed_grid, embed_line
from unbraid.nets.htdemucs import HTDemucs
from unbraid.runs.errors import InputError

SMALL = {"audio_channels": 1, "channels": 16, "n_fft": 512, "depth": 2, "bottom_channels": None, "layers": 2, "heads": 4}


def small(**options):
    torch.manual_seed(0)
    return formula_weights(HTDemucs(2, **{**SMALL, "dropout": 0.0, **options}))


# The class HTDemucs of Music-Source-Separation-Training (models/demucs4ht.py) computed these figures for the same weights and
# waveforms: 8 samples at equal distances from the flattened output, and the standard deviation of all its samples.
@pytest.mark.parametrize(
    ("sources", "options", "samples", "expected", "deviation"),
    [
        (
            4, {"channels": 16, "n_fft": 2048, "bottom_channels": 16, "layers": 3, "heads": 2}, 9001,
            [0.054372, -0.00496, -0.039585, 0.026461, 0.034542, -0.044628, -0.030601, 0.054906], 0.0418905,
        ),
        (
            2, {**SMALL, "decoder_dconv": False, "hidden_scale": 2.0}, 3000,
            [0.064833, 0.069217, 0.0675, 0.070645, -0.013555, -0.034421, -0.002719, -0.035158], 0.0446105,
        ),
        (
            2, {**SMALL, "segment_samples": 4410}, 3000,
            [0.049854, 0.058585, 0.049401, 0.060011, -0.014743, -0.025206, -0.007692, -0.025652], 0.0363009,
        ),
    ],
)  # fmt: skip
def test_output_equals_the_reference(sources, options, samples, expected, deviation):
    net = formula_weights(HTDemucs(sources, **options))
    with torch.no_grad():
        output = net(formula_song(samples, net.audio_channels)).flatten()
    torch.testing.assert_close(output[:: len(output) // 8], torch.tensor(expected), rtol=0, atol=2e-6)
    assert output.std().item() == pytest.approx(deviation, abs=1e-6)


@pytest.mark.parametrize(
    ("sources", "bottom", "count"), [(4, 512, 41_984_456), (2, 512, 41_979_836), (6, None, 27_414_996)]
)  # of the published networks
def test_published_sizes(sources, bottom, count):
    with torch.device("meta"):
        net = HTDemucs(sources, bottom_channels=bottom)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize("samples", [2, 255, 256, 1025, 3001])
def test_any_length_is_separated(samples):
    with torch.no_grad():
        output = small()(formula_song(samples, 1))
    assert output.shape == (1, 2, 1, samples) and output.isfinite().all()


def test_examples_of_a_batch_are_independent():
    net, songs = small(), torch.cat([formula_song(2000, 1), 0.3 * formula_song(2000, 1, 8000)])
    with torch.no_grad():
        torch.testing.assert_close(net(songs)[1:], net(songs[1:]), rtol=0, atol=1e-6)


def test_gain_of_the_mixture_is_gain_of_the_sources():
    net, song = small(), formula_song(2000, 1)
    with torch.no_grad():
        torch.testing.assert_close(net(8 * song), 8 * net(song), rtol=0, atol=2e-3)


def test_spectrograms_are_inverted():
    """Only the highest bin is lost, so a low tone is restored, except near the ends, where frames are missing."""
    net, tone = small(), torch.sin(0.1 * torch.arange(3001))[None, None]
    restored = net._waveforms(net._spectrogram(tone)[:, None], 3001)[:, 0]
    torch.testing.assert_close(restored[..., 512:-512], tone[..., 512:-512], rtol=0, atol=1e-5)


def test_shorter_mixtures_are_extended_except_in_training():
    plain, extended = small(), small(segment_samples=4096)
    song = formula_song(3000, 1)
    with torch.no_grad():
        whole = plain(nn.functional.pad(song, (0, 1096)))[..., :3000]
        assert torch.equal(extended(song), whole) and not torch.equal(plain(song), whole)
        assert torch.equal(extended.train()(song), plain(song))
        longer = formula_song(5000, 1)
        assert torch.equal(extended.eval()(longer), plain(longer))


def test_each_parameter_has_a_finite_gradient():
    net = small(layers=3).train()
    net(formula_song(2000, 1)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())


def test_silence_has_finite_gradients():
    net = small().train()
    output = net(torch.zeros(1, 1, 2000))
    output.square().mean().backward()
    assert output.isfinite().all() and all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_gradient_checkpointing_changes_only_memory():
    nets = [small(dropout=0.1, gradient_checkpointing=recompute).train() for recompute in (False, True)]
    outputs = []
    for net in nets:
        torch.manual_seed(0)
        outputs.append(net(formula_song(2000, 1)))
        outputs[-1].square().mean().backward()
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-6)
    for plain, recomputed in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(plain.grad, recomputed.grad, rtol=1e-3, atol=1e-6)


def test_bfloat16_is_close_to_float32():
    net, song = small(), formula_song(3000, 1)
    with torch.no_grad():
        exact = net(song)
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(song)
    assert rough.dtype is torch.float32 and not torch.equal(rough, exact)
    assert (rough - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("cross", [False, True])
def test_attention_equals_the_module_of_pytorch(cross):
    ours, theirs = Attention(16, 4, 0.0), nn.MultiheadAttention(16, 4, batch_first=True)
    names = {"in_proj_weight": "inputs.weight", "in_proj_bias": "inputs.bias"}
    theirs.load_state_dict(
        {name: ours.state_dict()[names.get(name, name.replace("out_proj", "output"))] for name in theirs.state_dict()}
    )
    sequence, other = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    memory = other if cross else sequence
    expected = theirs(sequence, memory, memory, need_weights=False)[0]
    torch.testing.assert_close(ours(sequence, other if cross else None), expected, rtol=0, atol=1e-6)


def test_the_last_norm_covers_positions_and_channels():
    layer = formula_weights(TransformerLayer(8, 2, 16, 0.0, cross=False))
    sequence = torch.randn(2, 5, 8)
    with torch.no_grad():
        bare = copy.deepcopy(layer)
        nn.init.ones_(bare.norm.weight)
        nn.init.zeros_(bare.norm.bias)
        normal = bare(sequence, None)
        torch.testing.assert_close(normal.mean(dim=(1, 2)), torch.zeros(2), rtol=0, atol=1e-6)
        torch.testing.assert_close(layer.norm(normal.transpose(1, 2)).transpose(1, 2), layer(sequence, None), rtol=0, atol=1e-5)


def test_position_embeddings_are_sines_of_positions():
    line, grid = embed_line(6, 8, torch.device("cpu")), embed_grid(3, 2, 8, torch.device("cpu")).view(3, 2, 8)
    periods = 10000 ** (torch.arange(4) / 3)
    torch.testing.assert_close(line[5], torch.cat([(5 / periods).cos(), (5 / periods).sin()]))
    assert torch.equal(grid[:, 0, :4], grid[:, 1, :4]) and torch.equal(grid[0, :, 4:], grid[2, :, 4:])
    torch.testing.assert_close(grid[2, 1, [0, 1, 2, 3, 4, 5]], torch.tensor([2.0, 2, 0.02, 0.02, 1, 1]).add(
        torch.tensor([0, torch.pi / 2, 0, torch.pi / 2, 0, torch.pi / 2])).sin())  # fmt: skip


def test_initial_layers_are_nearly_identities():
    torch.manual_seed(0)
    net = HTDemucs(2, **SMALL)
    assert net.spectral_encoder[0].branch.blocks[0][6].factors.unique().tolist() == pytest.approx([1e-3])
    assert net.transformer.spectral_layers[0].feed_scale.unique().tolist() == pytest.approx([1e-4])
    plain = nn.Conv1d(1, 16, 8).weight.std().item()  # of the same initialisation without rescaling
    assert net.waveform_encoder[0].conv.weight.std().item() == pytest.approx((0.1 * plain) ** 0.5, rel=0.2)
    smooth = net.bin_embedding.weight.diff(dim=0).std() / net.bin_embedding.weight.std()
    assert smooth < 0.5


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [
        ("growth", 0, "growth"), ("dconv_depth", 0, "dconv_depth"), ("dconv_comp", 0, "dconv_comp"),
        ("channels", 15, "channels"),
        ("depth", 0, "depth"), ("depth", 5, "depth"), ("n_fft", 500, "n_fft"), ("n_fft", 64, "n_fft"), ("layers", 0, "layers"),
        ("heads", 0, "heads"), ("bottom_channels", 18, "bottom_channels"), ("hidden_scale", 0.0, "hidden_scale"),
        ("dropout", 1.0, "dropout"), ("segment_samples", 1, "segment_samples"),
    ],
)  # fmt: skip
def test_invalid_options_are_named(name, value, where):
    with pytest.raises(InputError) as error:
        HTDemucs(2, **{**SMALL, name: value})
    assert error.value.where == f"HTDemucs.{where}" and error.value.found == value


@pytest.mark.parametrize("shape", [(1, 2, 100), (1, 1, 1)])
def test_unsuitable_mixtures_are_refused(shape):
    with pytest.raises(InputError) as error:
        small()(torch.zeros(shape))
    assert error.value.where == "mixture"
