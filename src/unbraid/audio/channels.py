"""Channels of a signal: surround sound to stereo, stereo to mono and back.

The downmix is that of Recommendation ITU-R BS.775: the centre and the surround channels are added to the front channels 3 dB
quieter, the low-frequency effects channel is dropped. Height channels, which it does not cover, count as surround channels.
Use it by default: films carry the voice in the centre channel.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

ChannelChoice = Literal["downmix", "front"]
HALF = 0.5**0.5  # -3 dB
# Gains of each channel in left and right, by FFmpeg's names of the channels.
GAINS = {
    "FL": (1.0, 0.0), "FR": (0.0, 1.0), "FC": (HALF, HALF), "LFE": (0.0, 0.0), "LFE2": (0.0, 0.0),
    "BL": (HALF, 0.0), "BR": (0.0, HALF), "SL": (HALF, 0.0), "SR": (0.0, HALF), "BC": (0.5, 0.5),
    "FLC": (1.0, 0.0), "FRC": (0.0, 1.0), "WL": (1.0, 0.0), "WR": (0.0, 1.0), "TFC": (0.5, 0.5), "TC": (0.5, 0.5),
    "TFL": (HALF, 0.0), "TFR": (0.0, HALF), "TSL": (HALF, 0.0), "TSR": (0.0, HALF), "TBL": (HALF, 0.0), "TBR": (0.0, HALF),
    "TBC": (0.5, 0.5),
}  # fmt: skip
# The order of the channels in files that name none, by their number: that of Microsoft's WAVE_FORMAT_EXTENSIBLE.
DEFAULT_LAYOUTS = {
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


def stereo_gains(names: Sequence[str], choice: ChannelChoice) -> tuple[np.ndarray, str]:
    """Return the matrix that makes stereo of more than two channels, and a message that states what it does.

    Args:
        names: FFmpeg's name of each channel. If front left or front right is not among them, the default for their number
            is assumed.
        choice: `downmix`: that of ITU-R BS.775; `front`: front left and front right alone.

    Shape:
        [2, channels].
    """
    known = {"FL", "FR"} <= {*names}
    layout = tuple(names) if known else DEFAULT_LAYOUTS.get(len(names), ())
    if not layout:
        return np.eye(2, len(names), dtype=np.float32), f"has {len(names)} channels of unknown places; the first two are used"
    assumed = "" if known else "assumed to be "
    shown = f"has {len(names)} channels ({assumed}{' '.join(layout)})"
    if choice == "front":
        gains = [(float(name == "FL"), float(name == "FR")) for name in layout]
        return np.array(gains, np.float32).T, f"{shown}; front left and front right are used"
    return np.array(
        [GAINS.get(name, (0.0, 0.0)) for name in layout], np.float32
    ).T, f"{shown}; mixed down to stereo as in ITU-R BS.775"


def downmix(samples: np.ndarray, choice: ChannelChoice = "downmix") -> np.ndarray:
    """Make stereo of an array with more than two channels, whose order is assumed from their number.

    Shape:
        [channels, samples] -> [at most 2, samples].
    """
    if len(samples) <= 2:
        return samples
    gains, _ = stereo_gains([""] * len(samples), choice)
    return gains @ samples


def to_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    """Make mono (the mean) or stereo (a mono signal on both sides) of a signal with one or two channels.

    Shape:
        [1 or 2, samples] -> [channels, samples].
    """
    if channels == 1:
        return samples.mean(axis=0, keepdims=True)
    return np.repeat(samples, 2, axis=0) if len(samples) == 1 else samples
