"""The transforms are exact, and cutting a signal into chunks leaves no trace."""

import pytest
import torch
import torchaudio

from unbraid.dsp.stft import STFT, griffin_lim, magnitudes_of, spectral_convergence


@pytest.mark.parametrize(("n_fft", "hop_length"), [(1024, 768), (1024, 512), (1024, 256), (4096, 1024), (64, 63)])
@pytest.mark.parametrize("samples", [1, 767, 20000, 49806])
def test_the_inverse_returns_every_sample(n_fft, hop_length, samples):
    waveform = torch.randn(2, 1, samples, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    stft = STFT(n_fft, hop_length)
    spectrum = stft(waveform)
    assert spectrum.shape == (2, 1, n_fft // 2 + 1, stft.frames(samples))
    tolerance = 1e-5 if hop_length < n_fft - 1 else 1  # at hop n_fft - 1 a window's edge divides by almost nothing
    assert (stft.inverse(spectrum, samples) - waveform).abs().max() < tolerance


def test_a_patch_of_the_paper_has_128_frames():
    assert STFT(1024, 768).frames(round(11.90625 * 8192)) == 128


def test_a_tone_lies_in_its_bin():
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
    with pytest.raises(ValueError, match="hop_length must lie in"):
        STFT(1024, hop_length)


def chord():
    t = torch.arange(8192 * 2) / 8192
    return sum(torch.sin(2 * torch.pi * hz * t) * (-t * decay).exp() for hz, decay in ((220, 1), (277, 2), (330, 3), (1205, 5)))


def test_griffin_lim_comes_closer_with_every_ten_iterations():
    stft = STFT(1024, 256)
    magnitudes = stft(chord()).abs()
    found = [spectral_convergence(magnitudes, griffin_lim(magnitudes, stft, 16384, n), stft) for n in (1, 10, 20, 30, 40)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < -15


def test_griffin_lim_keeps_length_and_silence_and_is_the_same_every_time():
    stft = STFT(64, 16)
    magnitudes = stft(torch.rand(2, 1003)).abs()
    waveform = griffin_lim(magnitudes, stft, 1003)
    assert waveform.shape == (2, 1003)
    assert torch.equal(waveform, griffin_lim(magnitudes, stft, 1003))
    assert not griffin_lim(torch.zeros_like(magnitudes), stft, 1003).any()


@pytest.mark.parametrize(
    ("settings", "sentence"), [({"iterations": 0}, "at least 1, found 0"), ({"momentum": 1.0}, "found 1.0")]
)
def test_griffin_lim_refuses_settings_out_of_range(settings, sentence):
    stft = STFT(64, 16)
    with pytest.raises(ValueError, match=sentence):
        griffin_lim(torch.zeros(33, 10), stft, 100, **settings)


def test_windows_that_overlap_well_need_no_silence_at_the_end():
    assert STFT(4096, 1024).frames(10 * 1024 + 1023) == 11
    assert STFT(1024, 512).frames(10 * 512 + 1) == 12


def test_edges_are_silent_or_reflected():
    waveform = torch.randn(1, 5000)
    silent, reflected = STFT(1024, 256)(waveform), STFT(1024, 256, "reflection")(waveform)
    torch.testing.assert_close(reflected, torch.stft(waveform, 1024, 256, window=torch.hann_window(1024), return_complex=True))
    assert torch.equal(silent[..., 2:-2], reflected[..., 2:-2]) and not torch.equal(silent[..., 0], reflected[..., 0])


def test_griffin_lim_from_the_true_phases_stays_there():
    waveform = torch.randn(1, 8000)
    stft = STFT(512, 128)
    spectrum = stft(waveform)
    found = griffin_lim(spectrum.abs(), stft, 8000, 5, start=spectrum.angle())
    torch.testing.assert_close(found, waveform, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_griffin_lim_is_torchaudios(momentum):
    stft = STFT(512, 128, "reflection")
    magnitudes = stft(torch.randn(1, 64 * 128, generator=torch.Generator().manual_seed(0))).abs()
    peer = torchaudio.functional.griffinlim(magnitudes, stft.window, 512, 128, 512, 1.0, 4, momentum, 64 * 128, False)
    torch.testing.assert_close(griffin_lim(magnitudes, stft, 64 * 128, 4, momentum), peer, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("learning", [False, True])
def test_magnitudes_are_absolute_values_with_a_finite_gradient_in_silence(learning: bool) -> None:
    spectrum = torch.randn(3, 5, 7, dtype=torch.complex64)
    spectrum[0] = 0
    spectrum.requires_grad_(learning)
    torch.testing.assert_close(magnitudes_of(spectrum), spectrum.abs())
    if learning:
        magnitudes_of(spectrum).sum().backward()
        assert spectrum.grad is not None and spectrum.grad.isfinite().all()
