"""Augmentations: a batch of other mixtures than those on the disk, so that a model hears more songs than there are.

They change the sources of a batch; the mixture that belongs to them is the sum of what comes out, and whoever calls them makes
it. They work on the whole batch at once, on its device. What is random comes out of a numpy generator on the CPU as a few small
arrays, so that one seed draws the same on every device; only the samples of `Noise` are drawn where the batch lies.

Gain, swap and remix are from Uhlich et al., "Improving music source separation based on deep neural networks through data
augmentation and network blending", ICASSP 2017; mix-up is from Song et al., "CatNet: music source separation system with
mix-audio augmentation", arXiv 2102.09966. Not for validation or scoring, nor where a mixture is no sum of its sources.

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
