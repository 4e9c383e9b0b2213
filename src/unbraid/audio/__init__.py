"""Read and write audio files, and change the sample rate and the number of channels of arrays.

A file is read as a whole or in blocks. The PyAV wheel contains FFmpeg, so that FFmpeg does not have to be installed.
"""

from unbraid.audio.channels import ChannelChoice, downmix, to_channels
from unbraid.audio.decoder import FASTEST, SLOWEST
from unbraid.audio.reader import BLOCK, AudioInput, AudioReader, open_audio, read, seconds
from unbraid.audio.resampling import resample, resample_blocks
from unbraid.audio.writer import SUFFIXES, Bits, write, write_blocks, write_streams

__all__ = [
    "BLOCK",
    "FASTEST",
    "SLOWEST",
    "SUFFIXES",
    "AudioInput",
    "AudioReader",
    "Bits",
    "ChannelChoice",
    "downmix",
    "open_audio",
    "read",
    "resample",
    "resample_blocks",
    "seconds",
    "to_channels",
    "write",
    "write_blocks",
    "write_streams",
]
