"""Separators with `normalisation: song` or `chunk`: gain and offset of the mixture do not change the network's input."""

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from unbraid.audio import AudioInput
from unbraid.evaluation.scorer import Evaluation
from unbraid.inference.chunked import InferenceOptions, separate, separated, song_scale, streamed
from unbraid.inference.loading import Loaded
from unbraid.inference.stems import OutputFormat, write_stems
from unbraid.models.losses import WaveformL1
from unbraid.models.separators.waveform import WaveformSeparator
from unbraid.runs.errors import InputError
from unbraid.tasks.separation import SeparationTask

OPTIONS = InferenceOptions(chunk_seconds=0.1, overlap=0.25)


class Squash(nn.Module):
    """Map the mixture x to tanh(x) and x - tanh(x), so that the estimates depend on the scale of the mixture."""

    def __init__(self, sources):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, mixture):
        return torch.stack([torch.tanh(mixture) * self.weight, mixture - torch.tanh(mixture)], dim=1)


def squash(normalisation, channels=1):
    return WaveformSeparator(Squash, ["vocals", "drums"], 8000, channels, 0.1, normalisation).eval()


def song(samples=4000, channels=1):
    """Return a quiet part, then a loud part."""
    noise = torch.randn(channels, samples, generator=torch.Generator().manual_seed(0))
    return 0.1 * noise * torch.linspace(0.1, 2, samples)


@pytest.mark.parametrize("normalisation", ["song", "chunk"])
@pytest.mark.parametrize(("gain", "offset"), [(7.0, 0.0), (0.01, 0.0), (1.0, 0.3), (4.0, -0.2)])
def test_gain_and_offset_pass_to_the_sources(normalisation, gain, offset):
    model, mixture = squash(normalisation), song()
    expected = gain * separate(model, mixture, OPTIONS) + offset
    torch.testing.assert_close(separate(model, gain * mixture + offset, OPTIONS), expected, rtol=1e-4, atol=1e-6)


def test_without_normalisation_the_gain_changes_the_estimate():
    model, mixture = squash("none"), song()
    assert (separate(model, 7 * mixture, OPTIONS) - 7 * separate(model, mixture, OPTIONS)).abs().max() > 0.1


def test_chunks_and_whole_song_agree():
    mixture = song(4321, 2)
    model, mono = squash("song", 2), mixture.mean(dim=0)
    normalised = (mixture - mono.mean()) / mono.std()
    whole = model.net(normalised[None])[0] * mono.std() + mono.mean()
    torch.testing.assert_close(separate(model, mixture, OPTIONS), whole.detach(), rtol=0, atol=1e-6)


def test_each_chunk_has_its_own_scale():
    mixture = torch.cat([song(800), 50 * song(800)])[:, None]
    model, mono = squash("chunk"), mixture.mean(dim=1)
    mean, deviation = (x[:, None, None] for x in (mono.mean(dim=-1), mono.std(dim=-1)))
    expected = model.net((mixture - mean) / deviation) * deviation[:, None] + mean[:, None]
    torch.testing.assert_close(model.sources(mixture), expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("normalisation", ["song", "chunk"])
def test_silence_stays_silent(normalisation):
    assert not separate(squash(normalisation), torch.zeros(1, 3000), OPTIONS).any()


def test_blocks_do_not_change_the_result():
    """The scale of the song is the same at another sample rate and in short blocks."""
    model, mixture = squash("song"), song().numpy()
    results = []
    for blocks in ([mixture], np.split(mixture, 40, axis=1)):
        scale = song_scale(model, blocks, 16000)
        pairs = streamed(model, blocks, 16000, OPTIONS, torch.device("cpu"), scale)
        results.append(np.concatenate([sources for _, sources in pairs], axis=-1))
    np.testing.assert_allclose(*results, rtol=0, atol=1e-6)


def test_files_and_arrays_agree(tmp_path):
    loaded, path = Loaded(squash("song"), tmp_path), tmp_path / "song.wav"
    soundfile.write(path, song(200_000).numpy().T, 8000, subtype="FLOAT")
    outputs = {name: tmp_path / f"{name}.wav" for name in loaded.targets}
    form = OutputFormat("wav", 32, residual=False, accompaniment=False, peaks="clip", tags=False)
    write_stems(loaded, AudioInput(path), outputs, form, OPTIONS, lambda rate, samples: None)
    stems = loaded.separate(song(200_000), 8000, OPTIONS)
    for name, output in outputs.items():
        written, _ = soundfile.read(output, dtype="float32", always_2d=True)
        np.testing.assert_allclose(written.T, stems[name], rtol=0, atol=1e-6)
    assert not np.allclose(stems["vocals"], Loaded(squash("none"), tmp_path).separate(song(200_000), 8000)["vocals"], atol=0.01)


class Track:
    """A validation batch of one track."""

    def __init__(self, mixture):
        self.mixture = mixture[None]
        self.sources = torch.stack([0.25 * mixture, 0.75 * mixture])[None]
        self.magnitude_difference, self.known = (False, False), None

    def _replace(self, **parts):
        return self


def test_validation_normalises_the_whole_track():
    model, mixture = squash("song"), song()
    task = SeparationTask(model, WaveformL1(), optimizer=torch.optim.SGD)
    batch = Track(mixture)
    estimate = task.validation_step(batch, 0)
    torch.testing.assert_close(estimate, separate(model, mixture, OPTIONS), rtol=0, atol=1e-6)
    normalised = (mixture - mixture.mean()) / mixture.std()
    sources = (batch.sources[0] - mixture.mean()) / mixture.std()
    expected = (model.net(normalised[None])[0] - sources).abs().mean()
    assert task.valid_loss.compute().item() == pytest.approx(expected.item(), rel=1e-4)


def test_clips_are_separated_at_any_level(tmp_path):
    for gain in (0.5, 0.005):
        Evaluation(OPTIONS, 1).leave_batches(squash("song"), {f"{gain}": Track(gain * song(8000))}, tmp_path)
    loud, quiet = (soundfile.read(tmp_path / name / "vocals-estimate.flac")[0] for name in ("0.5", "0.005"))
    np.testing.assert_allclose(100 * quiet, loud, rtol=0, atol=0.005)
    assert (tmp_path / "0.5" / "0.5-vocals.png").is_file()


def test_unknown_normalisation_is_named():
    with pytest.raises(InputError) as error:
        squash("track")
    assert (error.value.where, error.value.found) == ("model.separator.normalisation", "track")


def test_a_missing_scale_is_an_error():
    with pytest.raises(ValueError, match="song_scale"):
        next(separated(squash("song"), [song()], OPTIONS, torch.device("cpu")))
