"""STFT: the inverse is exact, and Griffin-Lim agrees with torchaudio."""

import pytest
import torch
import torchaudio

from unbraid.dsp.stft import STFT, griffin_lim, magnitudes_of, spectral_convergence
from unbraid.runs.errors import InputError


@pytest.mark.parametrize(("n_fft", "hop_length"), [(1024, 768), (1024, 512), (1024, 256), (4096, 1024), (64, 63)])
@pytest.mark.parametrize("samples", [1, 767, 20000, 49806])
def test_the_inverse_returns_every_sample(n_fft, hop_length, samples):
    waveform = torch.randn(2, 1, samples, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    stft = STFT(n_fft, hop_length)
    spectrum = stft(waveform)
    assert spectrum.shape == (2, 1, n_fft // 2 + 1, stft.frames(samples))
    tolerance = 1e-5 if hop_length < n_fft - 1 else 1  # at hop n_fft - 1 the sum of windows is almost 0 at some samples
    assert (stft.inverse(spectrum, samples) - waveform).abs().max() < tolerance


def test_chunk_of_the_u_net_has_128_frames():
    assert STFT(1024, 768).frames(round(11.90625 * 8192)) == 128


def test_tone_is_in_its_bin():
    time = torch.arange(8192) / 8192
    magnitudes = STFT(1024, 256)(torch.sin(2 * torch.pi * 1000 * time)).abs()
    assert (magnitudes[:, 4:-4].argmax(dim=0) == 125).all()  # 1000 Hz at 8 Hz per bin


def test_the_transform_stays_in_float32_under_autocast():
    waveform = torch.randn(1, 4096)
    with torch.autocast("cpu", torch.bfloat16):
        spectrum = STFT(1024, 256)(waveform)
    assert torch.equal(spectrum, STFT(1024, 256)(waveform))


@pytest.mark.parametrize("hop_length", [0, 1024, 2000])
def test_a_hop_that_loses_samples_is_refused(hop_length):
    with pytest.raises(InputError) as error:
        STFT(1024, hop_length)
    assert (error.value.where, error.value.found) == ("hop_length", hop_length)


def chord():
    t = torch.arange(8192 * 2) / 8192
    return sum(torch.sin(2 * torch.pi * hz * t) * (-t * decay).exp() for hz, decay in ((220, 1), (277, 2), (330, 3), (1205, 5)))


def test_griffin_lim_improves_with_iterations():
    stft = STFT(1024, 256)
    magnitudes = stft(chord()).abs()
    errors = [spectral_convergence(magnitudes, griffin_lim(magnitudes, stft, 16384, n), stft) for n in (1, 10, 20, 30, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < -15


def test_griffin_lim_is_deterministic_and_keeps_silence():
    stft = STFT(64, 16)
    magnitudes = stft(torch.rand(2, 1003)).abs()
    waveform = griffin_lim(magnitudes, stft, 1003)
    assert waveform.shape == (2, 1003)
    assert torch.equal(waveform, griffin_lim(magnitudes, stft, 1003))
    assert not griffin_lim(torch.zeros_like(magnitudes), stft, 1003).any()


@pytest.mark.parametrize(("options", "key"), [({"iterations": 0}, "iterations"), ({"momentum": 1.0}, "momentum")])
def test_griffin_lim_refuses_options_out_of_range(options, key):
    with pytest.raises(InputError) as error:
        griffin_lim(torch.zeros(33, 10), STFT(64, 16), 100, **options)
    assert error.value.where.startswith(key)


def test_only_small_overlaps_are_padded():
    assert STFT(4096, 1024).frames(10 * 1024 + 1023) == 11
    assert STFT(1024, 512).frames(10 * 512 + 1) == 12


def test_edges_are_silent_or_reflected():
    waveform = torch.randn(1, 5000)
    silent, reflected = STFT(1024, 256)(waveform), STFT(1024, 256, "reflection")(waveform)
    torch.testing.assert_close(reflected, torch.stft(waveform, 1024, 256, window=torch.hann_window(1024), return_complex=True))
    assert torch.equal(silent[..., 2:-2], reflected[..., 2:-2]) and not torch.equal(silent[..., 0], reflected[..., 0])


def test_griffin_lim_keeps_the_true_phases():
    waveform = torch.randn(1, 8000)
    stft = STFT(512, 128)
    spectrum = stft(waveform)
    estimate = griffin_lim(spectrum.abs(), stft, 8000, 5, start=spectrum.angle())
    torch.testing.assert_close(estimate, waveform, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_griffin_lim_equals_that_of_torchaudio(momentum):
    stft = STFT(512, 128, "reflection")
    magnitudes = stft(torch.randn(1, 64 * 128, generator=torch.Generator().manual_seed(0))).abs()
    expected = torchaudio.functional.griffinlim(magnitudes, stft.window, 512, 128, 512, 1.0, 4, momentum, 64 * 128, False)
    torch.testing.assert_close(griffin_lim(magnitudes, stft, 64 * 128, 4, momentum), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("learning", [False, True])
def test_magnitudes_have_a_finite_gradient_at_zero(learning: bool) -> None:
    spectrum = torch.randn(3, 5, 7, dtype=torch.complex64)
    spectrum[0] = 0
    spectrum.requires_grad_(learning)
    torch.testing.assert_close(magnitudes_of(spectrum), spectrum.abs())
    if learning:
        magnitudes_of(spectrum).sum().backward()
        assert spectrum.grad is not None and spectrum.grad.isfinite().all()
