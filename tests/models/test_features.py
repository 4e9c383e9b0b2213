"""Tests of the features: values, and conversion in both directions."""

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


def test_sine_of_full_scale_is_one():
    wave = torch.sin(2 * torch.pi * 8 * torch.arange(640) / 64).expand(1, 2, -1)
    for magnitude in ("log", "linear"):
        middle = spectra(magnitude=magnitude).analyse(wave)[0, 0, :, 5]
        assert middle.argmax() == 8
        assert middle[8].item() == pytest.approx(1, abs=0.01)


def test_magnitudes_above_the_floor_are_restored():
    for magnitude in ("log", "linear"):
        features = spectra(magnitude=magnitude)
        true = features.stft(sound()).abs()
        back = features.magnitudes(features.analyse(sound()))
        loud = true > features.full_scale * 1.01e-4
        torch.testing.assert_close(back[loud], true[loud], rtol=1e-3, atol=1e-6)
    assert features.magnitudes(spectra().analyse(torch.zeros(1, 2, 640))).abs().max() == 0


def test_patches_and_vectors_are_inverses():
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


def test_vector_has_all_pixels_of_an_image():
    batch = Images(torch.rand(4, 1, 8, 8), torch.arange(4))
    features = Pixels(8)
    patches, labels = features.items(batch)
    assert torch.equal(features.patches(features.vectors(patches)), batch.pixels)
    assert labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bins", 34),
        ("channels", 3),
        ("floor_db", 0.0),
        ("floor_db", float("nan")),
        ("floor_db", float("-inf")),
    ],
)
def test_invalid_settings_are_refused(name, value):
    with pytest.raises(InputError) as error:
        spectra(**{name: value})
    assert error.value.where == name and error.value.found is value
