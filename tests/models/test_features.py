"""Features: what networks see, and the way back."""

import pytest
import torch

from unbraid.data.digits import Images
from unbraid.dsp.stft import STFT
from unbraid.models.features import Pixels, Spectra
from unbraid.runs.errors import InputError


def spectra(**changed):
    settings = {"sample_rate": 8000, "channels": 2, "chunk_seconds": 0.056, "bins": 33, "magnitude": "log", "floor_db": -80.0}
    return Spectra(stft=STFT(64, 32), **(settings | changed))


def sound(samples=1000):
    return torch.randn(3, 2, samples, generator=torch.Generator().manual_seed(0)) * 0.1


def test_a_sine_of_full_scale_is_one():
    wave = torch.sin(2 * torch.pi * 8 * torch.arange(640) / 64).expand(1, 2, -1)
    for magnitude in ("log", "linear"):
        middle = spectra(magnitude=magnitude).analyse(wave)[0, 0, :, 5]
        assert middle.argmax() == 8
        assert middle[8].item() == pytest.approx(1, abs=0.01)


def test_what_is_below_the_floor_is_silent_and_the_rest_comes_back():
    for magnitude in ("log", "linear"):
        features = spectra(magnitude=magnitude)
        true = features.stft(sound()).abs()
        back = features.magnitudes(features.analyse(sound()))
        loud = true > features.full_scale * 1.01e-4
        torch.testing.assert_close(back[loud], true[loud], rtol=1e-3, atol=1e-6)
    assert features.magnitudes(spectra().analyse(torch.zeros(1, 2, 640))).abs().max() == 0


def test_cutting_and_joining_vectors_and_patches_are_inverses():
    features = spectra(bins=30)
    spectrum = features.analyse(sound())
    patches = features.cut(spectrum)
    assert patches.shape[1:] == features.shape == (2, 30, 15)
    per_sound = len(patches) // 3
    assert torch.equal(features.join(patches[:per_sound], spectrum.shape[-1]), spectrum[0])
    vectors = features.vectors(patches)
    assert torch.equal(features.patches(vectors), patches)
    assert torch.equal(vectors[3], patches[0, 0, :, 3])
    assert features.vectors_per_patch == len(vectors) // len(patches) == 30
    assert features.magnitudes(spectrum).shape[-2] == 33


def test_an_image_is_a_vector():
    batch = Images(torch.rand(4, 1, 8, 8), torch.arange(4))
    features = Pixels(8)
    patches, labels = features.items(batch)
    assert torch.equal(features.patches(features.vectors(patches)), batch.pixels)
    assert labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"bins": 34}, r"bins must lie in \[1, 33\].*found 34"),
        ({"channels": 3}, "channels must be 1 or 2, found 3"),
        ({"floor_db": 0.0}, "floor_db must be a number below 0 dB, found 0.0"),
        ({"floor_db": float("nan")}, "floor_db must be a number below 0 dB, found nan"),
        ({"floor_db": float("-inf")}, "floor_db must be a number below 0 dB, found -inf"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed, sentence):
    with pytest.raises(InputError, match=sentence):
        spectra(**changed)
