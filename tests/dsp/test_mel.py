"""The mel bands and the cosine transform equal those of torchaudio, and have the properties of their definitions."""

import pytest
import torch

from unbraid.dsp.mel import cosine_transform, mel_filterbank


@pytest.mark.parametrize(
    "arguments", [(1025, 20.0, 22050.0, 80, 44100), (513, 0.0, 4096.0, 150, 8192), (65, 0.0, 4000.5, 10, 8001)]
)
@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
def test_mel_bands_equal_those_of_torchaudio(arguments):
    functional = pytest.importorskip("torchaudio").functional
    assert torch.equal(mel_filterbank(*arguments), functional.melscale_fbanks(*arguments))


@pytest.mark.parametrize(("count", "bands"), [(13, 80), (30, 128), (5, 5)])
def test_cosine_transform_equals_that_of_torchaudio(count, bands):
    functional = pytest.importorskip("torchaudio").functional
    assert torch.equal(cosine_transform(count, bands), functional.create_dct(count, bands, "ortho"))


def test_neighbouring_mel_bands_sum_to_one():
    bank = mel_filterbank(2049, 0.0, 8000.0, 40, 16000)
    peaks = bank.argmax(dim=0)
    assert torch.allclose(bank[peaks[0] + 1 : peaks[-1]].sum(dim=1), torch.ones(1), atol=0.02) and (peaks.diff() > 0).all()


def test_cosine_transform_is_orthonormal():
    rows = cosine_transform(20, 20)
    assert torch.allclose(rows @ rows.T, torch.eye(20), atol=1e-5)
