"""Tests of all separators: scale of the magnitudes, masks, classes, clusters, and chunks of any length."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from unbraid.dsp.phase import GriffinLim, MixturePhase
from unbraid.dsp.stft import STFT
from unbraid.inference.chunked import separate
from unbraid.models.losses import DeepClustering, MagnitudeL1, RelativeMagnitudeL1
from unbraid.models.separators.clustering import Clustering
from unbraid.models.separators.joint import JointMasking, leaves_residual
from unbraid.models.separators.mapping import SpectralMapping
from unbraid.models.separators.mask_options import JointMaskOptions, MaskOptions
from unbraid.models.separators.masking import Masking
from unbraid.models.separators.segmentation import Segmenting
from unbraid.models.separators.waveform import WaveformSeparator
from unbraid.nets.chimera import Chimera
from unbraid.nets.unet import UNet
from unbraid.runs.errors import InputError

NARROW = (2, 2, 4, 4, 4, 4)


class Constant(nn.Module):
    """Network whose mask has the same value in every bin."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, magnitudes):
        self.seen = magnitudes
        return self.value.expand_as(magnitudes)


def masking(net, scaling="patch", targets=("vocals",), channels=1):
    return Masking(net, STFT(1024, 768), targets, 8192, channels, 11.90625, MixturePhase(), scaling)


@pytest.mark.parametrize("samples", [1000, 97536, 250001])
def test_mask_of_one_returns_the_mixture(samples):
    mixture = torch.randn(1, samples)
    separated = separate(masking(partial(Constant, 1.0)), mixture)
    assert separated.shape == (1, 1, samples)
    assert (separated[0] - mixture).abs().max() < 1e-5


def test_silence_stays_silence():
    separator = masking(partial(UNet, None, NARROW)).eval()
    assert separate(separator, torch.zeros(1, 100000)).abs().max() == 0


@pytest.mark.parametrize("targets", [["vocals"], ["vocals", "drums", "bass"]])
@pytest.mark.parametrize("channels", [1, 2])
def test_each_target_has_a_network(targets, channels):
    separator = masking(partial(UNet, None, NARROW, channels), targets=targets, channels=channels)
    estimate = separator(torch.randn(2, channels, 97536))
    sources, frames = len(targets), (2, len(targets), channels, 513, 128)
    assert estimate.sources.shape == (2, sources, channels, 97536)
    assert estimate.masks.shape == estimate.magnitudes.shape == frames
    assert len(separator.nets) == sources


def test_network_input_is_between_0_and_1():
    separator = masking(partial(Constant, 1.0))
    mixture = torch.randn(2, 1, 97536) * torch.tensor([0.01, 3.0]).view(2, 1, 1)
    estimate = separator(mixture)
    seen = separator.nets[0].seen
    assert seen.min() >= 0 and torch.allclose(seen.amax(dim=(1, 2, 3)), torch.ones(2))
    assert torch.allclose(separator.training_target(mixture, mixture.unsqueeze(1), estimate).magnitudes[:, 0], seen, atol=1e-6)


def test_chunks_agree_with_one_pass():
    torch.manual_seed(0)
    separator = masking(partial(Constant, 0.3)).eval()
    mixture = torch.randn(1, 300000)
    whole = separator(mixture[None]).sources[0]
    assert (separate(separator, mixture) - whole).abs().max() < 1e-5


def test_training_ignores_phase_and_mask_options():
    separator = masking(partial(Constant, 0.5))
    separator.phase, separator.mask_options = GriffinLim(3, 0.0, "random", 0), MaskOptions(mask_max=0.1, consistency=True)
    mixture = torch.randn(1, 1, separator.chunk_samples)
    torch.testing.assert_close(separator.train()(mixture).sources[:, 0], 0.5 * mixture, atol=1e-5, rtol=0)
    assert (separator.eval()(mixture).sources[:, 0] - 0.5 * mixture).abs().max() > 0.1


@pytest.mark.parametrize(
    ("changes", "found"),
    [({"targets": []}, None), ({"channels": 3}, 3), ({"sample_rate": 3}, 3), ({"chunk_seconds": 1e9}, 1e9)],
)
def test_invalid_arguments_are_refused(changes, found):
    arguments = {"targets": ["vocals"], "sample_rate": 8192, "channels": 1, "chunk_seconds": 2.0} | changes
    with pytest.raises(InputError) as error:
        WaveformSeparator(Shares, **arguments)
    assert (error.value.where, error.value.found) == (*changes, found)


def test_chunk_shorter_than_a_window_is_refused():
    with pytest.raises(InputError) as error:
        Masking(partial(UNet, None, NARROW), STFT(1024, 768), ["vocals"], 8192, 1, 0.1, MixturePhase())
    assert error.value.where == "chunk_seconds" and "819" in error.value.found and "1024" in error.value.expected


def test_magnitude_difference_of_a_target():
    """The target has max(|X| - |Y|, 0) as in Jansson et al. 2017; the magnitudes of the other target do not change."""
    separator = masking(partial(Constant, 0.5), targets=("vocals", "accompaniment"))
    rest, voice = torch.randn(2, 2, 1, separator.chunk_samples)
    sources = torch.stack([voice, rest], dim=1)
    estimate = separator(rest + voice)
    plain = separator.training_target(rest + voice, sources, estimate, (False, False)).magnitudes
    seen = separator.training_target(rest + voice, sources, estimate, (True, False)).magnitudes
    whole, without = (separator.stft(x).abs() * estimate.scale for x in (rest + voice, rest))
    assert torch.allclose(seen[:, 0], (whole - without).clamp(min=0), atol=1e-5)
    assert torch.equal(seen[:, 1], plain[:, 1]) and not torch.allclose(seen[:, 0], plain[:, 0], atol=0.01)


@pytest.mark.parametrize("samples", [1000, 97536, 250001])
@pytest.mark.parametrize("channels", [1, 2])
def test_identity_mapping_returns_the_mixture(samples, channels):
    mixture = 0.01 * torch.randn(channels, samples)
    separator = SpectralMapping(nn.Identity, STFT(1024, 768), ["vocals"], 8192, channels, 11.90625, MixturePhase())
    (vocals,) = separate(separator, mixture)
    assert vocals.shape == mixture.shape
    assert (vocals - mixture).abs().max() < 1e-6


def test_mapping_has_magnitudes_and_no_masks():
    separator = SpectralMapping(partial(nn.Hardtanh, 0.0, 0.25), STFT(1024, 768), ["a", "b"], 8192, 1, 11.90625, MixturePhase())
    estimate = separator(torch.randn(2, 1, 97536))
    assert estimate.masks is None
    assert estimate.magnitudes.shape == (2, 2, 1, 513, 128)
    assert estimate.magnitudes.max() == 0.25


class Lowest(nn.Module):
    """Network that divides the bins into one band per class, the lowest first. Logits are 1 and -1."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, magnitudes):
        b, _, f, t = magnitudes.shape
        owner = torch.arange(f) * self.classes // f
        return (2.0 * (owner == torch.arange(self.classes)[:, None]) - 1)[None, :, :, None].expand(b, -1, f, t)


def segmenting(hard, channels=1, targets=("bass", "vocals")):
    return Segmenting(Lowest, STFT(1024, 768), targets, 8192, channels, 11.90625, MixturePhase(), hard)


@pytest.mark.parametrize("channels", [1, 2])
def test_hard_masks_divide_the_mixture(channels):
    separator = segmenting(True, channels)
    mixture = torch.randn(2, channels, 97536)
    estimate = separator(mixture)
    assert estimate.sources.shape == (2, 2, channels, 97536)
    assert {*estimate.masks.unique().tolist()} == {0.0, 1.0}
    assert estimate.masks[:, 0, :, :171].all() and not estimate.masks[:, 0, :, 171:].any()
    assert estimate.masks.sum(dim=1).amax() == 1
    spectra = separator.stft(mixture) * (torch.arange(513) < 342).float()[:, None]
    below = separator.stft.inverse(spectra, 97536)
    assert torch.allclose(estimate.sources.sum(dim=1), below, atol=1e-5)


def test_soft_masks_are_probabilities():
    masks = segmenting(False)(torch.randn(1, 1, 97536)).masks
    likely, unlikely = (torch.tensor([1.0, -1.0, -1.0]).softmax(dim=0)[:2]).tolist()
    assert torch.allclose(masks[:, 0, :, :171], torch.tensor(likely)) and torch.allclose(
        masks[:, 1, :, :171], torch.tensor(unlikely)
    )


def test_label_of_a_bin_is_its_loudest_source():
    separator = segmenting(True)
    time = torch.arange(97536) / 8192
    low, high = (torch.sin(2 * torch.pi * hertz * time)[None, None] for hertz in (400, 1600))  # bins 50 and 200
    other = 0.5 * torch.sin(2 * torch.pi * 2400 * time)[None, None]  # bin 300
    mixture = low + high + other
    labels = separator.training_target(mixture, torch.stack([low, high], dim=1), separator(mixture)).labels
    assert labels.shape == (1, 513, 128)
    inside = labels[0, :, 2:-2]
    assert [inside[bin_].unique().tolist() for bin_ in (50, 200, 300)] == [[0], [1], [2]]
    silence = torch.zeros(1, 1, 97536)
    labels = separator.training_target(silence, torch.zeros(1, 2, 1, 97536), separator(silence)).labels
    assert (labels < 0).all()


class TwoPlaces(nn.Module):
    """Network with wrong masks for bins 160 to 179, and two clusters of embeddings: below and above bin 171."""

    def __init__(self, sources: int) -> None:
        super().__init__()
        self.sources = sources
        self.shift = nn.Parameter(torch.zeros(()))

    def gather(self, values):
        return values

    spread = gather

    def forward(self, magnitudes):
        b, _, f, t = magnitudes.shape
        low = (torch.arange(f) < 171).float()[:, None].expand(f, t)
        wrong = low.clone()
        wrong[160:180] = 1 - wrong[160:180]
        masks = torch.stack([wrong, 1 - wrong])
        embeddings = torch.stack([low, 1 - low]) + 0.01 * torch.rand(2, f, t, generator=torch.Generator().manual_seed(0))
        embeddings = embeddings + self.shift
        return {"masks": masks[None, :, None].expand(b, -1, -1, -1, -1).clone(), "embeddings": embeddings.expand(b, -1, -1, -1)}


def clustering(masks_from, channels=1):
    stft = STFT(1024, 768)
    return Clustering(TwoPlaces, stft, ["low"], 8192, channels, 11.90625, MixturePhase(), masks_from, silent_db=40.0).eval()


@pytest.mark.parametrize("channels", [1, 2])
def test_clusters_are_assigned_to_their_sources(channels):
    mixture = torch.randn(2, channels, 97536)
    from_head, from_clusters = (clustering(kind, channels)(mixture) for kind in ("head", "clusters"))
    assert from_head.masks.shape == from_clusters.masks.shape == (2, 1, channels, 513, 128)
    assert from_clusters.masks[..., :171, :].all() and not from_clusters.masks[..., 171:, :].any()
    assert not from_head.masks[..., 160:171, :].any()
    assert torch.equal(clustering("clusters", channels)(mixture).masks, from_clusters.masks)


def test_training_uses_the_masks_of_the_head():
    separator = clustering("clusters").train()
    assert not separator(torch.randn(1, 1, 97536)).masks[..., 160:171, :].any()


def test_clusters_agree_outside_inference_mode():
    separator, mixture = clustering("clusters"), torch.randn(1, 1, 97536)
    with torch.inference_mode():
        masks = separator(mixture).masks
    assert torch.equal(separator(mixture).masks, masks)


def test_embeddings_with_nan_give_nan_masks():
    separator = clustering("clusters")
    separator.nets[0].shift.data.fill_(torch.nan)
    assert separate(separator, torch.randn(1, 97536)).isnan().all()


@pytest.mark.parametrize(("level", "counts"), [(-60, False), (-41, False), (-39, True)])  # silent_db is 40
def test_quiet_bins_have_weight_zero(level, counts):
    separator = clustering("head")
    time = torch.arange(97536) / 8192
    loud, quiet = (
        10 ** (db / 20) * torch.sin(2 * torch.pi * hertz * time)[None, None] for db, hertz in ((0, 400), (level, 1600))
    )
    truth = separator.training_target(loud + quiet, loud[None], separator(loud + quiet))
    assert truth.weights[0, 50, 2:-2].all() and (truth.weights[0, 200, 2:-2] == counts).all()
    assert (truth.labels[0, 50, 2:-2] == 0).all() and (truth.labels[0, 200, 2:-2] == 1).all()


def test_silent_db_of_zero_is_refused():
    with pytest.raises(InputError) as error:
        Clustering(TwoPlaces, STFT(1024, 768), ["low"], 8192, 1, 11.9, MixturePhase(), "head", silent_db=0)
    assert (error.value.where, error.value.found) == ("silent_db", 0)


class Shares(nn.Module):
    """Network that multiplies the mixture by 1, 2, … for each source."""

    def __init__(self, sources):
        super().__init__()
        self.shares = nn.Parameter(torch.arange(1.0, sources + 1))

    def forward(self, mixture):
        return self.shares[:, None, None] * mixture[:, None]


@pytest.mark.parametrize("samples", [700, 2000, 5003])
@pytest.mark.parametrize("channels", [1, 2])
def test_waveform_separator_runs_its_network(samples, channels):
    separator = WaveformSeparator(Shares, ["vocals", "drums", "bass"], 1000, channels, 2.0)
    mixture = torch.randn(channels, samples)
    estimate = separator(mixture[None])
    expected = torch.stack([mixture, 2 * mixture, 3 * mixture])
    assert torch.equal(estimate.sources[0], expected)
    assert estimate.masks is None and estimate.magnitudes is None
    assert torch.allclose(separate(separator, mixture), expected, atol=1e-5)


def test_target_of_a_waveform_separator_is_the_sources():
    separator = WaveformSeparator(Shares, ["vocals"], 1000, 1, 2.0)
    mixture, sources = torch.randn(2, 1, 2000), torch.randn(2, 1, 1, 2000)
    assert torch.equal(separator.training_target(mixture, sources, separator(mixture), (True,)).sources, sources)


def test_softmax_masks_sum_to_less_than_one():
    net = partial(UNet, channels=NARROW, audio_channels=2, masks="softmax")
    separator = JointMasking(net, STFT(1024, 768), ["vocals", "drums"], 8192, 2, 11.90625, MixturePhase()).eval()
    estimate = separator(torch.randn(1, 2, 97536))
    assert estimate.masks.shape == (1, 2, 2, 513, 128) and len(separator.nets) == 1
    assert estimate.masks.sum(dim=1).min() > 0 and estimate.masks.sum(dim=1).max() < 1


WHOLE = {"vocals": ["vocals"], "accompaniment": ["-vocals"]}


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (WHOLE, False), ({"a": ["-drums", "-bass"], "b": ["drums"], "c": ["bass"]}, False),
        ({"rhythm": ["drums", "bass"], "rest": ["-drums", "-bass"]}, False),
        ({"vocals": ["vocals"]}, True), ({"drums": ["drums"], "rest": ["-vocals"]}, True), ({"rest": ["-vocals"]}, True),
        ({"a": ["vocals"], "b": ["vocals"], "c": ["-vocals"]}, True), ({"mixture": ["*"]}, True), (["vocals", "bass"], True),
    ],
)  # fmt: skip
def test_residual_depends_on_the_targets(targets, expected):
    assert leaves_residual(targets) == expected


def test_two_complementary_masks_sum_to_one():
    net = partial(Chimera, bins=513, sample_rate=8192, hidden=4, layers=1, embedding=2)
    separator = Clustering(net, STFT(1024, 768), WHOLE, 8192, 1, 11.90625, MixturePhase(), "head", silent_db=40.0)
    masks = separator(torch.randn(1, 1, 97536)).masks
    assert masks.shape[1] == 2 and torch.allclose(masks.sum(dim=1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("kind", ["clustering", "segmenting"])
def test_mastering_makes_no_residual_class(kind):
    """The mixture is 6 dB louder than the sum of its sources, and clipped: the difference is loud in many bins."""
    sources = torch.randn(1, 2, 1, 97536, generator=torch.Generator().manual_seed(0))
    mixture = (2 * sources.sum(dim=1)).clamp(-3, 3)
    options = (STFT(1024, 768), WHOLE, 8192, 1, 11.90625, MixturePhase())
    shares = []
    for residual in ("auto", True):
        if kind == "segmenting":
            separator = Segmenting(Lowest, *options, True, mask_options=JointMaskOptions(residual=residual))
        else:
            net = partial(Chimera, bins=513, sample_rate=8192, hidden=2, layers=1, embedding=2)
            separator = Clustering(net, *options, "head", 40.0, mask_options=JointMaskOptions(residual=residual))
        labels = separator.training_target(mixture, sources, separator(mixture)).labels
        shares.append(float((labels == 2).float().mean()))
    assert shares[0] == 0 and shares[1] > 0.2


def test_one_target_needs_a_residual():
    options = JointMaskOptions(residual=False)
    with pytest.raises(InputError) as error:
        Segmenting(Lowest, STFT(1024, 768), ["vocals"], 8192, 1, 11.90625, MixturePhase(), True, mask_options=options)
    assert error.value.where == "mask_options.residual" and "residual=true" in error.value.hint


def song_of_tones(frames=127 * 768):
    """Return two sources whose mixture has few loud bins. Shape: [1, 1, T] each."""
    time = torch.arange(frames) / 8192
    notes = torch.stack(
        [torch.sin(2 * torch.pi * hz * time) * (0.5 + 0.5 * torch.sin(2 * torch.pi * time)) for hz in (440, 1000)]
    )
    noise = 0.002 * torch.randn(2, frames, generator=torch.Generator().manual_seed(0))
    return (notes + noise)[:, None, None].unbind()


@pytest.mark.parametrize(("inference", "low", "high"), [(RelativeMagnitudeL1(), 0.05, 20), (MagnitudeL1(), 40, math.inf)])
def test_gradients_of_both_losses_are_similar(inference, low, high):
    """The ratio of the gradient norms of the recurrent layers at the first step is between `low` and `high`."""
    torch.manual_seed(0)
    net = partial(Chimera, bins=513, sample_rate=8192, mel_bands=32, hidden=16, layers=1, embedding=20)
    separator = Clustering(net, STFT(1024, 768), WHOLE, 8192, 1, 11.90625, MixturePhase(), "head", 40.0).train()
    vocals, rest = song_of_tones()
    estimate = separator(vocals + rest)
    reference = separator.training_target(vocals + rest, torch.stack([vocals, rest], dim=1), estimate)
    norms = []
    for loss in (DeepClustering("classic"), inference):
        gradients = torch.autograd.grad(loss(estimate, reference), [*separator.nets[0].body.parameters()], retain_graph=True)
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
    assert low < norms[0] / norms[1] < high


@pytest.mark.parametrize("options", [{"mask_max": 0.5}, {"mask_power": 2.0}])
def test_mapping_refuses_mask_options(options):
    changed = MaskOptions(**options)
    with pytest.raises(InputError) as error:
        SpectralMapping(nn.Identity, STFT(1024, 768), ["vocals"], 8192, 1, 11.90625, MixturePhase(), mask_options=changed)
    assert (error.value.where, error.value.found) == ("mask_options", changed)
