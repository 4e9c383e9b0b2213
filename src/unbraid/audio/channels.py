"""Change the number of channels: surround sound to stereo, stereo to mono, mono to stereo.

There are two ways to convert surround sound to stereo:

- `downmix` (the default) follows Recommendation ITU-R BS.775. The centre channel and the surround channels are attenuated by
  3 dB and added to the front channels. The low-frequency effects channel is dropped. The recommendation does not cover height
  channels; here, height channels are treated as surround channels.
- `front` uses the channels front left and front right only. Choose `front` if these two channels are a complete stereo mix.

In films, the voice is in the centre channel, so `front` would lose the voice.
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
# Assumed channel order of files without channel names, by the number of channels (Microsoft's WAVE_FORMAT_EXTENSIBLE).
DEFAULT_LAYOUTS = {
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


def stereo_gains(names: Sequence[str], choice: ChannelChoice) -> tuple[np.ndarray, str]:
    """Return the matrix that converts surround sound to stereo, and a message that describes the conversion.

    Args:
        names: FFmpeg's name of each channel (FL, FR, FC, LFE, …). If FL or FR is missing, the names are ignored. The number of
            channels then determines the channel order.
        choice: `downmix` (ITU-R BS.775) or `front` (front left and front right only).

    Returns:
        The matrix [2, channels] and the message. Row 0 of the matrix contains the gain of each input channel in the left
        output, row 1 in the right output.
    """
    known = {"FL", "FR"} <= {*names}
    layout = tuple(names) if known else DEFAULT_LAYOUTS.get(len(names), ())
    if not layout:
        return np.eye(2, len(names), dtype=np.float32), f"has {len(names)} channels of unknown layout; the first two are used"
    assumed = "" if known else "assumed to be "
    shown = f"has {len(names)} channels ({assumed}{' '.join(layout)})"
    if choice == "front":
        gains = [(float(name == "FL"), float(name == "FR")) for name in layout]
        return np.array(gains, np.float32).T, f"{shown}; front left and front right are used"
    return np.array(
        [GAINS.get(name, (0.0, 0.0)) for name in layout], np.float32
    ).T, f"{shown}; mixed down to stereo as in ITU-R BS.775"


def downmix(samples: np.ndarray, choice: ChannelChoice = "downmix") -> np.ndarray:
    """Convert surround sound to stereo. The order of the channels is derived from the number of channels.

    Args:
        samples: surround sound, or a mono or stereo signal. A mono or stereo signal is returned unchanged.
        choice: `downmix` (all channels, ITU-R BS.775) or `front` (front left and front right only).

    Shape:
        [channels, samples] -> [min(channels, 2), samples].

    Returns:
        The mono or stereo signal.
    """
    if len(samples) <= 2:
        return samples
    gains, _ = stereo_gains([""] * len(samples), choice)
    return gains @ samples


def to_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    """Convert between mono and stereo: mono is the mean of both channels, stereo is the mono signal twice.

    Args:
        samples: signal with one or two channels.
        channels: number of channels of the result, 1 or 2.

    Shape:
        [1 or 2, samples] -> [channels, samples].

    Returns:
        The signal with `channels` channels.
    """
    if channels == 1:
        return samples.mean(axis=0, keepdims=True)
    return np.repeat(samples, 2, axis=0) if len(samples) == 1 else samples
