"""BSS Eval: agreement with museval and mir_eval, which define it, and properties that follow from the definition."""

import math

import mir_eval.separation
import numpy as np
import pytest
import torch

from tests.scoring.conftest import random_sources, spoilt
from unbraid import audio
from unbraid.runs.errors import InputError
from unbraid.scoring.bss_eval import BSSScores, bss_eval
from unbraid.scoring.bss_filters import solve

NAMES = ("sdr", "isr", "sir", "sar")
FROZEN = [
    [16.181422, 17.901287, 14.514813, 4.475604],
    [26.578946, 34.591359, 24.668855, 22.740907],
    [16.387601, 17.964872, 14.631677, 4.51144],
    [27.778657, 30.15344, 28.110974, 20.92808],
]


def museval_scores(metrics, reference, estimate, window, hop, **options):
    """Return SDR, ISR, SIR, SAR and the permutation of museval."""
    signals = [signal.transpose(1, 2).double().numpy() for signal in (reference, estimate)]
    return metrics.bss_eval(*signals, window=window or np.inf, hop=hop or np.inf, **options)


def furthest(scores: BSSScores, expected) -> float:
    """Return the largest difference in dB, and check that the same scores are undefined."""
    distances = []
    for name, other in zip(NAMES, expected, strict=True):
        ours = getattr(scores, name).numpy()
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(other), name)
        distances.append(np.nanmax(np.abs(ours - other), initial=0))
    return max(distances)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sources", "channels", "samples", "window", "hop"),
    [
        (2, 1, 20000, 8000, 8000),
        (2, 2, 20001, 8000, 6000),  # windows that overlap, an odd length
        (3, 2, 17389, 8820, 8820),
        (4, 2, 12345, 4000, 4000),
        (4, 1, 20000, None, None),
        (2, 2, 6000, 44100, 44100),  # a window longer than the track
        (2, 2, 9000, 300, 300),  # windows shorter than the filters
        (2, 1, 20000, 8000, 20000),  # gaps between windows
    ],
)
def test_version_4_equals_museval(museval_metrics, sources, channels, samples, window, hop):
    reference = random_sources(sources, channels, samples)
    estimate = spoilt(reference)
    *expected, _ = museval_scores(museval_metrics, reference, estimate, window, hop)
    assert furthest(bss_eval(reference, estimate, window, hop), expected) < 1e-6


def music(stem_file, seconds: int, rounded: bool = True) -> torch.Tensor:
    """Return the stems of a real song, rounded to 16 bits as in the musdb package. Shape: [4, 2, T]."""
    streams, rate = audio.read(stem_file, (1, 2, 3, 4))
    stems = torch.from_numpy(np.stack(streams))[..., : seconds * rate].double()
    return (32768 * stems).round().clamp(-32768, 32767) / 32768 if rounded else stems


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.05, 0.001])
def test_version_4_equals_museval_on_real_music(museval_metrics, stem_file, noise):
    reference = music(stem_file, 4)
    estimate = spoilt(reference, noise=noise)
    *expected, _ = museval_scores(museval_metrics, reference, estimate, 44100, 44100)
    assert furthest(bss_eval(reference, estimate, 44100), expected) < 1e-6


@pytest.mark.slow
def test_difference_to_museval_is_bounded_without_rounding(museval_metrics, stem_file):
    """Compare on decoded AAC without rounding to 16 bits, which has no energy above 16 kHz.

    The filters are not unique there. SIR and SAR of museval depend on the order of the sources, SDR and ISR do not.
    """
    reference = music(stem_file, 4, rounded=False)
    estimate, order = spoilt(reference), [2, 0, 3, 1]
    *expected, _ = museval_scores(museval_metrics, reference, estimate, 44100, 44100)
    *reordered, _ = museval_scores(museval_metrics, reference[order], estimate[order], 44100, 44100)
    scores = bss_eval(reference, estimate, 44100)
    distances = [np.abs(getattr(scores, name).numpy() - other).max() for name, other in zip(NAMES, expected, strict=True)]
    museval_distances = [np.abs(a[order] - b).max() for a, b in zip(expected, reordered, strict=True)]
    assert max(distances[:2]) < 1e-6 and max(museval_distances[2:]) > 1e-3
    assert max(distances[2:]) < 10 * max(museval_distances[2:]) < 2


def test_frozen_scores_of_real_music(stem_file):
    """Compare medians over four seconds with stored results of museval 0.4.1, so that the test does not need the package."""
    reference = music(stem_file, 4)
    mixed = 0.8 * reference + 0.1 * reference.sum(dim=0) + 0.1 * reference.roll(3, dims=-1)
    scores = bss_eval(reference, (128 * mixed).round() / 128, 44100)
    medians = [getattr(scores, name).quantile(0.5, dim=1).tolist() for name in NAMES]
    assert medians == [pytest.approx(frozen, abs=2e-6) for frozen in FROZEN]


@pytest.mark.parametrize("window", [None, 8000])
@pytest.mark.parametrize("kind", ["images", "sources"])
def test_version_3_equals_museval(museval_metrics, window, kind):
    reference = random_sources(2, 2, 20000)
    estimate = spoilt(reference)
    options = {"framewise_filters": True, "bsseval_sources_version": kind == "sources"}
    *expected, _ = museval_scores(museval_metrics, reference, estimate, window, window, **options)
    assert furthest(bss_eval(reference, estimate, window, filters="window", kind=kind), expected) < 1e-6


@pytest.mark.filterwarnings("ignore:mir_eval.separation:FutureWarning")
@pytest.mark.parametrize("sources", [2, 3])
@pytest.mark.parametrize("permute", [False, True])
def test_version_3_sources_equals_mir_eval(sources, permute):
    reference = random_sources(sources, 1, 15001)
    estimate = spoilt(reference).roll(1, dims=0) if permute else spoilt(reference)
    sdr, sir, sar, order = mir_eval.separation.bss_eval_sources(reference[:, 0].numpy(), estimate[:, 0].numpy(), permute)
    scores = bss_eval(reference, estimate, filters="window", kind="sources", permute=permute)
    assert furthest(scores, [sdr[:, None], np.full((sources, 1), np.nan), sir[:, None], sar[:, None]]) < 1e-6
    assert scores.permutation[:, 0].tolist() == order.tolist()


@pytest.mark.filterwarnings("ignore:mir_eval.separation:FutureWarning")
@pytest.mark.parametrize(("window", "hop"), [(6000, 3000), (10000, 8000), (15000, 15000)])
def test_version_3_sources_equals_framewise_mir_eval(window, hop):
    reference = random_sources(2, 1, 15001)
    estimate = spoilt(reference)
    estimate[1, 0, :6000] = 0
    signals = reference[:, 0].numpy(), estimate[:, 0].numpy()
    sdr, sir, sar, _ = mir_eval.separation.bss_eval_sources_framewise(*signals, window, hop)
    scores = bss_eval(reference, estimate, window, hop, filters="window", kind="sources")
    assert furthest(scores, [sdr, np.full_like(sdr, np.nan), sir, sar]) < 1e-6
    assert scores.sdr.isnan().any() == (window == 6000)


@pytest.mark.filterwarnings("ignore:mir_eval.separation:FutureWarning")
def test_version_3_images_equals_mir_eval():
    reference = random_sources(2, 2, 12000)
    estimate = spoilt(reference)
    *expected, _ = mir_eval.separation.bss_eval_images(
        reference.transpose(1, 2).numpy(), estimate.transpose(1, 2).numpy(), compute_permutation=False
    )
    assert furthest(bss_eval(reference, estimate, filters="window"), [column[:, None] for column in expected]) < 1e-6


@pytest.mark.slow
def test_permutation_equals_that_of_museval(museval_metrics):
    reference = random_sources(3, 2, 12000)
    estimate = spoilt(reference)[[2, 0, 1]]
    *expected, order = museval_scores(museval_metrics, reference, estimate, 4000, 4000, compute_permutation=True)
    scores = bss_eval(reference, estimate, 4000, permute=True)
    assert furthest(scores, expected) < 1e-6
    assert (scores.permutation == torch.from_numpy(order)).all() and order[:, 0].tolist() == [1, 2, 0]


def test_equal_channels_of_a_reference_are_scored(museval_metrics):
    """Score references with two equal channels: the filters are not unique, but the projections are."""
    reference = random_sources(2, 1, 12000).expand(-1, 2, -1)
    estimate = spoilt(reference.clone())
    *expected, _ = museval_scores(museval_metrics, reference, estimate, 4000, 4000)
    assert furthest(bss_eval(reference, estimate, 4000), expected) < 1e-3


def test_dependent_channels_need_no_fallback_solver(monkeypatch):
    """Score copies, sums and silence without the solvers for singular matrices, which are many times slower."""
    monkeypatch.setattr(torch.linalg, "solve_ex", None)
    reference = random_sources(3, 2, 12000)
    reference[0, 1] = -0.5 * reference[0, 0]
    reference[1, 1] = reference[0, 0] + 2 * reference[1, 0]
    reference[2, 1] = 0
    estimate = spoilt(reference)
    scores = bss_eval(reference, estimate, 4000)
    assert scores.sdr.isfinite().all() and scores.sir.isfinite().all()


def test_singular_matrix_is_solved_by_least_squares():
    """Fit a silent reference without regularisation of the diagonal: the result is still the best fit."""
    signals = torch.randn(3, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    signals[2] = 0
    target = signals[0] - 2 * signals[1]
    filters = solve((signals @ signals.T).view(3, 1, 3, 1), (signals @ target).view(3, 1, 1))
    assert filters.flatten().tolist() == pytest.approx([1, -2, 0])


def test_sdr_is_the_level_of_the_noise():
    reference = random_sources(2, 2, 44100)
    for decibels in (0, 10, 30):
        noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        noise *= (reference.norm(dim=(1, 2)) / noise.norm(dim=(1, 2)) * 10 ** (-decibels / 20))[:, None, None]
        assert bss_eval(reference, reference + noise).sdr.flatten().tolist() == pytest.approx([decibels] * 2, abs=0.1)


def test_only_version_3_sources_ignores_scale():
    reference = random_sources(2, 1, 20000)
    estimate = spoilt(reference)
    v3 = [bss_eval(reference, gain * estimate, filters="window", kind="sources").sdr for gain in (1, 0.3)]
    v4 = [bss_eval(reference, gain * estimate).sdr for gain in (1, 0.3)]
    torch.testing.assert_close(*v3, atol=1e-9, rtol=0)
    assert (v4[0] - v4[1]).abs().min() > 1


def test_filters_compensate_a_delay_of_ten_samples():
    """Delay the estimates: only the SDR of version 4 decreases, because it compares with the reference itself."""
    reference = random_sources(2, 1, 20000)
    late = reference.roll(10, dims=-1)
    late[..., :10] = 0
    v3, v4 = bss_eval(reference, late, filters="window", kind="sources"), bss_eval(reference, late)
    assert min(v3.sdr.min(), v3.sar.min(), v4.sir.min(), v4.sar.min()) > 25
    assert v4.sdr.max() < 5


def test_scores_of_perfect_and_silent_estimates():
    reference = random_sources(2, 1, 8000)
    assert (bss_eval(reference, reference).sdr == math.inf).all()
    estimate = reference.clone()
    estimate[1] = 0
    assert bss_eval(reference, estimate, silence="own").sdr[1].item() == pytest.approx(0)


@pytest.mark.slow
@pytest.mark.parametrize("quiet", ["reference", "estimate"])
def test_silent_windows_equal_those_of_museval(museval_metrics, quiet):
    reference = random_sources(3, 2, 16000)
    estimate = spoilt(reference)
    (reference if quiet == "reference" else estimate)[1, :, 4000:8000] = 0
    *expected, _ = museval_scores(museval_metrics, reference, estimate, 4000, 4000)
    scores = bss_eval(reference, estimate, 4000)
    assert furthest(scores, expected) < 1e-6
    assert scores.sdr.isnan().tolist() == [[False, True, False, False]] * 3


def test_cancelling_channels_are_silent_as_in_museval(museval_metrics):
    reference = random_sources(2, 2, 8000)
    reference[0, 1, :4000] = -reference[0, 0, :4000]
    estimate = spoilt(reference)
    *expected, _ = museval_scores(museval_metrics, reference, estimate, 4000, 4000)
    scores = bss_eval(reference, estimate, 4000)
    assert furthest(scores, expected) < 1e-6 and scores.sdr[:, 0].isnan().all()


def test_silence_own_affects_one_source():
    """Score a source in windows in which others are silent. Its scores in other windows equal those of `any`."""
    reference = random_sources(3, 1, 16000)
    reference[1, :, 4000:8000] = 0
    estimate = spoilt(reference)
    estimate[2, :, :4000] = 0
    own, any_ = bss_eval(reference, estimate, 4000, silence="own"), bss_eval(reference, estimate, 4000)
    assert own.sdr.isnan().tolist() == [[False] * 4, [False, True, False, False], [False] * 4]
    for name in ("sdr", "sir", "sar"):
        torch.testing.assert_close(getattr(own, name)[:, 2:], getattr(any_, name)[:, 2:])


@pytest.mark.parametrize("filters", ["track", "window"])
def test_silent_source_makes_all_scores_undefined(filters):
    reference = random_sources(2, 1, 8000)
    reference[1] = 0
    estimate = spoilt(reference)
    assert bss_eval(reference, estimate, 4000, filters=filters).sdr.isnan().all()
    own = bss_eval(reference, estimate, 4000, filters=filters, silence="own")
    assert own.sdr.isnan().tolist() == [[False] * 2, [True] * 2] and own.sar[0].isfinite().all()


def test_scores_do_not_depend_on_block_size(monkeypatch):
    reference = random_sources(2, 2, 30000)
    estimate = spoilt(reference)
    expected = bss_eval(reference, estimate, 9000)
    for name, value in {"MEMORY": 1, "BLOCK": 4096}.items():
        monkeypatch.setattr(f"unbraid.scoring.bss_filters.{name}", value)
        scores = bss_eval(reference, estimate, 9000)
        assert furthest(scores, [getattr(expected, n).numpy() for n in NAMES]) < 1e-9


def test_float32_is_computed_in_float64():
    reference = random_sources(2, 1, 9000).float()
    estimate = spoilt(reference)
    double = bss_eval(reference.double(), estimate.double())
    assert furthest(bss_eval(reference, estimate), [getattr(double, name).numpy() for name in NAMES]) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_scores_equal_cpu_scores():
    reference = random_sources(4, 2, 50000)
    estimate = spoilt(reference)
    expected = bss_eval(reference, estimate, 9000)
    scores = bss_eval(reference.cuda(), estimate.cuda(), 9000)
    assert furthest(scores, [getattr(expected, name).numpy() for name in NAMES]) < 1e-6


@pytest.mark.parametrize(
    ("reference", "estimate", "options", "where"),
    [
        (torch.ones(2, 1, 9), torch.ones(2, 1, 8), {}, "reference, estimate"),
        (torch.ones(2, 9), torch.ones(2, 9), {}, "reference, estimate"),
        (torch.ones(0, 1, 9), torch.ones(0, 1, 9), {}, "reference, estimate"),
        (torch.ones(1, 1, 9), torch.full((1, 1, 9), torch.nan), {}, "estimate"),
        (torch.full((1, 1, 9), torch.inf), torch.ones(1, 1, 9), {}, "reference"),
        (torch.ones(1, 1, 9), torch.ones(1, 1, 9), {"window": 0}, "window"),
        (torch.ones(1, 1, 9), torch.ones(1, 1, 9), {"hop": 0}, "hop"),
        (torch.ones(1, 1, 9), torch.ones(1, 1, 9), {"taps": -1}, "taps"),
    ],
)
def test_invalid_arguments_are_named(reference, estimate, options, where):
    with pytest.raises(InputError) as error:
        bss_eval(reference, estimate, **options)
    assert error.value.where.startswith(where)
