"""Properties of the synthesiser, and of the features loudness and MFCC."""

import math
from itertools import pairwise

import pytest
import torch

from unbraid.dsp.synthesis import (
    a_weighting_db,
    convolve,
    filtered_noise,
    loudness,
    mfccs,
    oscillators,
    sines,
    upsample,
    white_noise,
)

RATE, HOP = 16000, 64


def steady(hz: float, seconds: float, rate: int = RATE, hop: int = HOP) -> torch.Tensor:
    return torch.full((1, round(seconds * rate) // hop + 1), hz)


def tone(hz: float, seconds: float, amplitude: float = 1.0, rate: int = RATE) -> torch.Tensor:
    turns = torch.arange(round(seconds * rate), dtype=torch.float64) * hz / rate
    return (amplitude * (2 * math.pi * turns).sin()).float()


@pytest.mark.parametrize(("rate", "hop"), [(16000, 64), (22050, 88), (44100, 176), (48000, 192)])
def test_constant_fundamental_equals_sum_of_sines(rate, hop):
    hz, weights = 233.1, torch.tensor([0.5, 0.2, 0.0, 0.2, 0.1])
    f0 = steady(hz, 60, rate, hop)
    waveform, _ = oscillators(f0, weights.expand(1, f0.shape[1], 5), hop, rate)
    turns = torch.arange(waveform.shape[1], dtype=torch.float64) * float(f0[0, 0]) / rate
    expected = sum(w * (2 * math.pi * k * turns).sin() for k, w in enumerate(weights.double(), start=1))
    assert (waveform[0] - expected).abs().max() < 1e-5


def test_hundredth_harmonic_is_exact():
    turns = torch.rand(2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = (2 * math.pi * turns[:, None] * torch.arange(1, 101)).sin()
    assert (sines(turns, 100) - expected).abs().max() < 2e-6


def test_harmonics_above_half_the_rate_are_silent():
    f0 = torch.linspace(300, 900, 101)[None]
    amplitudes = torch.rand(1, 101, 40, generator=torch.Generator().manual_seed(0))
    order = torch.arange(1, 41)
    with_, _ = oscillators(f0, amplitudes, HOP, RATE)
    without, _ = oscillators(f0, amplitudes * (f0[..., None] * order < RATE / 2), HOP, RATE)
    assert torch.equal(with_, without)
    alone, _ = oscillators(steady(4100, 0.1), torch.tensor([0.0, 1.0]).expand(1, 26, 2), HOP, RATE)
    assert alone.abs().max() == 0


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_every_number_of_harmonics_is_complete(rate):
    """Compare with a float64 sum of sines. The highest harmonic is well below or just below half the sample rate."""
    generator = torch.Generator().manual_seed(rate)
    for count in range(1, 201):
        amplitudes = 0.5 + torch.rand(count, generator=generator)
        for hz in (rate / 2 / count * 0.4, rate / 2 / count * (1 - 1e-5)):
            f0 = torch.full((1, 3), hz)
            waveform, _ = oscillators(f0, amplitudes.expand(1, 3, count), HOP, rate)
            turns = torch.arange(2 * HOP, dtype=torch.float64) * float(f0[0, 0]) / rate
            order = torch.arange(1, count + 1)
            expected = (2 * math.pi * turns[:, None] * order).sin() @ amplitudes.double()
            assert (waveform[0] - expected).abs().max() < 1e-4, (count, hz)


def test_a_fundamental_above_half_the_rate_is_silent():
    waveform, _ = oscillators(steady(9000, 0.1), torch.ones(1, 26, 3), HOP, RATE)
    assert waveform.shape == (1, 25 * HOP) and waveform.abs().max() == 0


def test_interpolation_of_frequency_and_amplitudes():
    f0 = torch.tensor([[200.0, 300.0]])
    amplitudes = torch.tensor([[[0.2], [1.0]]])
    waveform, _ = oscillators(f0, amplitudes, 1000, RATE)
    hz = torch.linspace(200, 300, 1001, dtype=torch.float64)[:-1]
    turns = torch.cat([torch.zeros(1, dtype=torch.float64), hz.cumsum(0)[:-1]]) / RATE
    gain = upsample(amplitudes, 1000)[0, :, 0]
    assert (waveform[0] - gain * (2 * math.pi * turns).sin()).abs().max() < 1e-5
    n = torch.arange(1000)
    assert torch.allclose(gain, 0.2 * (0.5 + 0.5 * torch.cos(math.pi * n / 1000)) + (0.5 - 0.5 * torch.cos(math.pi * n / 1000)))
    assert torch.allclose(upsample(torch.full((1, 5, 2), 0.3), 7), torch.tensor(0.3))


def test_filtered_noise_has_the_requested_spectrum():
    bands, frames = 65, 5000
    target_db = torch.linspace(-10, -40, bands) + 6 * torch.cos(torch.linspace(0, 3 * math.pi, bands))
    noise = white_noise(torch.empty(1), frames * HOP, torch.Generator().manual_seed(0))
    waveform, _ = filtered_noise((10 ** (target_db / 20)).expand(1, frames, bands), noise)
    window = torch.hann_window(2048)
    spectrum = torch.stft(waveform, 2048, 1024, window=window, return_complex=True)[0].abs().square().mean(dim=1)
    density_db = 10 * (spectrum / window.square().sum()).log10()
    band_db = torch.stack([density_db[16 * k - 6 : 16 * k + 7].mean() for k in range(1, bands - 1)])
    assert (band_db - target_db[1:-1]).abs().max() < 1.0


def test_convolution_with_pulses():
    signal = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    waveform, tail = convolve(signal, torch.cat([torch.ones(1), torch.zeros(999)]))
    assert (waveform - signal).abs().max() < 1e-5 and tail.abs().max() < 1e-5
    room = torch.randn(300, generator=torch.Generator().manual_seed(1))
    pulse = torch.zeros(1, 200)
    pulse[0, 10] = 1
    waveform, tail = convolve(pulse, room)
    assert (torch.cat([waveform, tail], 1)[0, 10:310] - room).abs().max() < 1e-5


def test_parts_equal_the_whole():
    random = torch.Generator().manual_seed(0)
    frames = 600
    f0 = 200 + 50 * torch.rand(1, frames + 1, generator=random)
    amplitudes, bands = torch.rand(1, frames + 1, 30, generator=random), torch.rand(1, frames, 65, generator=random)
    room = 0.1 * torch.randn(4000, generator=random)

    def play(cuts: list[int]) -> torch.Tensor:
        noise, parts, end, filter_tail, room_tail = torch.Generator().manual_seed(7), [], None, None, None
        for start, stop in pairwise(cuts):
            tone, end = oscillators(f0[:, start : stop + 1], amplitudes[:, start : stop + 1], HOP, RATE, end)
            white = white_noise(f0, (stop - start) * HOP, noise)
            air, filter_tail = filtered_noise(bands[:, start:stop], white, filter_tail)
            waveform, room_tail = convolve(tone + air, room, room_tail)
            parts.append(waveform)
        return torch.cat(parts, dim=1)

    whole, parts = play([0, frames]), play([0, 1, 2, 130, 377, frames])
    assert (whole - parts).abs().max() < 1e-4 * whole.abs().max()


def test_gradients_of_all_controls():
    f0 = steady(220, 0.1).double().requires_grad_()
    amplitudes = torch.full((1, f0.shape[1], 3), 0.2, requires_grad=True)
    waveform, _ = oscillators(f0, amplitudes, HOP, RATE)
    (waveform * torch.linspace(0, 1, waveform.shape[1])).sum().backward()
    point, step = 5, 0.05
    moved = [f0.detach().clone() for _ in range(2)]
    for controls, sign in zip(moved, (1, -1), strict=True):
        controls[0, point] += sign * step
    sums = [
        (oscillators(controls, amplitudes.detach(), HOP, RATE)[0].double() * torch.linspace(0, 1, waveform.shape[1])).sum()
        for controls in moved
    ]
    assert float(f0.grad[0, point]) == pytest.approx(float(sums[0] - sums[1]) / (2 * step), rel=0.02)
    assert amplitudes.grad.abs().sum() > 0


@pytest.mark.parametrize("hz", [110.0, 440.0, 1000.0, 3000.0])
def test_loudness_of_a_tone_is_a_weighted(hz):
    waveform = loudness(tone(hz, 1.0, 0.25), RATE, HOP)
    assert waveform.shape == (RATE // HOP + 1,)
    expected = 20 * math.log10(0.25 / math.sqrt(2)) + float(a_weighting_db(torch.tensor([hz])))
    assert (waveform[20:-20] - expected).abs().max() < 0.5
    assert (loudness(torch.zeros(1, 3000), RATE, HOP) == -100).all()


def test_a_weighting_equals_the_standard():
    nominal = {31.62: -39.4, 100: -19.1, 250: -8.6, 1000: 0.0, 2500: 1.3, 8000: -1.1}
    gains = a_weighting_db(torch.tensor([*nominal]).double())
    assert (gains - torch.tensor([*nominal.values()])).abs().max() < 0.1


def test_level_changes_only_the_first_mfcc():
    dull, bright = tone(220, 0.5), sum(tone(220 * k, 0.5) for k in range(1, 20))
    soft, loud, other = (mfccs(x[None], RATE, HOP, 30)[0, 60] for x in (bright, 2 * bright, dull))
    assert soft.shape == (30,)
    assert (soft - loud)[1:].abs().max() < 0.3 * (soft - loud)[0].abs()
    assert (soft - other)[1:].norm() > 5 * (soft - loud)[1:].norm()
