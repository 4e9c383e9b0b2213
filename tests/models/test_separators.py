"""Separators: the mixture's phase, the scale of the magnitudes, decisions, whole tracks of any length."""

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
from unbraid.models.separators.masking import Masking
from unbraid.models.separators.segmentation import Segmenting
from unbraid.models.separators.waveform import WaveformSeparator
from unbraid.nets.chimera import Chimera
from unbraid.nets.unet import UNet
from unbraid.runs.errors import InputError

NARROW = (2, 2, 4, 4, 4, 4)


class Constant(nn.Module):
    """A mask that is the same everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, magnitudes):
        self.seen = magnitudes
        return self.value.expand_as(magnitudes)


def masking(net, scaling="patch", targets=("vocals",), channels=1):
    return Masking(net, STFT(1024, 768), targets, 8192, channels, 11.90625, MixturePhase(), scaling)


@pytest.mark.parametrize("samples", [1000, 97536, 250001])
def test_a_mask_of_one_returns_the_mixture(samples):
    mixture = torch.randn(1, samples)
    separated = separate(masking(partial(Constant, 1.0)), mixture)
    assert separated.shape == (1, 1, samples)
    assert (separated[0] - mixture).abs().max() < 1e-5


def test_silence_in_gives_silence_out():
    separator = masking(partial(UNet, None, NARROW)).eval()
    assert separate(separator, torch.zeros(1, 100000)).abs().max() == 0


@pytest.mark.parametrize("targets", [["vocals"], ["vocals", "drums", "bass"]])
@pytest.mark.parametrize("channels", [1, 2])
def test_shapes_and_one_network_per_target(targets, channels):
    separator = masking(partial(UNet, None, NARROW, channels), targets=targets, channels=channels)
    estimate = separator(torch.randn(2, channels, 97536))
    sources, frames = len(targets), (2, len(targets), channels, 513, 128)
    assert estimate.sources.shape == (2, sources, channels, 97536)
    assert estimate.masks.shape == estimate.magnitudes.shape == frames
    assert len(separator.nets) == sources


def test_the_network_sees_magnitudes_in_0_1_whatever_the_level():
    separator = masking(partial(Constant, 1.0))
    mixture = torch.randn(2, 1, 97536) * torch.tensor([0.01, 3.0]).view(2, 1, 1)
    estimate = separator(mixture)
    seen = separator.nets[0].seen
    assert seen.min() >= 0 and torch.allclose(seen.amax(dim=(1, 2, 3)), torch.ones(2))
    assert torch.allclose(separator.training_target(mixture, mixture.unsqueeze(1), estimate).magnitudes[:, 0], seen, atol=1e-6)


def test_chunks_leave_no_seam():
    """A whole-track pass and a chunked one agree, where chunks meet too."""
    torch.manual_seed(0)
    separator = masking(partial(Constant, 0.3)).eval()
    mixture = torch.randn(1, 300000)
    whole = separator(mixture[None]).sources[0]
    assert (separate(separator, mixture) - whole).abs().max() < 1e-5


def test_training_hears_the_masks_and_the_mixtures_phase_alone():
    separator = masking(partial(Constant, 0.5))
    separator.phase, separator.mask_max, separator.consistency = GriffinLim(3, 0.0, "random", 0), 0.1, True
    mixture = torch.randn(1, 1, separator.chunk_samples)
    torch.testing.assert_close(separator.train()(mixture).sources[:, 0], 0.5 * mixture, atol=1e-5, rtol=0)
    assert (separator.eval()(mixture).sources[:, 0] - 0.5 * mixture).abs().max() > 0.1


@pytest.mark.parametrize(
    ("changes", "sentence"), [({"targets": []}, "targets: none given"), ({"channels": 3}, "channels must be 1 or 2")]
)
def test_what_is_no_separator_is_said(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        masking(partial(Constant, 1.0), **changes)


def test_a_chunk_shorter_than_a_window_is_refused():
    with pytest.raises(InputError, match=r"chunk_seconds=0\.1 is 819 samples, expected at least n_fft = 1024"):
        Masking(partial(UNet, None, NARROW), STFT(1024, 768), ["vocals"], 8192, 1, 0.1, MixturePhase())


def test_a_target_by_difference_is_what_the_mixtures_magnitudes_have_more():
    """Jansson et al. 2017: max(|X| - |Y|, 0) for pairs; the other targets are what they are."""
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
def test_a_map_that_changes_nothing_returns_the_mixture(samples, channels):
    """Whatever the level: what the network gives is scaled back."""
    mixture = 0.01 * torch.randn(channels, samples)
    separator = SpectralMapping(nn.Identity, STFT(1024, 768), ["vocals"], 8192, channels, 11.90625, MixturePhase())
    (vocals,) = separate(separator, mixture)
    assert vocals.shape == mixture.shape
    assert (vocals - mixture).abs().max() < 1e-6


def test_a_map_gives_magnitudes_and_no_mask():
    separator = SpectralMapping(partial(nn.Hardtanh, 0.0, 0.25), STFT(1024, 768), ["a", "b"], 8192, 1, 11.90625, MixturePhase())
    estimate = separator(torch.randn(2, 1, 97536))
    assert estimate.masks is None
    assert estimate.magnitudes.shape == (2, 2, 1, 513, 128)
    assert estimate.magnitudes.max() == 0.25


class Lowest(nn.Module):
    """Gives the lowest bins to the first class and every other class the next ones; sees them in [-1, 1] of certainty."""

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
def test_hard_classes_divide_the_mixture(channels):
    separator = segmenting(True, channels)
    mixture = torch.randn(2, channels, 97536)
    estimate = separator(mixture)
    assert estimate.sources.shape == (2, 2, channels, 97536)
    assert {*estimate.masks.unique().tolist()} == {0.0, 1.0}
    assert estimate.masks[:, 0, :, :171].all() and not estimate.masks[:, 0, :, 171:].any()
    assert estimate.masks.sum(dim=1).amax() == 1  # what is in no target is the rest
    spectra = separator.stft(mixture) * (torch.arange(513) < 342).float()[:, None]
    below = separator.stft.inverse(spectra, 97536)
    assert torch.allclose(estimate.sources.sum(dim=1), below, atol=1e-5)


def test_soft_classes_are_the_probabilities():
    masks = segmenting(False)(torch.randn(1, 1, 97536)).masks
    likely, unlikely = (torch.tensor([1.0, -1.0, -1.0]).softmax(dim=0)[:2]).tolist()
    assert torch.allclose(masks[:, 0, :, :171], torch.tensor(likely)) and torch.allclose(
        masks[:, 1, :, :171], torch.tensor(unlikely)
    )


def test_a_bin_is_labelled_with_its_loudest_source():
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
    """Masks that err a little, embeddings that do not: bins below 171 are in one place, those above in another."""

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
        mistaken = low.clone()
        mistaken[160:180] = 1 - mistaken[160:180]
        masks = torch.stack([mistaken, 1 - mistaken])
        embeddings = torch.stack([low, 1 - low]) + 0.01 * torch.rand(2, f, t, generator=torch.Generator().manual_seed(0))
        embeddings = embeddings + self.shift
        return {"masks": masks[None, :, None].expand(b, -1, -1, -1, -1).clone(), "embeddings": embeddings.expand(b, -1, -1, -1)}


def clustering(masks_from, channels=1):
    stft = STFT(1024, 768)
    return Clustering(TwoPlaces, stft, ["low"], 8192, channels, 11.90625, MixturePhase(), masks_from, silent_db=40.0).eval()


@pytest.mark.parametrize("channels", [1, 2])
def test_clusters_find_the_sources_by_their_names(channels):
    mixture = torch.randn(2, channels, 97536)
    from_head, from_clusters = (clustering(kind, channels)(mixture) for kind in ("head", "clusters"))
    assert from_head.masks.shape == from_clusters.masks.shape == (2, 1, channels, 513, 128)
    assert from_clusters.masks[..., :171, :].all() and not from_clusters.masks[..., 171:, :].any()
    assert not from_head.masks[..., 160:171, :].any()
    assert torch.equal(clustering("clusters", channels)(mixture).masks, from_clusters.masks)


def test_training_asks_for_no_clusters():
    separator = clustering("clusters").train()
    assert not separator(torch.randn(1, 1, 97536)).masks[..., 160:171, :].any()


def test_clusters_need_no_inference_mode():
    separator, mixture = clustering("clusters"), torch.randn(1, 1, 97536)
    with torch.inference_mode():
        masks = separator(mixture).masks
    assert torch.equal(separator(mixture).masks, masks)


def test_of_embeddings_that_are_no_numbers_there_are_no_clusters():
    """So that validation and scoring say that training diverged, as of any other separator."""
    separator = clustering("clusters")
    separator.nets[0].shift.data.fill_(torch.nan)
    assert separate(separator, torch.randn(1, 97536)).isnan().all()


@pytest.mark.parametrize(("level", "have"), [(-60, False), (-41, False), (-39, True)])  # silent_db is 40
def test_quiet_bins_have_no_say(level, have):
    separator = clustering("head")
    time = torch.arange(97536) / 8192
    loud, quiet = (
        10 ** (db / 20) * torch.sin(2 * torch.pi * hertz * time)[None, None] for db, hertz in ((0, 400), (level, 1600))
    )
    truth = separator.training_target(loud + quiet, loud[None], separator(loud + quiet))
    assert truth.weights[0, 50, 2:-2].all() and (truth.weights[0, 200, 2:-2] == have).all()
    assert (truth.labels[0, 50, 2:-2] == 0).all() and (truth.labels[0, 200, 2:-2] == 1).all()


def test_what_is_no_silence_is_said():
    with pytest.raises(InputError, match="silent_db must be above 0, found 0"):
        Clustering(TwoPlaces, STFT(1024, 768), ["low"], 8192, 1, 11.9, MixturePhase(), "head", silent_db=0)


class Shares(nn.Module):
    """Gives every source its share of the mixture."""

    def __init__(self, sources):
        super().__init__()
        self.shares = nn.Parameter(torch.arange(1.0, sources + 1))

    def forward(self, mixture):
        return self.shares[:, None, None] * mixture[:, None]


@pytest.mark.parametrize("samples", [700, 2000, 5003])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_direct_separator_is_its_network_told_how_many_targets(samples, channels):
    separator = WaveformSeparator(Shares, ["vocals", "drums", "bass"], 1000, channels, 2.0)
    mixture = torch.randn(channels, samples)
    estimate = separator(mixture[None])
    expected = torch.stack([mixture, 2 * mixture, 3 * mixture])
    assert torch.equal(estimate.sources[0], expected)
    assert estimate.masks is None and estimate.magnitudes is None
    assert torch.allclose(separate(separator, mixture), expected, atol=1e-5)


def test_the_truth_of_a_direct_separator_is_the_sources():
    separator = WaveformSeparator(Shares, ["vocals"], 1000, 1, 2.0)
    mixture, sources = torch.randn(2, 1, 2000), torch.randn(2, 1, 1, 2000)
    assert torch.equal(separator.training_target(mixture, sources, separator(mixture), (True,)).sources, sources)


def test_one_u_net_divides_the_mixture_among_targets_and_the_rest():
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
def test_targets_that_are_all_there_is_leave_no_residual(targets, expected):
    assert leaves_residual(targets) == expected


def test_vocals_and_accompaniment_have_two_masks_that_sum_to_one():
    net = partial(Chimera, bins=513, sample_rate=8192, hidden=4, layers=1, embedding=2)
    separator = Clustering(net, STFT(1024, 768), WHOLE, 8192, 1, 11.90625, MixturePhase(), "head", silent_db=40.0)
    masks = separator(torch.randn(1, 1, 97536)).masks
    assert masks.shape[1] == 2 and torch.allclose(masks.sum(dim=1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("kind", ["clustering", "segmenting"])
def test_mastering_makes_no_class_of_its_own(kind):
    """Of a mixture that is 6 dB louder and clipped, whose difference to the sum of its sources is loud in many bins."""
    sources = torch.randn(1, 2, 1, 97536, generator=torch.Generator().manual_seed(0))
    mixture = (2 * sources.sum(dim=1)).clamp(-3, 3)
    options = (STFT(1024, 768), WHOLE, 8192, 1, 11.90625, MixturePhase())
    shares = []
    for residual in ("auto", True):
        if kind == "segmenting":
            separator = Segmenting(Lowest, *options, True, residual=residual)
        else:
            net = partial(Chimera, bins=513, sample_rate=8192, hidden=2, layers=1, embedding=2)
            separator = Clustering(net, *options, "head", 40.0, residual=residual)
        labels = separator.training_target(mixture, sources, separator(mixture)).labels
        shares.append(float((labels == 2).float().mean()))
    assert shares[0] == 0 and shares[1] > 0.2


def test_one_target_needs_a_residual():
    with pytest.raises(InputError) as caught:
        Segmenting(Lowest, STFT(1024, 768), ["vocals"], 8192, 1, 11.90625, MixturePhase(), True, residual=False)
    assert (caught.value.where, caught.value.found) == ("residual", False)


def song_of_tones(frames=127 * 768):
    """A quiet song with a loud note, as magnitudes divided by their largest make most bins small. Shape: [1, 1, T] each."""
    time = torch.arange(frames) / 8192
    notes = torch.stack(
        [torch.sin(2 * torch.pi * hz * time) * (0.5 + 0.5 * torch.sin(2 * torch.pi * time)) for hz in (440, 1000)]
    )
    noise = 0.002 * torch.randn(2, frames, generator=torch.Generator().manual_seed(0))
    return (notes + noise)[:, None, None].unbind()


@pytest.mark.parametrize(("inference", "low", "high"), [(RelativeMagnitudeL1(), 0.05, 20), (MagnitudeL1(), 40, math.inf)])
def test_clustering_and_masks_pull_alike(inference, low, high):
    """Norms of the gradients of the body, at the first step of chimera_small's layout."""
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
def test_what_has_no_masks_takes_no_options_of_masks(options):
    with pytest.raises(InputError, match="these networks give magnitudes and no masks"):
        SpectralMapping(nn.Identity, STFT(1024, 768), ["vocals"], 8192, 1, 11.90625, MixturePhase(), **options)
