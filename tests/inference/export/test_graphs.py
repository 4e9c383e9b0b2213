"""Graphs in real numbers: they return the same sources as the separator, or the separator is refused."""

import pytest
import torch

from tests.inference.export.conftest import SMALL, made
from unbraid.dsp.stft import STFT
from unbraid.inference.export.graphs import example, in_real_numbers
from unbraid.runs.errors import InputError


@pytest.mark.parametrize(("n_fft", "hop", "edges"), [(1024, 768, "silence"), (512, 128, "reflection"), (96, 40, "silence")])
def test_inverse_restores_the_waveform(n_fft, hop, edges):
    stft, waveform = STFT(n_fft, hop, edges), torch.randn(2, 3, 5011)
    spectrum = stft(waveform)
    assert (stft.exportable_inverse(spectrum, 5011) - waveform).abs().max() < 1e-5
    assert (stft.exportable_inverse(spectrum, 5011) - stft.inverse(spectrum, 5011)).abs().max() < 1e-6


@pytest.mark.parametrize("kind", SMALL)
@torch.inference_mode()
def test_graph_and_separator_agree_on_music(kind, music):
    separator = made(*SMALL[kind])
    mixture = music(separator.sample_rate, separator.channels, separator.chunk_samples - 5)
    graph, expected = in_real_numbers(separator), separator(mixture).sources
    assert expected.shape == (2, len(separator.targets), *mixture.shape[1:]) and expected.abs().max() > 1e-3
    assert (graph(mixture) - expected).abs().max() < 1e-5


@torch.inference_mode()
def test_silence_stays_silence():
    for kind in ("unet", "mapping"):
        separator = made(*SMALL[kind])
        silence = torch.zeros(1, separator.channels, separator.chunk_samples)
        assert (in_real_numbers(separator)(silence) - separator(silence).sources).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("words", "where", "found", "expected"),
    [
        ([*SMALL["consistent"], "phase=wiener"], "phase", "Wiener", "phase=mixture"),
        ([*SMALL["joint"], "phase=griffin_lim"], "phase", "GriffinLim", "phase=mixture"),
        (["model=hdemucs", "model.separator.net.channels=4"], "model.separator.net", "HDemucs", ""),
        ([*SMALL["chimera"], "model.separator.masks_from=clusters"], "masks_from=clusters", None, "masks_from=head"),
    ],
)
def test_complex_numbers_and_clustering_are_refused(words, where, found, expected):
    separator = made(*words)
    with pytest.raises(InputError) as error:
        in_real_numbers(separator)
    assert (error.value.where, error.value.expected) == (where, expected) and str(found) in str(error.value.found)


def test_complex_masks_are_refused():
    separator = made(*SMALL["joint"])
    separator.nets[0].register_forward_hook(lambda net, inputs, masks: masks.to(torch.complex64))
    with pytest.raises(InputError) as error:
        in_real_numbers(separator)(**example(separator, 1, separator.chunk_samples))
    assert error.value.where == "model.separator.net" and "complex" in error.value.problem
