"""Differentiable synthesis from control points (Engel et al., "DDSP", ICLR 2020), and the features loudness and MFCC.

Controls (pitch, amplitudes) are given at control points, one every `hop_length` samples: F + 1 control points enclose F
segments. Functions whose output depends on earlier segments (phases, filters, reverb) take a state and return the next state.
Audio that is generated in parts therefore equals audio that is generated at once. Use `unbraid.dsp.pitch` to estimate the
fundamental frequency.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from unbraid.dsp.mel import cosine_transform, mel_filterbank

FLOOR_DB = -100.0  # lowest loudness, about the quantisation noise of 16 bits
STEPS = 2**14  # steps of a turn; step number times harmonic number is exact in float32


def crossfade(hop_length: int, like: Tensor) -> Tensor:
    """Return the rising half of a periodic Hann window that is two hops long: 0.5 - 0.5 cos(π n / `hop_length`).

    The falling half of the window is 1 minus the rising half.

    Args:
        hop_length: length of the rising half in samples.
        like: tensor with the device and dtype of the result.

    Shape:
        [hop_length].

    Returns:
        The values of the window, from 0 to almost 1.
    """
    n = torch.arange(hop_length, device=like.device, dtype=like.dtype)
    return 0.5 - 0.5 * torch.cos(math.pi * n / hop_length)


def upsample(controls: Tensor, hop_length: int) -> Tensor:
    """Interpolate the values at control points to every sample with overlapping Hann windows.

    Args:
        controls: values at the control points, one every `hop_length` samples.
        hop_length: step between control points in samples.

    Shape:
        [B, F + 1, K] -> [B, F * hop_length, K], for F + 1 control points and K values at each point.

    Returns:
        Values at every sample.
    """
    rise = crossfade(hop_length, controls)[:, None]
    return torch.lerp(controls[:, :-1, None], controls[:, 1:, None], rise).flatten(1, 2)


def phases(f0: Tensor, hop_length: int, sample_rate: int, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute the phase of an oscillator whose frequency is interpolated linearly between control points.

    The phase is computed in float64, so that it stays exact over minutes. The unit of the phase is a turn (2π).

    Args:
        f0: frequency at the control points in Hz.
        hop_length: step between control points in samples.
        sample_rate: sample rate in Hz.
        start: phase at the first sample in turns; None: 0.

    Shape:
        f0 [B, F + 1], start [B] -> [B, F, hop_length], [B], for B oscillators and F + 1 control points.

    Returns:
        The phase at each sample in [0, 1), and the phase at the sample after the end. The next call, for the next part of the
        sound, needs the second value as `start`.
    """
    steps = f0.double() / sample_rate
    first, change = steps[:, :-1, None], (steps[:, 1:, None] - steps[:, :-1, None]) / hop_length
    n = torch.arange(hop_length + 1, device=f0.device, dtype=torch.float64)
    within = first * n + change * n * (n - 1) / 2
    ends = within[..., -1].cumsum(dim=1)
    if start is not None:
        ends = ends + start[:, None]
    starts = torch.cat([ends[:, :1] - within[:, :1, -1], ends[:, :-1]], dim=1)
    turns = starts[..., None] + within[..., :-1]
    return turns - turns.detach().floor(), (ends[:, -1] - ends[:, -1].detach().floor())


def sines(turns: Tensor, count: int) -> Tensor:
    """Compute sin(2π k x) for k = 1 … count with the precision of float32.

    Args:
        turns: phase x of the fundamental in turns, float64.
        count: number of harmonics.

    Shape:
        float64 [...] -> float32 [..., count].

    Returns:
        The sines of all harmonics.
    """
    coarse = (turns.detach() * STEPS).round() / STEPS
    order = torch.arange(1, count + 1, device=turns.device, dtype=torch.float32)
    angle = coarse.float()[..., None] * order
    angle = angle.sub_(angle.round()) + (turns - coarse).float()[..., None] * order
    return (angle * (2 * math.pi)).sin()


def audible(f0: Tensor, count: int, sample_rate: int) -> Tensor:
    """Determine which harmonics have a frequency below half the sample rate.

    Args:
        f0: fundamental frequency in Hz.
        count: number of harmonics.
        sample_rate: sample rate in Hz.

    Shape:
        [...] -> boolean [..., count].

    Returns:
        True for each harmonic whose frequency is below half the sample rate.
    """
    order = torch.arange(1, count + 1, device=f0.device)
    return f0[..., None] * order < sample_rate / 2


def oscillators(
    f0: Tensor, amplitudes: Tensor, hop_length: int, sample_rate: int, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Synthesise the sum of the harmonics of a time-varying fundamental frequency.

    A segment is the time between two adjacent control points. A harmonic is silent in a segment if its frequency exceeds half
    the sample rate at one or both of these points. Amplitudes are interpolated as in `upsample`.

    Args:
        f0: fundamental frequency at the control points in Hz.
        amplitudes: amplitudes of harmonics 1 to K at the control points.
        hop_length: step between control points in samples.
        sample_rate: sample rate in Hz.
        start: phase of the fundamental at the first sample in turns; None: 0.

    Shape:
        f0 [B, F + 1], amplitudes [B, F + 1, K], start [B] -> [B, F * hop_length], [B], for B sounds, F + 1 control points and K
        harmonics.

    Returns:
        The waveform, and the phase of the fundamental after the last sample in turns.
    """
    turns, end = phases(f0, hop_length, sample_rate, start)
    # The comparison of `audible` counts the harmonics: a rounded quotient could lose the highest harmonic.
    count = int(audible(f0.detach().min(), amplitudes.shape[-1], sample_rate).sum())
    amplitudes = amplitudes[..., :count]
    mask = audible(f0, count, sample_rate)
    ends = torch.stack([amplitudes[:, :-1], amplitudes[:, 1:]], dim=-1) * (mask[:, :-1] & mask[:, 1:])[..., None]
    both = sines(turns, count) @ ends
    return torch.lerp(both[..., 0], both[..., 1], crossfade(hop_length, both)).flatten(1), end


def filtered_noise(magnitudes: Tensor, noise: Tensor, tail: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Filter each segment of noise with its own FIR filter. `magnitudes` are the gains of the filters.

    The filters have linear phase and delay the noise by `bands - 1` samples.

    Args:
        magnitudes: gains of the filter of each segment at evenly spaced frequencies, from 0 Hz to half the sample rate.
        noise: white noise.
        tail: second result of the previous call, or None in the first call.

    Shape:
        magnitudes [B, F, bands], noise [B, F * hop_length], tail [B, taps] -> [B, F * hop_length], [B, taps], for F segments;
        taps = 2 (bands - 1).

    Returns:
        The filtered noise, and the tail to pass to the next call.
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
    """Generate uniform white noise of unit variance.

    For a single sound (batch size 1), noise that is generated in parts with one generator equals noise that is generated at
    once.

    Args:
        like: tensor with the batch size and device of the result.
        samples: number of samples.
        generator: random generator; None: torch's global generator.

    Shape:
        like [B, ...] -> [B, samples].

    Returns:
        The noise.
    """
    noise = torch.rand(len(like), samples, generator=generator, device=like.device)
    return (noise - 0.5) * math.sqrt(12)


def convolve(signal: Tensor, response: Tensor, tail: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Convolve a signal by FFT with an impulse response, for example the impulse response of a room.

    Args:
        signal: waveform.
        response: impulse response.
        tail: second result of the previous call, or None in the first call.

    Shape:
        signal [B, T], response [R], tail [B, R - 1] -> [B, T], [B, R - 1], for B signals of T samples and R samples of the
        response.

    Returns:
        The convolved signal, and the tail to pass to the next call.
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
    """Compute the A-weighting of IEC 61672-1 in dB. It estimates how loud a tone sounds, compared with a 1 kHz tone.

    Args:
        hz: frequencies in Hz.

    Shape:
        [n] -> [n].

    Returns:
        Gains in dB, 0 at 1 kHz.
    """
    f2 = hz.double().square()
    corners = [corner**2 for corner in (20.598997, 107.65265, 737.86223, 12194.217)]
    gain = corners[3] * f2.square() / ((f2 + corners[0]) * (f2 + corners[3]))
    gain = gain / ((f2 + corners[1]) * (f2 + corners[2])).sqrt()
    return (20 * gain.clamp(min=1e-10).log10() + 2.0).to(hz)


def loudness(waveform: Tensor, sample_rate: int, hop_length: int, n_fft: int = 2048) -> Tensor:
    """Measure the loudness around each control point: the A-weighted mean square. A full-scale tone of 1 kHz has -3 dB.

    Args:
        waveform: waveform.
        sample_rate: sample rate in Hz.
        hop_length: step between control points in samples.
        n_fft: length of the Hann window around a control point in samples. The waveform is padded with zeros.

    Shape:
        [..., samples] -> [..., samples // hop_length + 1].

    Returns:
        The loudness in dB, at least -100 (`FLOOR_DB`).
    """
    window = torch.hann_window(n_fft, device=waveform.device)
    spectrum = _spectrum(waveform, window, hop_length)
    hz = torch.fft.rfftfreq(n_fft, 1 / sample_rate, device=waveform.device)
    weights = 10 ** (a_weighting_db(hz) / 10)
    power = torch.einsum("...ft,f->...t", spectrum.real.square() + spectrum.imag.square(), weights)
    mean_square = 2 * power / (n_fft * window.square().sum())  # positive and negative frequencies
    return (10 * mean_square.clamp(min=1e-30).log10()).clamp(min=FLOOR_DB)


def mfccs(waveform: Tensor, sample_rate: int, hop_length: int, count: int, n_fft: int = 1024, bands: int = 128) -> Tensor:
    """Compute mel-frequency cepstral coefficients (MFCCs) around each control point, one every `hop_length` samples.

    Args:
        waveform: waveform.
        sample_rate: sample rate in Hz.
        hop_length: step between control points in samples.
        count: number of coefficients.
        n_fft: length of the Hann window in samples.
        bands: number of mel bands between 20 Hz and half the sample rate.

    Shape:
        [B, samples] -> [B, samples // hop_length + 1, count].

    Returns:
        The coefficients.
    """
    spectrum = _spectrum(waveform, torch.hann_window(n_fft, device=waveform.device), hop_length)
    device = waveform.device
    mel = mel_filterbank(n_fft // 2 + 1, 20.0, sample_rate / 2, bands, sample_rate)
    cosines = cosine_transform(count, bands)
    with torch.autocast(device.type, enabled=False):
        return ((spectrum.abs().mT @ mel.to(device)) + 1e-5).log() @ cosines.to(device)


def _spectrum(waveform: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """Pad a waveform with zeros at both ends, and compute the STFT. Shape: [..., samples] -> complex [..., bins, frames]."""
    with torch.autocast(waveform.device.type, enabled=False):
        flat = waveform.float().reshape(-1, waveform.shape[-1])
        spectrum = torch.stft(
            flat, len(window), hop_length, window=window, center=True, pad_mode="constant", return_complex=True
        )
    return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[1:])
