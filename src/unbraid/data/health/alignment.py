"""Whether two recordings run together in time: a mixture and its instrumental version, which a remainder is the difference of.

Generalised cross-correlation with the phase transform (Knapp & Carter 1976): only phases are compared, so the peak is one
sample wide however tonal the music is, and level and equalisation do not matter. First over the whole track, with the power
of the result gathered over 0.1 s, so that a pair that drifts apart still shows where it belongs together; then in windows of
5 s near that offset. Offset and correlation are medians over the windows, the drift is the slope through them over the track.

Changes of tempo within a track, and sections that were cut out, show as low correlation and not as what they are.
"""

from dataclasses import dataclass

import numpy as np

from unbraid.data.health.decimation import decimate

LOW_RATE = 2500  # Hz at least: 0.4 ms per sample, and a parabola through the peak is ten times finer
GATHER_SECONDS = 0.1
WINDOW_SECONDS = 5.0
WINDOWS = 16
REACH_SECONDS = 0.5
SILENCE_DB = -50.0  # windows this far below the loudest one are left out

# A tenth of the windows of 93 to 125 ms that separators look through: their magnitudes differ little by that. A difference of
# waveforms is stricter by far, which the level of the remainder shows.
MOST_OFFSET_MS = 10.0
MOST_DRIFT_MS = 10.0
# Different recordings reach 0.06 by chance; mixtures and what accompanies their voice, through mp3 too, more than 0.3.
LEAST_CORRELATION = 0.1


@dataclass(frozen=True)
class Alignment:
    """How a pair of recordings lies in time.

    Args:
        offset_ms: by which the second comes later than the first.
        drift_ms: by which that grows from the beginning to the end.
        correlation: the peak, 1 for equal recordings.
    """

    offset_ms: float
    drift_ms: float
    correlation: float

    @property
    def good(self) -> bool:
        """Whether the pair runs together."""
        close = abs(self.offset_ms) <= MOST_OFFSET_MS and abs(self.drift_ms) <= MOST_DRIFT_MS
        return close and self.correlation >= LEAST_CORRELATION


def align(first: np.ndarray, second: np.ndarray, rate: int) -> Alignment | None:
    """Compare two recordings; None where either is silent or they are shorter than a window.

    Args:
        first: `[channels, samples]`.
        second: the same length.
        rate: in Hz.
    """
    factor = max(1, rate // LOW_RATE)
    low_rate = rate / factor
    a, b = decimate(first, factor), decimate(second, factor)
    if len(a) < WINDOW_SECONDS * low_rate or not (a.any() and b.any()):
        return None
    centre = _rough_lag(a, b, round(GATHER_SECONDS * low_rate))
    places, lags, peaks = _in_windows(a, b, centre, low_rate)
    offset = np.median(lags) * 1000 / low_rate
    drift = _slope(places[peaks >= np.median(peaks) / 2], lags[peaks >= np.median(peaks) / 2]) * len(a) * 1000 / low_rate
    return Alignment(float(offset), float(drift), float(np.median(peaks)))


def _rough_lag(a: np.ndarray, b: np.ndarray, width: int) -> int:
    """By how many samples `b` comes later than `a`, to within `width`."""
    power = _phase_correlation(a, b) ** 2
    # Lags are circular here: the sum over a width that begins at each of them wraps round too.
    sums = np.cumsum(np.concatenate([power, power[: width + 1]]), dtype=np.float64)
    start = int(np.argmax(sums[width : width + len(power)] - sums[: len(power)])) + 1
    lag = (start + int(np.argmax(power.take(range(start, start + width), mode="wrap")))) % len(power)
    return lag if lag < len(power) / 2 else lag - len(power)


def _phase_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`[lags]`, from 0 upwards and then the negative ones, for the lags by which `b` comes later; 1 at most."""
    size = _fast_size(len(a) + len(b))
    cross = np.fft.rfft(a, size).conj() * np.fft.rfft(b, size)
    magnitude = np.abs(cross)
    cross /= np.maximum(magnitude, np.finfo(np.float32).tiny + 1e-6 * magnitude.mean())
    return np.fft.irfft(cross, size)


def _fast_size(least: int) -> int:
    """The smallest 2^n, 3·2^n or 5·2^n that is not below `least`."""
    return min(odd << max(0, (-(-least // odd) - 1).bit_length()) for odd in (1, 3, 5))


def _in_windows(a: np.ndarray, b: np.ndarray, centre: int, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places in samples, lags in samples and peaks of the windows in which both sound."""
    start, stop = max(0, -centre), min(len(a), len(b) - centre)
    length = max(1, min(round(WINDOW_SECONDS * rate), stop - start))
    places = np.unique(np.linspace(start, stop - length, WINDOWS).astype(int))
    pairs = [(a[place : place + length], b[place + centre : place + centre + length]) for place in places]
    levels = np.array([min(float(x @ x), float(y @ y)) for x, y in pairs])
    sounds = levels >= levels.max() * 10 ** (SILENCE_DB / 10)
    reach = min(round(REACH_SECONDS * rate), length // 2)
    found = [_fine_lag(*pair, reach) for pair, sounding in zip(pairs, sounds, strict=True) if sounding]
    lags, peaks = np.array(found).T
    return places[sounds], lags + centre, peaks


def _fine_lag(a: np.ndarray, b: np.ndarray, reach: int) -> tuple[float, float]:
    """By how many samples `b` comes later than `a`, at most `reach`, to a fraction, and the peak that says so."""
    window = np.hanning(len(a) + 2)[1:-1].astype(np.float32)
    correlation = _phase_correlation(a * window, b * window)
    near = np.concatenate([correlation[-reach - 1 :], correlation[: reach + 2]])
    top = int(np.argmax(near[1:-1])) + 1
    before, peak, after = near[top - 1 : top + 2].tolist()
    bend = before - 2 * peak + after
    return top - reach - 1 + (0.5 * (before - after) / bend if bend < 0 else 0.0), min(peak, 1.0)


def _slope(places: np.ndarray, lags: np.ndarray) -> float:
    """Median of the slopes between all pairs (Theil 1950, Sen 1968): one window that heard wrongly does not turn it."""
    first, second = np.triu_indices(len(places), 1)
    return float(np.median((lags[second] - lags[first]) / (places[second] - places[first]))) if len(first) else 0.0
