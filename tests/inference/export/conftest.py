"""Small separators of each class, with random weights that change music audibly."""

import numpy as np
import pytest
import torch

from tests.test_configs import compose
from unbraid import audio
from unbraid.runs.config import build

TWO_LAYERS = ["model.separator.net.channels=[2,4]", "model.separator.net.dropout_layers=1"]
TASNET = [
    "model=conv_tasnet",
    "model.separator.net.enc_num_feats=8",
    "model.separator.net.msk_num_feats=4",
    "model.separator.net.msk_num_hidden_feats=8",
    "model.separator.net.msk_num_layers=2",
    "model.separator.net.msk_num_stacks=1",
    "model.separator.chunk_seconds=1",
]
SMALL = {
    "unet": ["model=unet", *TWO_LAYERS],
    "unscaled": ["model=unet", *TWO_LAYERS, "model.separator.scaling=none"],
    "consistent": [
        "model=unet", *TWO_LAYERS, "targets=vocals_accompaniment", "model.separator.mask_options.consistency=true",
        "model.separator.mask_options.mask_max=0.9", "model.separator.mask_options.mask_power=2", "model.separator.channels=2",
    ],
    "joint": ["model=unet_softmax", *TWO_LAYERS, "targets=all"],
    "segmentation": ["model=unet_segmentation", "model.separator.net.channels=[2,4]", "model.separator.hard=false"],
    "mapping": ["model=denoising_ae", "model.separator.net.hidden=[16]", "model.separator.net.code=8"],
    "chimera": [
        "model=chimera", "model.separator.net.hidden=8", "model.separator.net.layers=1", "model.separator.net.embedding=4",
    ],
    "open_unmix": [
        "model=open_unmix", "model.separator.stft.n_fft=512", "model.separator.stft.hop_length=128",
        "model.separator.net.bins=257", "model.separator.net.max_bin=200", "model.separator.net.hidden=8",
        "model.separator.net.layers=1", "model.separator.chunk_seconds=1",
    ],
    "song": [*TASNET, "model.separator.normalisation=song"],
    "chunk": [*TASNET, "model.separator.normalisation=chunk"],
    "conv_tasnet": TASNET,
}  # fmt: skip


def made(*words):
    torch.manual_seed(0)
    separator = build(compose(*words).model).separator.eval()
    for module in separator.modules():  # trained batch norms have statistics other than 0 and 1
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return separator


@pytest.fixture(scope="session")
def music(stem_file):
    """Return a function that cuts a batch of two chunks from the real stem file, with any sample rate and channels."""

    def cut(rate: int, channels: int, samples: int) -> torch.Tensor:
        (song,), song_rate = audio.read(stem_file)
        song = audio.to_channels(audio.resample(song, song_rate, rate), channels)
        song = np.roll(song, -song.shape[1] // 2, axis=1)  # the song starts softly
        chunks = np.resize(song.T, (2, samples, channels))  # a song that is too short is repeated
        return torch.from_numpy(np.ascontiguousarray(chunks)).transpose(1, 2)

    return cut
