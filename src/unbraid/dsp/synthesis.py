"""A synthesiser that gradients go through (Engel et al., "DDSP", ICLR 2020), and what is heard of a sound: loudness, MFCCs.

Controls are points on a grid of `hop_length` samples: F + 1 of them bound F stretches of sound. Everything that rings on beyond
its stretch (phases, filters, reverb) takes a state and gives one, so that sound made in pieces is the sound made whole.
"""

import math

import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

FLOOR_DB = -100.0  # of loudness; 16 bits end there
STEPS = 2**14  # into which a turn is cut: times the number of a harmonic, an exact float32


def crossfade(hop_length: int, like: Tensor) -> Tensor:
    """The rising half of a Hann window of two hops; it and its mirror image sum to one. Shape: [hop_length]."""
    n = torch.arange(hop_length, device=like.device, dtype=like.dtype)
    return 0.5 - 0.5 * torch.cos(math.pi * n / hop_length)


def upsample(controls: Tensor, hop_length: int) -> Tensor:
    """Controls at every sample, by overlapping Hann windows. Shape: [B, F + 1, K] -> [B, F * hop_length, K]."""
    rise = crossfade(hop_length, controls)[:, None]
    return torch.lerp(controls[:, :-1, None], controls[:, 1:, None], rise).flatten(1, 2)


def phases(f0: Tensor, hop_length: int, sample_rate: int, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Turns of an oscillator whose frequency moves linearly between control points, wrapped, in float64: minutes stay in tune.

    Args:
        f0: in Hz.
        hop_length: samples between its points.
        sample_rate: in Hz.
        start: turns at the first sample; 0 if left out.

    Shape:
        f0 [B, F + 1], start [B] -> turns in [0, 1) [B, F, hop_length], and those of the sample that would come next [B].
    """
    steps = f0.double() / sample_rate
    first, change = steps[:, :-1, None], (steps[:, 1:, None] - steps[:, :-1, None]) / hop_length
    n = torch.arange(hop_length + 1, device=f0.device, dtype=torch.float64)
    within = first * n + change * n * (n - 1) / 2
    ends = within[..., -1].cumsum(dim=1)
    if start is not None:
        ends = ends + start[:, None]
    begins = torch.cat([ends[:, :1] - within[:, :1, -1], ends[:, :-1]], dim=1)
    turns = begins[..., None] + within[..., :-1]
    return turns - turns.detach().floor(), (ends[:, -1] - ends[:, -1].detach().floor())


def sines(turns: Tensor, count: int) -> Tensor:
    """sin(2π k x) for k = 1 … count, each as exact as float32 is. Shape: float64 [...] -> float32 [..., count]."""
    coarse = (turns.detach() * STEPS).round() / STEPS
    order = torch.arange(1, count + 1, device=turns.device, dtype=torch.float32)
    angle = coarse.float()[..., None] * order
    angle = angle.sub_(angle.round()) + (turns - coarse).float()[..., None] * order
    return (angle * (2 * math.pi)).sin()


def audible(f0: Tensor, count: int, sample_rate: int) -> Tensor:
    """Which of the first harmonics lie below half the sample rate. Shape: [...] -> [..., count]."""
    order = torch.arange(1, count + 1, device=f0.device)
    return f0[..., None] * order < sample_rate / 2


def oscillators(
    f0: Tensor, amplitudes: Tensor, hop_length: int, sample_rate: int, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The sum of the harmonics of a moving fundamental.

    A harmonic that lies above half the sample rate at one end of a stretch is silent in it. Amplitudes cross-fade as in
    `upsample`, but are never brought to the sample rate: a stretch is one matrix product.

    Args:
        f0: in Hz.
        amplitudes: of harmonics 1, 2, …
        hop_length: samples between the points of both.
        sample_rate: in Hz.
        start: turns of the fundamental at the first sample; 0 if left out.

    Shape:
        f0 [B, F + 1], amplitudes [B, F + 1, K] -> samples [B, F * hop_length], turns after the last sample [B].
    """
    turns, end = phases(f0, hop_length, sample_rate, start)
    # Counted by the same comparison that silences harmonics: a quotient rounds, and its floor can lose the top harmonic.
    count = int(audible(f0.detach().min(), amplitudes.shape[-1], sample_rate).sum())
    amplitudes = amplitudes[..., :count]
    heard = audible(f0, count, sample_rate)
    ends = torch.stack([amplitudes[:, :-1], amplitudes[:, 1:]], dim=-1) * (heard[:, :-1] & heard[:, 1:])[..., None]
    both = sines(turns, count) @ ends
    return torch.lerp(both[..., 0], both[..., 1], crossfade(hop_length, both)).flatten(1), end


def filtered_noise(magnitudes: Tensor, noise: Tensor, tail: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Noise through a filter of its own for each stretch: FIR filters, windowed, from their magnitudes at evenly spaced bands.

    The filters have linear phase; what is heard comes a band count less one of samples late.

    Args:
        magnitudes: gains from 0 Hz to half the sample rate.
        noise: white.
        tail: what rings on from before.

    Shape:
        magnitudes [B, F, bands], noise [B, F * hop_length] -> the same, and the new tail [B, taps].
    """
    frames, taps = magnitudes.shape[1], 2 * (magnitudes.shape[2] - 1)
    blocks = noise.unflatten(1, (frames, -1))
    hop_length = blocks.shape[2]
    window = torch.hann_window(taps, device=noise.device)
    response = torch.fft.irfft(magnitudes.float(), taps).roll(taps // 2, dims=-1) * window
    size = hop_length + taps
    filtered = torch.fft.irfft(torch.fft.rfft(blocks, size) * torch.fft.rfft(response, size), size)
    length = frames * hop_length + taps
    whole = functional.fold(filtered.mT, (1, length), (1, size), stride=(1, hop_length))[:, 0, 0]
    return _with_tail(whole, length - taps, tail)


def white_noise(like: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Uniform, of unit variance; one generator gives the same noise in pieces as whole. Shape: [B, …] -> [B, samples]."""
    noise = torch.rand(len(like), samples, generator=generator, device=like.device)
    return (noise - 0.5) * math.sqrt(12)


def convolve(signal: Tensor, response: Tensor, tail: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A signal in a room, by FFT.

    Shape:
        signal [B, T], response [R], tail [B, R - 1] -> [B, T], and the new tail.
    """
    samples, length = signal.shape[-1], signal.shape[-1] + len(response) - 1
    size = 1 << (length - 1).bit_length()
    whole = torch.fft.irfft(torch.fft.rfft(signal, size) * torch.fft.rfft(response, size), size)[..., :length]
    return _with_tail(whole, samples, tail)


def _with_tail(whole: Tensor, samples: int, tail: Tensor | None) -> tuple[Tensor, Tensor]:
    if tail is not None:
        length = max(whole.shape[-1], tail.shape[-1])
        whole = functional.pad(whole, (0, length - whole.shape[-1])) + functional.pad(tail, (0, length - tail.shape[-1]))
    return whole[..., :samples], whole[..., samples:]


def a_weighting_db(hz: Tensor) -> Tensor:
    """The A curve of IEC 61672-1: how much fainter than at 1 kHz a tone is heard. Shape: [n] -> dB [n]."""
    f2 = hz.double().square()
    corners = [corner**2 for corner in (20.598997, 107.65265, 737.86223, 12194.217)]
    gain = corners[3] * f2.square() / ((f2 + corners[0]) * (f2 + corners[3]))
    gain = gain / ((f2 + corners[1]) * (f2 + corners[2])).sqrt()
    return (20 * gain.clamp(min=1e-10).log10() + 2.0).to(hz)


def loudness(waveform: Tensor, sample_rate: int, hop_length: int, n_fft: int = 2048) -> Tensor:
    """The A-weighted mean square around each control point, in dB: a full-scale tone of 1 kHz has -3 dB.

    Args:
        waveform: at `sample_rate`.
        sample_rate: in Hz.
        hop_length: samples between control points.
        n_fft: samples of the Hann window around a point; beyond the ends there is silence.

    Shape:
        [..., samples] -> [..., samples // hop_length + 1], at least `FLOOR_DB`.
    """
    window = torch.hann_window(n_fft, device=waveform.device)
    spectrum = _spectrum(waveform, window, hop_length)
    hz = torch.fft.rfftfreq(n_fft, 1 / sample_rate, device=waveform.device)
    weights = 10 ** (a_weighting_db(hz) / 10)
    power = torch.einsum("...ft,f->...t", spectrum.real.square() + spectrum.imag.square(), weights)
    mean_square = 2 * power / (n_fft * window.square().sum())  # both halves of the spectrum
    return (10 * mean_square.clamp(min=1e-30).log10()).clamp(min=FLOOR_DB)


def mfccs(waveform: Tensor, sample_rate: int, hop_length: int, count: int, n_fft: int = 1024, bands: int = 128) -> Tensor:
    """Mel-frequency cepstral coefficients around each control point.

    Args:
        waveform: at `sample_rate`.
        sample_rate: in Hz.
        hop_length: samples between control points.
        count: of coefficients.
        n_fft: samples of the Hann window.
        bands: of the mel scale, from 20 Hz to half the sample rate.

    Shape:
        [B, samples] -> [B, samples // hop_length + 1, count].
    """
    spectrum = _spectrum(waveform, torch.hann_window(n_fft, device=waveform.device), hop_length)
    device = waveform.device
    mel = torchaudio.functional.melscale_fbanks(n_fft // 2 + 1, 20.0, sample_rate / 2, bands, sample_rate)
    cosines = torchaudio.functional.create_dct(count, bands, "ortho")
    with torch.autocast(device.type, enabled=False):
        return ((spectrum.abs().mT @ mel.to(device)) + 1e-5).log() @ cosines.to(device)


def _spectrum(waveform: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """Shape: [..., samples] -> complex [..., bins, frames], in float32 under any precision."""
    with torch.autocast(waveform.device.type, enabled=False):
        flat = waveform.float().reshape(-1, waveform.shape[-1])
        spectrum = torch.stft(
            flat, len(window), hop_length, window=window, center=True, pad_mode="constant", return_complex=True
        )
    return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[1:])
