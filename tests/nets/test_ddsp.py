"""Tests of the instrument with random weights: pieces, harmonics, reverberation, and statistics of the training data."""

import pytest
import torch

from unbraid.dsp.synthesis import mfccs, oscillators
from unbraid.models.losses import MultiScaleSpectral
from unbraid.nets.ddsp import Instrument, Playing, Sounding, Training, positive, semitones
from unbraid.runs.errors import InputError

RATE, HOP = 16000, 64


def instrument(**options) -> Instrument:
    torch.manual_seed(0)
    known = {"hidden": 16, "layers": 1, "harmonics": 40, "bands": 17, "latent": 0, "reverb_seconds": 0.1}
    made = Instrument(RATE, HOP, **(known | options))
    if made.room is not None:
        torch.nn.init.normal_(made.room, std=0.05)
    return made.eval()


def performance(points: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    time = torch.linspace(0, 6, points)
    return 250 + 60 * time.sin(), -40 + 20 * (2 * time).cos()


@pytest.mark.parametrize("latent", [0, 4])
def test_pieces_join_to_the_whole_sound(latent):
    made, (f0, loudness) = instrument(latent=latent), performance()
    coefficients = torch.randn(400, 30) if latent else None
    whole = torch.cat([sound for sound, _ in made.perform(f0, loudness, coefficients, points=1000, seed=3)])
    assert len(whole) == 400 * HOP
    for points in (1, 7, 150):
        pieces = torch.cat([sound for sound, _ in made.perform(f0, loudness, coefficients, points=points, seed=3)])
        assert (pieces - whole).abs().max() < 1e-4 * whole.abs().max()  # -80 dB


def test_training_agrees_with_performance():
    made, (f0, loudness) = instrument(), performance()
    with torch.no_grad():
        torch.manual_seed(5)
        chunk = made(f0[None], loudness[None])
    assert chunk.shape == (1, 399 * HOP)
    whole = torch.cat([sound for sound, _ in made.perform(f0, loudness, seed=5)])
    assert torch.allclose(chunk[0], whole[: 399 * HOP], atol=1e-4)


def test_harmonics_above_half_the_rate_are_silent():
    made = instrument()
    f0 = torch.tensor([[300.0, 1000.0, 3000.0]])
    sounding = made.decode(f0, torch.full((1, 3), -20.0), Playing())
    assert torch.allclose(sounding.distribution.sum(dim=-1), torch.ones(1, 3))
    assert (sounding.distribution[0] > 0).sum(dim=-1).tolist() == [26, 7, 2]
    assert sounding.noise.shape == (1, 3, 17) and (sounding.noise > 0).all()


def test_amplitudes_are_positive_and_bounded():
    x = torch.linspace(-50, 50, 101)
    assert (positive(x) > 0).all() and positive(x).max() < 2.001


def test_gate_and_dry():
    made, (f0, loudness) = instrument(), performance()
    silent = torch.cat([sound for sound, _ in made.perform(f0, loudness, gate=torch.zeros(400))])
    assert silent.abs().max() < 1e-6
    dry = torch.cat([sound for sound, _ in made.perform(f0, loudness, dry=True)])
    made.room = None
    assert torch.equal(dry, torch.cat([sound for sound, _ in made.perform(f0, loudness)]))


def test_first_sample_of_the_room_is_ignored():
    """The code of the authors does the same: this sample would only amplify the dry sound."""
    made, (f0, loudness) = instrument(), performance()
    wet = torch.cat([sound for sound, _ in made.perform(f0, loudness, seed=1)])
    with torch.no_grad():
        made.room[0] += 10.0
    assert torch.equal(wet, torch.cat([sound for sound, _ in made.perform(f0, loudness, seed=1)]))
    assert not torch.equal(wet, torch.cat([sound for sound, _ in made.perform(f0, loudness, seed=1, dry=True)]))


@pytest.mark.slow
def test_training_learns_a_spectrum():
    made, loss = instrument(reverb_seconds=0.0).train(), MultiScaleSpectral([512, 128], 1.0)
    f0, loudness = torch.full((2, 101), 220.0), torch.full((2, 101), -20.0)
    shares = torch.tensor([0.3, 0.0, 0.1]).expand(2, 101, 3)
    true, _ = oscillators(f0, shares, HOP, RATE)
    true = true + 1e-3 * torch.randn_like(true)
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(made(f0, loudness), true)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]


def test_training_statistics_are_part_of_the_weights():
    known = Training(50.0, 60.5, 71.0, -31.0, 9.0)
    source, loaded = instrument(), instrument()
    source.start_from(known)
    loaded.load_state_dict(source.state_dict())
    assert loaded.training_range == known
    assert float(semitones(torch.tensor(440.0))) == 69


@pytest.mark.parametrize("option", [{"hidden": 0}, {"harmonics": 0}, {"bands": 1}, {"latent": -1}, {"reverb_seconds": -1.0}])
def test_invalid_sizes_are_refused(option):
    ((name, value),) = option.items()
    with pytest.raises(InputError) as error:
        instrument(**option)
    assert (error.value.where, error.value.found) == (f"Instrument.{name}", value)


def test_latent_needs_a_waveform():
    f0, loudness = performance()
    with pytest.raises(InputError) as error:
        instrument(latent=4)(f0[None], loudness[None])
    assert error.value.where == "waveform"
    with pytest.raises(InputError) as error:
        instrument(latent=4).decode(f0[None], loudness[None], Playing())
    assert error.value.where == "coefficients"


def test_synthesiser_runs_in_float32_under_autocast():
    """The eight bits of a bfloat16 mantissa would add noise 50 dB below the tone."""
    net = instrument(harmonics=20, bands=9, reverb_seconds=0.0)
    f0, sounding = torch.full((1, 51), 220.0), Sounding(torch.ones(1, 51), torch.full((1, 51, 20), 0.05), torch.zeros(1, 51, 9))
    exact, _ = net._sound(f0, sounding, Playing(True, torch.Generator()), None)
    net.decode = lambda *_: sounding
    with torch.autocast("cpu", torch.bfloat16):
        sound, _ = net.play(f0, torch.zeros(1, 51), Playing(True, torch.Generator()))
        assert mfccs(torch.randn(1, 2000), RATE, HOP, 5).dtype == torch.float32
    assert sound.dtype == torch.float32 and torch.equal(sound, exact)
