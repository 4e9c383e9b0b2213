"""Tests of the losses against values computed by hand and other implementations."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from unbraid.dsp.synthesis import oscillators
from unbraid.models.losses import (
    SISDR,
    BinCrossEntropy,
    ChimeraLoss,
    DeepClustering,
    MagnitudeL1,
    MagnitudeMSE,
    MultiResolutionSTFT,
    MultiScaleSpectral,
    RelativeMagnitudeL1,
    SquaredError,
    WaveformL1,
    WaveformMSE,
    WeightedSum,
)
from unbraid.models.separators.base import Estimate
from unbraid.models.waveform_losses import SpectralRMSE
from unbraid.runs.errors import InputError


def test_magnitude_l1_of_a_shift_is_the_shift():
    magnitudes = torch.rand(2, 1, 1, 5, 7)
    truth, shifted = (Estimate(magnitudes=m) for m in (magnitudes, magnitudes + 0.25))
    assert MagnitudeL1()(truth, truth) == 0
    assert torch.isclose(MagnitudeL1()(shifted, truth), torch.tensor(0.25))


def test_magnitude_mse_of_a_shift_is_its_square():
    magnitudes = torch.rand(2, 1, 1, 5, 7)
    truth, shifted = (Estimate(magnitudes=m) for m in (magnitudes, magnitudes + 0.25))
    assert MagnitudeMSE()(truth, truth) == 0
    assert torch.isclose(MagnitudeMSE()(shifted, truth), torch.tensor(0.0625))


def test_magnitude_mse_gradient_ignores_other_targets():
    magnitudes, truth = torch.rand(2, 4, 1, 5, 7, requires_grad=True), torch.rand(2, 4, 1, 5, 7)
    loss = MagnitudeMSE()(Estimate(magnitudes=magnitudes), Estimate(magnitudes=truth))
    alone = functional.mse_loss(magnitudes[:, 0], truth[:, 0])
    (together,), (single,) = (torch.autograd.grad(value, magnitudes) for value in (loss, alone))
    assert torch.allclose(together[:, 0], single[:, 0]) and single[:, 0].abs().max() > 0


def test_squared_error_is_averaged_over_items():
    estimate, truth = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    assert SquaredError()(estimate, truth) == (4 + 25) / 2


def test_cross_entropy_ignores_unlabelled_bins():
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 1, 0, 0] = 5.0
    labels = torch.tensor([[[1, 2], [-100, -100]]])
    sure, unsure = -math.log(math.exp(5) / (math.exp(5) + 2)), math.log(3)
    loss = BinCrossEntropy()(*(Estimate(logits=logits, labels=labels) for _ in range(2)))
    assert math.isclose(loss.item(), (sure + unsure) / 2, rel_tol=1e-6)
    silent = Estimate(logits=logits, labels=torch.full_like(labels, -100))
    assert BinCrossEntropy()(silent, silent) == 0


def embedded(seed=0, items=2, bins=6, frames=5, classes=3, size=4):
    random = torch.Generator().manual_seed(seed)
    embeddings = functional.normalize(torch.randn(items, size, bins, frames, generator=random), dim=1).requires_grad_()
    labels = torch.randint(classes, (items, bins, frames), generator=random)
    weights = (torch.rand(items, bins, frames, generator=random) > 0.3).float()
    return Estimate(embeddings=embeddings), Estimate(labels=labels, weights=weights)


def pairs(estimate, reference):
    """Return V, Y and whether the weight is 1 for each bin of the first item."""
    v = estimate.embeddings[0].flatten(1).T.double()
    y = functional.one_hot(reference.labels[0].flatten(), 3).double()
    return v, y, reference.weights[0].flatten().bool()


def test_deep_clustering_is_the_distance_of_affinities():
    estimate, reference = embedded(items=1)
    v, y, counts = pairs(estimate, reference)
    v, y = v[counts], y[counts]
    expected = (v @ v.T - y @ y.T).square().sum() / len(v) ** 2
    assert float(DeepClustering("classic")(estimate, reference)) == pytest.approx(float(expected), rel=1e-5)


def test_whitened_deep_clustering_is_its_formula():
    estimate, reference = embedded(items=1)
    v, y, counts = pairs(estimate, reference)
    v, y = v[counts], y[counts]
    explained = torch.linalg.inv(v.T @ v) @ v.T @ y @ torch.linalg.inv(y.T @ y) @ y.T @ v
    expected = 1 - explained.trace() / v.shape[1]
    assert float(DeepClustering("whitened")(estimate, reference)) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("kind", ["classic", "whitened"])
def test_deep_clustering_ignores_bins_of_weight_zero(kind):
    estimate, reference = embedded()
    loss = DeepClustering(kind)
    loss(estimate, reference).backward()
    silent = (reference.weights == 0).unsqueeze(1).expand_as(estimate.embeddings)
    gradient = estimate.embeddings.grad
    assert (gradient[silent] == 0).all() and (gradient[~silent] != 0).any()
    all_silent = Estimate(labels=reference.labels, weights=torch.zeros_like(reference.weights))
    assert loss(estimate, all_silent).isfinite()


def test_deep_clustering_of_perfect_embeddings_is_zero():
    _, reference = embedded()
    perfect = Estimate(embeddings=functional.one_hot(reference.labels, 4).permute(0, 3, 1, 2).float())
    assert float(DeepClustering("classic")(perfect, reference)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("gain", [1e-3, 1.0, 50.0])
def test_relative_magnitudes_do_not_depend_on_their_scale(gain):
    """The loss of two silent estimates that should sum to the mixture is 0.5, the mean over both."""
    parts = torch.rand(2, 2, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    mixture = gain * parts.sum(dim=1)
    truth = Estimate(magnitudes=gain * parts)
    for share, expected in ((1.0, 0.0), (0.9, 0.05), (0.0, 0.5)):
        estimate = Estimate(magnitudes=share * gain * parts, mixture=mixture)
        assert float(RelativeMagnitudeL1()(estimate, truth)) == pytest.approx(expected, abs=1e-6)
    silence = Estimate(magnitudes=0 * parts, mixture=0 * mixture)
    assert RelativeMagnitudeL1()(silence, Estimate(magnitudes=0 * parts)) == 0


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_chimera_loss_is_a_weighted_sum(alpha):
    def fixed(value):
        return lambda *_: torch.tensor(value)

    loss = ChimeraLoss(nn.Identity(), nn.Identity(), alpha)
    loss.clustering.forward, loss.inference.forward = fixed(2.0), fixed(5.0)
    assert float(loss(None, None)) == pytest.approx(alpha * 2 + (1 - alpha) * 5)


def test_alpha_out_of_range_is_refused():
    with pytest.raises(InputError) as error:
        ChimeraLoss(nn.Identity(), nn.Identity(), 1.5)
    assert (error.value.where, error.value.found) == ("alpha", 1.5)


def waveforms(seed, shape=(2, 3, 2, 4000)):
    return Estimate(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("loss", [WaveformL1(), WaveformMSE(), MultiResolutionSTFT(), SpectralRMSE(256, 64)])
def test_waveform_losses_of_the_truth_are_zero(loss):
    truth, other = waveforms(0), waveforms(1)
    assert loss(truth, truth) == 0 < loss(other, truth)


def test_waveform_losses_are_means_over_samples():
    truth = waveforms(0)
    louder = Estimate(truth.sources + 0.5)
    assert torch.isclose(WaveformL1()(louder, truth), torch.tensor(0.5))
    assert torch.isclose(WaveformMSE()(louder, truth), torch.tensor(0.25))


def test_si_sdr_ignores_the_level():
    truth = waveforms(0)
    noisy = Estimate(truth.sources + 0.1 * waveforms(1).sources)
    assert SISDR()(noisy, truth).item() == pytest.approx(-20, abs=0.2)
    for level in (0.1, 7.0):
        assert torch.isclose(SISDR()(Estimate(level * noisy.sources), truth), SISDR()(noisy, truth), atol=1e-3)
    assert SISDR()(truth, truth) < -80


def test_si_sdr_agrees_with_torchmetrics():
    truth, estimate = waveforms(0), Estimate(0.3 * waveforms(0).sources + waveforms(1).sources)
    theirs = scale_invariant_signal_distortion_ratio(estimate.sources.flatten(2), truth.sources.flatten(2))
    assert torch.isclose(SISDR()(estimate, truth), -theirs.mean(), atol=1e-4)


def test_si_sdr_of_silence_is_finite():
    silence, loud = Estimate(torch.zeros(1, 1, 1, 400)), torch.ones(1, 1, 1, 400, requires_grad=True)
    loss = SISDR()(Estimate(loud), silence)
    loss.backward()
    assert loss.isfinite() and (loud.grad > 0).all()


def test_multi_resolution_stft_is_the_loss_of_bs_roformer():
    """The loss of the RoFormers of MSST: the L1 error of waveforms plus those of complex spectra, multiplied by the weight."""
    truth, estimate = waveforms(2, (2, 2, 2, 2000)), waveforms(3, (2, 2, 2, 2000))
    expected = (estimate.sources - truth.sources).abs().mean()
    for size in (1024, 256, 64):
        options = {"n_fft": max(size, 256), "hop_length": 50, "win_length": size, "window": torch.hann_window(size)}
        spectra = [torch.stft(e.sources.flatten(0, 2), **options, return_complex=True) for e in (estimate, truth)]
        expected = expected + 0.7 * (spectra[0] - spectra[1]).abs().mean()
    ours = MultiResolutionSTFT((1024, 256, 64), hop_length=50, n_fft=256, weight=0.7)(estimate, truth)
    assert torch.isclose(ours, expected, rtol=1e-5)


def test_spectral_rmse_is_a_mean_of_roots():
    """A rectangular window of whole periods measures the level of white noise: sigma / sqrt(2) for each part of a bin."""
    noise, silence = waveforms(0, (2, 2, 1, 8192)).sources, Estimate(torch.zeros(2, 2, 1, 8192))
    levels = torch.tensor([0.1, 1.0, 2.0, 0.0]).view(2, 2, 1, 1)
    noise = noise / noise.std() * levels
    assert SpectralRMSE(256, 256)(Estimate(noise), silence).item() == pytest.approx(3.1 / 4 / 2**0.5, rel=0.05)


def test_spectral_rmse_has_a_finite_gradient_at_zero():
    silence = torch.zeros(1, 2, 1, 1000, requires_grad=True)
    SpectralRMSE(256, 64)(Estimate(silence), Estimate(torch.zeros(1, 2, 1, 1000))).backward()
    assert silence.grad.abs().max() == 0


def test_invalid_transform_of_spectral_rmse_is_refused():
    with pytest.raises(InputError) as error:
        SpectralRMSE(256, 0)
    assert (error.value.where, error.value.found) == ("hop_length", 0)


def test_invalid_window_sizes_are_refused():
    with pytest.raises(InputError) as error:
        MultiResolutionSTFT([4096, 128])
    assert (error.value.where, error.value.found) == ("window_sizes", [4096, 128]) and "147" in error.value.expected
    with pytest.raises(InputError) as error:
        MultiResolutionSTFT()(waveforms(0, (1, 1, 1, 2000)), waveforms(1, (1, 1, 1, 2000)))
    assert (error.value.where, error.value.found) == ("window_sizes", "2000 samples")
    assert {"2048", "4096"} < {*error.value.expected.split()}


def test_weighted_sum_adds_the_losses():
    truth, estimate = waveforms(0), waveforms(1)
    parts = {"level": WaveformL1(), "shape": SISDR()}
    total = WeightedSum(parts, {"shape": 0.1, "level": 2.0})(estimate, truth)
    assert torch.isclose(total, 2 * parts["level"](estimate, truth) + 0.1 * parts["shape"](estimate, truth))


def test_weights_without_a_loss_are_refused():
    with pytest.raises(InputError) as error:
        WeightedSum({"level": WaveformL1()}, {"levle": 1.0})
    assert (error.value.where, error.value.found) == ("weights", "levle") and "level" in error.value.expected


@pytest.mark.parametrize("kind", ["classic", "whitened"])
def test_deep_clustering_is_in_float32_under_autocast(kind):
    estimate, reference = embedded()
    loss = DeepClustering(kind)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(estimate, reference)
    assert torch.equal(inside, loss(estimate, reference))


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (MagnitudeL1(), "magnitudes"),
        (RelativeMagnitudeL1(), "magnitudes"),
        (MagnitudeMSE(), "magnitudes"),
        (BinCrossEntropy(), "logits"),
        (DeepClustering("classic"), "embeddings"),
    ],
)
def test_missing_field_of_an_estimate_is_reported(loss, name):
    waveforms = Estimate(torch.zeros(1, 1, 1, 8))
    with pytest.raises(InputError) as error:
        loss(waveforms, waveforms)
    assert error.value.where == "model.loss" and name in error.value.problem


def test_estimate_without_waveforms_is_reported():
    with pytest.raises(ValueError, match="sources"):
        WaveformL1()(Estimate(), Estimate())


SCALES = [2048, 1024, 512, 256, 128, 64]


def test_multi_scale_loss_is_symmetric():
    first, second = torch.randn(2, 3, 8000, generator=torch.Generator().manual_seed(0))
    loss = MultiScaleSpectral(SCALES, 1.0)
    assert loss(first, first) == 0 < loss(first, second)
    assert torch.isclose(loss(first, second), loss(second, first))
    assert torch.isclose(loss(first, second), MultiScaleSpectral(SCALES[::-1], 1.0)(first, second))
    alone = [MultiScaleSpectral([size], 1.0)(first, second) for size in SCALES]
    assert torch.isclose(loss(first, second), torch.stack(alone).sum())


def test_multi_scale_loss_of_half_the_level():
    """The logarithmic part is log 2, the linear part half of the mean magnitude."""
    sound = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    logs = MultiScaleSpectral([512], 1.0)(sound, sound / 2) - MultiScaleSpectral([512], 0.0)(sound, sound / 2)
    assert float(logs) == pytest.approx(math.log(2), abs=1e-3)
    spectrum = torch.stft(sound, 512, 128, window=torch.hann_window(512), pad_mode="constant", return_complex=True)
    assert float(MultiScaleSpectral([512], 0.0)(sound, sound / 2)) == pytest.approx(float(spectrum.abs().mean()) / 2, rel=1e-4)


def test_multi_scale_loss_gradient_corrects_the_pitch():
    """The logarithmic part is left out, because side lobes disturb its gradient."""
    loss, amplitudes = MultiScaleSpectral(SCALES, 0.0), torch.full((1, 101, 1), 0.3)
    true, _ = oscillators(torch.full((1, 101), 440.0), amplitudes, 64, 16000)
    for hz, sign in ((437.0, -1), (443.0, 1)):
        f0 = torch.full((1, 101), hz, requires_grad=True)
        loss(oscillators(f0, amplitudes, 64, 16000)[0], true).backward()
        assert f0.grad.isfinite().all() and f0.grad.sum() * sign > 0
    silence = torch.zeros(1, 4000, requires_grad=True)
    loss(silence, true[:, :4000]).backward()
    assert silence.grad.isfinite().all()


@pytest.mark.parametrize(("sizes", "alpha"), [([], 1.0), ([2], 1.0), ([64], -1.0)])
def test_multi_scale_loss_refuses_invalid_arguments(sizes, alpha):
    with pytest.raises(InputError):
        MultiScaleSpectral(sizes, alpha)
