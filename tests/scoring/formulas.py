"""Independent formulas of the measures in numpy and scipy. The tests compare the measures with them."""

import numpy as np
from scipy.signal import butter, fftconvolve, freqz, get_window, sosfreqz

RATE = 44100


def sdr(reference, estimate, epsilon):
    return 10 * np.log10((np.sum(reference**2) + epsilon) / (np.sum((reference - estimate) ** 2) + epsilon))


def usdr(reference, estimate):
    error = np.sum((reference - estimate) ** 2)
    return 120.0 if error == 0 else min(120.0, 10 * np.log10(np.sum(reference**2) / error))


def si_sdr(reference, estimate):
    """Compute the score from the angle between both signals, seen as vectors."""
    if not estimate.any():
        return None
    cosine = np.sum(reference * estimate) ** 2 / (np.sum(reference**2) * np.sum(estimate**2))
    return 120.0 if 1 - cosine < 1e-12 else 10 * np.log10(cosine / (1 - cosine))


def magnitudes(signal, n_fft, hop, window, mode):
    """Return |STFT| [C, N, F] from the explicit Fourier transform of each frame."""
    padded = np.pad(signal, ((0, 0), (n_fft // 2, n_fft // 2)), mode=mode)
    starts = range(0, padded.shape[-1] - n_fft + 1, hop)
    return np.abs(np.fft.rfft(np.stack([padded[:, i : i + n_fft] * window for i in starts], axis=1)))


def bleedless_fullness(reference, estimate):
    from librosa.filters import mel

    bank = mel(sr=RATE, n_fft=4096, n_mels=512)
    levels = []
    for signal in (reference, estimate):
        spectrum = magnitudes(signal, 4096, 1024, get_window("hann", 4096), "constant")
        level = 20 * np.log10(np.maximum(spectrum @ bank.T, 1e-10))
        levels.append(np.maximum(level, level.max() - 80))
    difference = levels[1] - levels[0]
    above, below = difference[difference > 0], -difference[difference < 0]
    return [100 / (1 + (values.mean() if len(values) else 0)) for values in (above, below)]


def l1_frequency(reference, estimate):
    true, made = (magnitudes(signal, 2048, 1024, np.ones(2048), "reflect") for signal in (reference, estimate))
    return 100 / (1 + 10 * np.abs(true - made).mean())


def multi_resolution_stft(reference, estimate):
    losses = []
    for n_fft, hop, length in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        window = np.zeros(n_fft)
        window[(n_fft - length) // 2 :][:length] = get_window("hann", length)
        true, made = (np.maximum(magnitudes(s, n_fft, hop, window, "reflect"), 1e-4) for s in (reference, estimate))
        losses.append(np.sqrt(((true - made) ** 2).sum() / (true**2).sum()) + np.abs(np.log(true / made)).mean())
    return -np.mean(losses)


def cookbook(kind, hertz, decibels, q):
    """Return the digital coefficients b, a of a peak filter or of a high shelf in the Audio EQ Cookbook."""
    omega, root = 2 * np.pi * hertz / RATE, 10 ** (decibels / 40)
    c, alpha = np.cos(omega), np.sin(omega) / (2 * q)
    if kind == "peak":
        return [1 + alpha * root, -2 * c, 1 - alpha * root], [1 + alpha / root, -2 * c, 1 - alpha / root]
    s = 2 * np.sqrt(root) * alpha
    b = [
        root * (root + 1 + (root - 1) * c + s),
        -2 * root * (root - 1 + (root + 1) * c),
        root * (root + 1 + (root - 1) * c - s),
    ]
    return b, [root + 1 - (root - 1) * c + s, 2 * (root - 1 - (root + 1) * c), root + 1 - (root - 1) * c - s]


def weighting():
    """Return the taps of the weighting filter of log-WMSE from the digital coefficients of its four filters."""
    points = np.linspace(0, np.pi, 4097)
    gains = [
        np.abs(freqz(*cookbook(*each), worN=points)[1])
        for each in (("shelf", 1500, 5, 0.5**0.5), ("peak", 500, 2.5, 1.125**0.5))
    ]
    gains += [np.abs(sosfreqz(butter(2, 120, "high", fs=RATE, output="sos"), worN=points)[1])]
    gains += [np.abs(sosfreqz(butter(1, 10_000, "low", fs=RATE, output="sos"), worN=points)[1]) ** 2]
    return np.fft.fftshift(np.fft.irfft(np.prod(gains, axis=0)))[4097 - 2000 : 4097 + 2000]


def log_wmse(reference, estimate, mixture):
    taps, scores = weighting(), []
    for true, made, mixed in zip(reference, estimate, mixture, strict=True):
        level = np.sqrt(np.mean(fftconvolve(mixed, taps, "same") ** 2))
        error = fftconvolve(made - true, taps, "same") / level
        scores.append(-4 * np.log(np.mean(np.where(np.abs(error) < 10**-3.4, 0, error) ** 2) + 1e-8))
    return np.mean(scores)


def octave_sdr(reference, estimate):
    """Compute the SDR of ideal band-pass filters. The length of the signals must be a power of two."""
    scores = []
    for octave in range(-5, 5):
        frequencies = np.fft.rfftfreq(reference.shape[-1], 1 / RATE)
        low = 1000 * 2.0 ** (octave - 0.5)
        band = (frequencies >= low) & (frequencies < 2 * low)
        passed = [np.fft.irfft(np.fft.rfft(signal) * band) for signal in (reference, reference - estimate)]
        scores.append(usdr(passed[0], passed[0] - passed[1]) if passed[1].any() else 120.0)
    return scores
