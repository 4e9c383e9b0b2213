"""Whether voice and accompaniment have changed places, where they are the left and right channel of one file (iKala).

Two cues, and both must speak for it: a voice pauses where an accompaniment plays on, and an accompaniment has a bass, which
lies below what is sung. It is a hint and no proof: a sparse accompaniment without bass under a voice that never rests looks
swapped, and an a cappella with a bass singer does not tell. Somebody should listen.
"""

from collections.abc import Mapping

import numpy as np

from unbraid.data.health.decimation import decimate

PAUSE_DB = -30.0  # relative to the loud passages, for a microphone that hears the room is never silent
BASS_HZ = (40.0, 100.0)  # above rumble and below all but the lowest sung notes
LOW_RATE = 1000
LEAST_DIFFERENCE = 0.05  # of the shares of pauses: three bars of a song of one minute


def pause_share(powers: np.ndarray) -> float:
    """Share of quiet blocks.

    Args:
        powers: mean square of each block `[blocks]`.
    """
    loud = np.percentile(powers, 95) if len(powers) else 0.0
    return float(np.mean(powers <= loud * 10 ** (PAUSE_DB / 10))) if len(powers) else 1.0


def bass_share(samples: np.ndarray, rate: int) -> float:
    """Share of the bass in the energy below 500 Hz.

    Args:
        samples: `[channels, samples]`.
        rate: in Hz.
    """
    factor = max(1, rate // LOW_RATE)
    low = decimate(samples, factor)
    power = np.abs(np.fft.rfft(low, max(1, len(low)))) ** 2
    frequencies = np.arange(len(power)) * rate / factor / max(1, len(low))
    total = power[(frequencies >= BASS_HZ[0]) & (frequencies <= 500)].sum()
    bass = power[(frequencies >= BASS_HZ[0]) & (frequencies <= BASS_HZ[1])].sum()
    return float(bass / total) if total > 0 else 0.0


def look_swapped(pauses: Mapping[str, float], bass: Mapping[str, float]) -> bool:
    """Whether `accompaniment` looks like a voice and `vocals` like an accompaniment; False where nothing was measured."""
    if not pauses or not bass:
        return False
    rests_more = pauses["accompaniment"] - pauses["vocals"] >= LEAST_DIFFERENCE
    return rests_more and bass["accompaniment"] < bass["vocals"]
