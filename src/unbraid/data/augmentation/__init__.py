"""Data augmentation of the sources of a training batch.

Each augmentation changes the sources. The caller then computes the mixture as the sum of the changed sources. An augmentation
processes the whole batch at once, on the device of the batch. Random numbers are drawn by a numpy generator on the CPU, so the
same seed gives the same augmentation on every device. The augmentation `Noise` is an exception: its noise samples are drawn on
the device.

Use augmentations only for training, and only with data sets in which every mixture is the sum of its sources.

Sources: gain, swap and remix are from Uhlich et al., "Improving music source separation based on deep neural networks through
data augmentation and network blending", ICASSP 2017. Mix-up is from Song et al., "CatNet: music source separation system with
mix-audio augmentation", arXiv 2102.09966.

Axes: b batch, s source, c channel, n sample.
"""

from unbraid.data.augmentation.colour import Equalizer, LowPass, Noise
from unbraid.data.augmentation.draws import Augmentation
from unbraid.data.augmentation.mixing import ChannelSwap, Gain, MixUp, Polarity, Remix, TimeShift

__all__ = [
    "Augmentation",
    "ChannelSwap",
    "Equalizer",
    "Gain",
    "LowPass",
    "MixUp",
    "Noise",
    "Polarity",
    "Remix",
    "TimeShift",
]
