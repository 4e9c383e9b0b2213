"""Detect karaoke files (as in iKala) in which the channels of voice and accompaniment look swapped.

In a correct file, the voice has more pauses, and the accompaniment has more energy at bass frequencies, below the range of the
voice. The channels look swapped if both differences are reversed. The result is a hint, not a proof: a sparse accompaniment
without bass and a voice without pauses look swapped. The user should listen to the file.
"""

from collections.abc import Mapping

import numpy as np

from unbraid.data.health.decimation import decimate

PAUSE_DB = -30.0  # level of a pause relative to loud passages; a microphone recording is never completely silent
BASS_HZ = (40.0, 100.0)  # above rumble, and below all but the lowest sung notes
LOW_RATE = 1000
LEAST_DIFFERENCE = 0.05  # smallest difference of the pause shares: 3 s of a song of one minute


def pause_share(powers: np.ndarray) -> float:
    """Return the share of pauses in a recording.

    Args:
        powers: mean square of the samples in each block of 100 ms of the recording.

    Shape:
        powers: [blocks].

    Returns:
        Share of the blocks that are at least 30 dB quieter than the loud passages, in [0, 1]; 1 for a recording without blocks.
    """
    loud = np.percentile(powers, 95) if len(powers) else 0.0
    return float(np.mean(powers <= loud * 10 ** (PAUSE_DB / 10))) if len(powers) else 1.0


def bass_share(samples: np.ndarray, rate: int) -> float:
    """Return the share of bass frequencies (40 to 100 Hz) in the energy between 40 and 500 Hz.

    Args:
        samples: waveform.
        rate: sample rate in Hz.

    Shape:
        samples: [C, T].

    Returns:
        The share in [0, 1]; 0 for silence.
    """
    factor = max(1, rate // LOW_RATE)
    low = decimate(samples, factor)
    power = np.abs(np.fft.rfft(low, max(1, len(low)))) ** 2
    frequencies = np.arange(len(power)) * rate / factor / max(1, len(low))
    total = power[(frequencies >= BASS_HZ[0]) & (frequencies <= 500)].sum()
    bass = power[(frequencies >= BASS_HZ[0]) & (frequencies <= BASS_HZ[1])].sum()
    return float(bass / total) if total > 0 else 0.0


def look_swapped(pauses: Mapping[str, float], bass: Mapping[str, float]) -> bool:
    """Return whether the two channels of a karaoke file, voice and accompaniment, look swapped.

    Args:
        pauses: share of pauses in the sources `vocals` and `accompaniment`; empty if the shares were not measured.
        bass: share of bass frequencies in `vocals` and `accompaniment`; empty if the shares were not measured.

    Returns:
        True if `accompaniment` has more pauses and less bass than `vocals`.
    """
    if not pauses or not bass:
        return False
    rests_more = pauses["accompaniment"] - pauses["vocals"] >= LEAST_DIFFERENCE
    return rests_more and bass["accompaniment"] < bass["vocals"]
