"""Tests of the RoFormers: bands, rotations, lengths, precision, memory, and invalid arguments."""

from functools import partial

import librosa
import pytest
import torch

from unbraid.dsp.mel import mel_bands
from unbraid.nets.roformer import BSRoformer, MelBandRoformer
from unbraid.nets.rotary_transformer import RMSNorm, Transformer, rotate, rotations
from unbraid.runs.errors import InputError

SMALL = {"dim": 8, "depth": 2, "dim_head": 4, "heads": 2, "hop_length": 100}
NETS = {
    "bs_roformer": partial(BSRoformer, **SMALL, n_fft=256, freqs_per_bands=[29, 100]),
    "mel_band_roformer": partial(MelBandRoformer, **SMALL, n_fft=512, num_bands=8),
    "linear": partial(BSRoformer, **SMALL, n_fft=512, freqs_per_bands=[57, 200], linear_transformer_depth=1, win_length=400),
    "skip": partial(MelBandRoformer, **SMALL, n_fft=512, num_bands=8, skip_connection=True, linear_transformer_depth=1),
}


def small(name, sources=2, channels=2, **options):
    torch.manual_seed(0)
    return NETS[name](sources, channels, **options).eval()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("samples", "sources", "channels"), [(257, 2, 2), (1200, 1, 2), (1303, 3, 1)])
def test_output_has_the_length_of_the_mixture(name, samples, sources, channels):
    estimates = small(name, sources, channels)(torch.randn(2, channels, samples))
    assert estimates.shape == (2, sources, channels, samples) and estimates.isfinite().all()


@pytest.mark.parametrize("name", NETS)
def test_items_of_a_batch_are_independent(name):
    net, mixtures = small(name), torch.randn(2, 2, 1200)
    assert torch.allclose(net(mixtures)[1:], net(mixtures[1:]), atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_has_a_finite_gradient(name):
    net = small(name).train()
    net(torch.randn(2, 2, 1303)).square().sum().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", NETS)
def test_checkpointing_does_not_change_gradients(name):
    results = []
    for checkpointing in (False, True):
        net = small(name, gradient_checkpointing=checkpointing).train()
        torch.manual_seed(1)  # of the dropout
        net(torch.ones(1, 2, 1200).cumsum(-1).sin()).square().sum().backward()
        results.append([p.grad for p in net.parameters()])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_checkpointing_computes_transformers_twice(training):
    calls = []
    for checkpointing in (False, True):
        net = small("bs_roformer", gradient_checkpointing=checkpointing).train(training)
        count = []
        net.transformer.blocks[0][0].layers[0].register_forward_pre_hook(lambda *_, count=count: count.append(1))
        net(torch.randn(1, 2, 1200)).square().sum().backward()
        calls.append(len(count))
    assert calls == [1, 2]


@pytest.mark.parametrize("name", NETS)
def test_estimates_are_float32_under_autocast(name):
    net, mixture = small(name), torch.randn(1, 2, 1200)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        estimates = net(mixture)
    expected = net(mixture)
    assert estimates.dtype == torch.float32 and not torch.equal(estimates, expected)
    assert (estimates - expected).square().sum() < 1e-3 * expected.square().sum()


@pytest.mark.parametrize("name", NETS)
def test_estimates_scale_with_the_mixture(name):
    net, mixture = small(name), torch.randn(1, 2, 1200)
    assert torch.allclose(net(1e-3 * mixture), 1e-3 * net(mixture), atol=1e-7)
    silence = net(torch.zeros(1, 2, 1200))
    assert not silence.any()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("zero_dc", [False, True])
def test_zero_dc_removes_the_lowest_bin(name, zero_dc, monkeypatch):
    net, spectra = small(name, zero_dc=zero_dc), []
    monkeypatch.setattr(net.stft, "inverse", lambda spectrum, samples: spectra.append(spectrum))
    net(torch.randn(1, 2, 1200))
    assert spectra[0][..., 0, :].any() != zero_dc and spectra[0][..., 1:, :].abs().amin() > 0


def test_dropout_is_off_in_evaluation():
    net, mixture = small("linear", attn_dropout=0.5, ff_dropout=0.5), torch.randn(1, 2, 1200)
    assert torch.equal(net(mixture), net(mixture))
    assert not torch.equal(net.train()(mixture), net(mixture))


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize(("n_fft", "num_bands"), [(512, 8), (1024, 26), (2048, 60), (2048, 64), (4096, 128), (6144, 60)])
def test_mel_bands_are_those_of_librosa(sample_rate, n_fft, num_bands):
    weights = torch.from_numpy(librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=num_bands))
    weights[0, 0] = weights[-1, -1] = 1
    assert torch.equal(mel_bands(num_bands, n_fft, sample_rate), weights > 0)


def test_mel_scale_is_linear_below_1_khz():
    widths = mel_bands(4, 1000, 1500).sum(dim=1)
    assert widths.max() - widths.min() <= 1


def test_masks_of_overlapping_bands_are_averaged():
    net = small("mel_band_roformer")
    bins = torch.arange(257.0).reshape(1, 1, 257, 1, 1)
    by_band = net.in_bands(bins.expand(1, 1, 257, 2, 2))
    assert by_band.shape[2] == int(net.bands_per_bin.sum()) > 257
    assert torch.equal(net.in_bins(by_band.unsqueeze(1)), bins.expand(1, 1, 257, 2, 2).unsqueeze(1))
    band, bands = torch.zeros_like(by_band), mel_bands(8, 512, 44100)
    band[:, :, : bands[0].sum()] = 1  # only the lowest band
    expected = bands[0] / bands.sum(dim=0)
    assert torch.equal(net.in_bins(band.unsqueeze(1))[0, 0, 0, :, 0, 0], expected)


def test_products_of_rotated_vectors_depend_on_the_distance():
    query, key = torch.randn(1, 8).expand(20, 8), torch.randn(1, 8).expand(20, 8)
    rotation = rotations(20, 8, query)
    products = rotate(query, rotation) @ rotate(key, rotation).T
    assert torch.allclose(products[1:, 1:], products[:-1, :-1], atol=1e-5) and not torch.allclose(
        products[0, 0], products[0, 5]
    )
    assert torch.allclose(rotate(query, rotation)[0], query[0])
    assert torch.allclose(rotation[3].angle(), 3 / 10000 ** (torch.arange(0, 8, 2) / 8))


def test_features_after_the_rotated_pairs_are_unchanged():
    vectors = torch.randn(20, 8)
    rotation = rotations(20, 6, vectors)
    assert torch.equal(rotate(vectors, rotation)[:, 6:], vectors[:, 6:])
    assert torch.allclose(rotate(vectors, rotation)[:, :6], rotate(vectors[:, :6].contiguous(), rotation), atol=1e-6)


def test_attention_knows_the_order():
    torch.manual_seed(0)
    transformer, x = Transformer(1, 8, 2, 8, 0.0, 0.0, linear=False, norm_output=True, rotary_dim=4), torch.randn(1, 6, 8)
    assert not torch.allclose(transformer(x.flip(1)).flip(1), transformer(x), atol=1e-4)


def test_norm_scales_to_unit_rms():
    x = torch.randn(3, 50) * torch.tensor([[1e-6], [1.0], [1e6]])
    assert torch.allclose(RMSNorm(50)(x).square().mean(-1), torch.ones(3), atol=1e-5)
    assert not RMSNorm(50)(torch.zeros(50)).any()


def test_networks_have_the_published_sizes():
    """The sizes are 72.2 million (Lu et al. 2023) and 84.2 million parameters (Wang, Lu & Won 2024, L = 6)."""

    def millions(net):
        return round(sum(p.numel() for p in net.parameters()) / 1e6, 1)

    with torch.device("meta"):
        assert millions(BSRoformer(1)) == 72.2
        assert millions(MelBandRoformer(1)) == 84.2


@pytest.mark.parametrize(("name", "samples", "minimum"), [("bs_roformer", 128, 129), ("mel_band_roformer", 256, 257)])
def test_short_chunks_are_refused(name, samples, minimum):
    with pytest.raises(InputError) as error:
        small(name)(torch.zeros(1, 2, samples))
    assert (error.value.where, error.value.found) == ("mixture", f"{samples} samples")
    assert f"{minimum} samples" in error.value.expected


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(InputError) as error:
        small("bs_roformer")(torch.zeros(1, 1, 1200))
    assert (error.value.where, error.value.found) == ("mixture", "1 channels")


@pytest.mark.parametrize(
    ("make", "where", "found"),
    [
        (partial(BSRoformer, 1, n_fft=512), "BSRoformer.freqs_per_bands", "62 bands with 1025 bins"),
        (partial(BSRoformer, 1, n_fft=512, freqs_per_bands=[257]), "BSRoformer.freqs_per_bands", "1 bands with 257 bins"),
        (partial(BSRoformer, 1, n_fft=512, freqs_per_bands=[0, 257]), "BSRoformer.freqs_per_bands", "2 bands with 257 bins"),
        (partial(BSRoformer, 1, mask_estimator_depth=0), "mask_estimator_depth", 0),
        (partial(MelBandRoformer, 1, n_fft=256, hop_length=64), "MelBandRoformer.num_bands", 60),
        (partial(MelBandRoformer, 1, mask_estimator_depth=-1), "MelBandRoformer.mask_estimator_depth", -1),
        (partial(MelBandRoformer, 1, num_bands=0), "MelBandRoformer.num_bands", 0),
        (partial(MelBandRoformer, 1, num_bands=1 << 40), "MelBandRoformer.num_bands", 1 << 40),
        (partial(MelBandRoformer, 1, n_fft=1 << 40), "n_fft", 1 << 40),
        (partial(MelBandRoformer, 1, sample_rate=0), "sample_rate", 0),
        (partial(NETS["bs_roformer"], 0), "sources", 0),
        (partial(NETS["bs_roformer"], 1, audio_channels=0), "audio_channels", 0),
        (partial(NETS["bs_roformer"], 1, win_length=257), "win_length", 257),
        (partial(NETS["bs_roformer"], 1, win_length=99), "win_length", 99),
        (partial(BSRoformer, 1, dim_head=5), "dim_head", 5),
        (partial(BSRoformer, 1, depth=0), "depth", 0),
        (partial(BSRoformer, 1, linear_transformer_depth=-1), "linear_transformer_depth", -1),
        (partial(BSRoformer, 1, attn_dropout=1.0), "attn_dropout", 1.0),
        (partial(MelBandRoformer, 1, ff_dropout=-0.1), "ff_dropout", -0.1),
    ],
)
def test_invalid_arguments_are_refused(make, where, found):
    with pytest.raises(InputError) as error:
        make()
    assert (error.value.where, error.value.found) == (where, found)
