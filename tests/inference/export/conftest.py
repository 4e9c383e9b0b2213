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
SHORT_MONO = ["sample_rate=8192", "channels=1", "chunk_seconds=0.2"]
TINY_SCNET = ["channels=[4]", "n_fft=128", "hop_length=32", "layers=2", "band_shares=[0.2,0.3,0.5]"]
NETS = {  # networks that contain an STFT, with the options of the network
    "bs_roformer": [
        "dim=8", "depth=1", "heads=2", "dim_head=4", "n_fft=256", "hop_length=64", "freqs_per_bands=[29,100]", "zero_dc=true",
        "linear_transformer_depth=1", "skip_connection=true",
    ],
    "mel_band_roformer": ["dim=8", "depth=1", "heads=2", "dim_head=4", "n_fft=256", "hop_length=100", "num_bands=8"],
    "scnet": [*TINY_SCNET, "standardize=true"],
    "scnet_masked": TINY_SCNET,
    "scnet_tran": [*TINY_SCNET, "heads=2", "dim_head=4", "rotary_dim=4"],
    "htdemucs": [
        "channels=16", "depth=1", "n_fft=256", "bottom_channels=null", "layers=2", "heads=2", "dconv_depth=1",
        "segment_samples=2000",
    ],
    "mdx23c": ["n_fft=512", "hop_length=128", "bins=256", "channels=4", "growth=2", "levels=1", "blocks=1"],
}  # fmt: skip
SPECTRAL = {
    model: [
        f"model={model}",
        *(f"model.separator.{word}" for word in SHORT_MONO),
        *(f"model.separator.net.{word}" for word in words),
    ]
    for model, words in NETS.items()
}


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
