"""Measure whether a mixture and its instrumental version are aligned, so that mixture minus instrumental is the vocals.

Method: generalised cross-correlation with phase transform (Knapp & Carter 1976). Only phases are compared. So the correlation
peak is one sample wide even for tonal music, and does not depend on level and equalisation.

1. The whole recordings are correlated. The power of the correlation is summed over ranges of delays (0.1 s each), so that a
   rough offset is found even if the offset changes over time.
2. Windows of 5 s are correlated at delays near the rough offset. Offset and correlation are medians over the windows. The drift
   is the change of the offset from the beginning to the end of the track.

Limit: the correlation is low if the tempo changes within one recording, or if one recording lacks a section of the other
recording. These two causes are not distinguished.
"""

from dataclasses import dataclass

import numpy as np

from unbraid.data.health.decimation import decimate

LOW_RATE = 2500  # lowest sample rate of the correlation in Hz: 0.4 ms per sample, 0.04 ms after parabolic interpolation
GATHER_SECONDS = 0.1
WINDOW_SECONDS = 5.0
WINDOWS = 16
REACH_SECONDS = 0.5
SILENCE_DB = -50.0  # windows this far below the loudest window are not used

# A tenth of the STFT windows of separators (93 to 125 ms), which changes their magnitudes little. The difference of the
# waveforms is much more sensitive to an offset; its level is measured as `Health.remainder_db`.
MOST_OFFSET_MS = 10.0
MOST_DRIFT_MS = 10.0
# Different recordings reach 0.06 by chance. A mixture and its instrumental version reach more than 0.3, also after mp3 coding.
LEAST_CORRELATION = 0.1


@dataclass(frozen=True)
class Alignment:
    """The alignment of two recordings in time.

    Args:
        offset_ms: delay of the second recording relative to the first, in ms.
        drift_ms: increase of `offset_ms` from the beginning to the end of the track, in ms.
        correlation: peak of the correlation, 1 for equal recordings.
    """

    offset_ms: float
    drift_ms: float
    correlation: float

    @property
    def good(self) -> bool:
        """Return whether the recordings are aligned: offset and drift are at most 10 ms, the correlation is at least 0.1."""
        close = abs(self.offset_ms) <= MOST_OFFSET_MS and abs(self.drift_ms) <= MOST_DRIFT_MS
        return close and self.correlation >= LEAST_CORRELATION


def align(first: np.ndarray, second: np.ndarray, rate: int) -> Alignment | None:
    """Measure the alignment of two recordings.

    Args:
        first: first recording.
        second: second recording, of the same length.
        rate: sample rate of both recordings, in Hz.

    Shape:
        first, second: [C, T].

    Returns:
        The alignment; None if a recording is silent or shorter than a window of 5 s.
    """
    factor = max(1, rate // LOW_RATE)
    low_rate = rate / factor
    a, b = decimate(first, factor), decimate(second, factor)
    if len(a) < WINDOW_SECONDS * low_rate or not (a.any() and b.any()):
        return None
    centre = _rough_lag(a, b, round(GATHER_SECONDS * low_rate))
    starts, lags, peaks = _in_windows(a, b, centre, low_rate)
    offset = np.median(lags) * 1000 / low_rate
    clear = peaks >= np.median(peaks) / 2
    drift = _slope(starts[clear], lags[clear]) * len(a) * 1000 / low_rate
    return Alignment(float(offset), float(drift), float(np.median(peaks)))


def _rough_lag(a: np.ndarray, b: np.ndarray, width: int) -> int:
    """Return the approximate delay of `b` relative to `a`, in samples. The error is at most `width` samples."""
    power = _phase_correlation(a, b) ** 2
    # Lags are circular, so the sums over `width` lags wrap around too.
    sums = np.cumsum(np.concatenate([power, power[: width + 1]]), dtype=np.float64)
    start = int(np.argmax(sums[width : width + len(power)] - sums[: len(power)])) + 1
    lag = (start + int(np.argmax(power.take(range(start, start + width), mode="wrap")))) % len(power)
    return lag if lag < len(power) / 2 else lag - len(power)


def _phase_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the phase correlation for all delays of `b` relative to `a`, in the order 0, 1, …, -2, -1. Shape: [delays]."""
    size = _fast_size(len(a) + len(b))
    cross = np.fft.rfft(a, size).conj() * np.fft.rfft(b, size)
    magnitude = np.abs(cross)
    cross /= np.maximum(magnitude, np.finfo(np.float32).tiny + 1e-6 * magnitude.mean())
    return np.fft.irfft(cross, size)


def _fast_size(least: int) -> int:
    """Return the smallest 2^n, 3·2^n or 5·2^n that is at least `least`."""
    return min(odd << max(0, (-(-least // odd) - 1).bit_length()) for odd in (1, 3, 5))


def _in_windows(a: np.ndarray, b: np.ndarray, centre: int, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlate windows of 5 s. Windows in which `a` or `b` is silent are omitted.

    Return three arrays with one value for each window: start of the window, delay of `b`, and correlation peak.
    """
    begin, end = max(0, -centre), min(len(a), len(b) - centre)
    length = max(1, min(round(WINDOW_SECONDS * rate), end - begin))
    starts = np.unique(np.linspace(begin, end - length, WINDOWS).astype(int))
    pairs = [(a[start : start + length], b[start + centre : start + centre + length]) for start in starts]
    levels = np.array([min(float(x @ x), float(y @ y)) for x, y in pairs])
    sounds = levels >= levels.max() * 10 ** (SILENCE_DB / 10)
    reach = min(round(REACH_SECONDS * rate), length // 2)
    lags, peaks = np.array([_fine_lag(*pair, reach) for pair, sounding in zip(pairs, sounds, strict=True) if sounding]).T
    return starts[sounds], lags + centre, peaks


def _fine_lag(a: np.ndarray, b: np.ndarray, reach: int) -> tuple[float, float]:
    """Return the delay of `b` relative to `a` in samples, and the correlation peak.

    The delay is not rounded to whole samples. The delay is between about -`reach` and `reach`.
    """
    window = np.hanning(len(a) + 2)[1:-1].astype(np.float32)
    correlation = _phase_correlation(a * window, b * window)
    near = np.concatenate([correlation[-reach - 1 :], correlation[: reach + 2]])
    top = int(np.argmax(near[1:-1])) + 1
    before, peak, after = near[top - 1 : top + 2].tolist()
    bend = before - 2 * peak + after
    return top - reach - 1 + (0.5 * (before - after) / bend if bend < 0 else 0.0), min(peak, 1.0)


def _slope(starts: np.ndarray, lags: np.ndarray) -> float:
    """Return the slope of `lags` over `starts`: the median slope of all pairs of points (Theil 1950, Sen 1968)."""
    first, second = np.triu_indices(len(starts), 1)
    return float(np.median((lags[second] - lags[first]) / (starts[second] - starts[first]))) if len(first) else 0.0
