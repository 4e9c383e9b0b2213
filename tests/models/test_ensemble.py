"""Ensembles: combinations of estimates, chunks of each member's own length, normalised songs, and members that do not fit."""

import numpy as np
import pytest
import torch
from torch import nn

from unbraid.inference.chunked import InferenceOptions, separate
from unbraid.inference.export.graphs import in_real_numbers
from unbraid.inference.member_streams import in_step
from unbraid.models.separators.ensemble import Ensemble
from unbraid.models.separators.waveform import WaveformSeparator
from unbraid.runs.errors import InputError

RATE = 8192


class Shares(nn.Module):
    """Network whose sources are shares of the mixture, and which depends on the length of its chunk."""

    def __init__(self, sources: int, shares: tuple[float, ...]) -> None:
        super().__init__()
        self.shares = nn.Parameter(torch.tensor(shares[:sources]))

    def forward(self, mixture):
        ramp = torch.linspace(0.9, 1.1, mixture.shape[-1])
        return self.shares[None, :, None, None] * (mixture * ramp + 0.01)[:, None]


def member(*shares, seconds=1.0, targets=("vocals", "drums"), rate=RATE, channels=1, normalisation="none"):
    separator = WaveformSeparator(lambda n: Shares(n, shares), targets, rate, channels, seconds, normalisation)
    return separator.eval()


def combined(members, mode="weights", **options):
    return Ensemble(members, ["vocals", "drums"], RATE, 1, 2.0, mode, **options).eval()


@pytest.fixture
def mixture():
    torch.manual_seed(0)
    return torch.randn(1, 25 * RATE + 77)  # longer than two stretches


@pytest.mark.parametrize("mode", ["mean", "median", "min", "max"])
def test_waveform_modes_are_those_of_numpy(mode):
    estimates = torch.randn(4, 2, 1, 500)
    found = combined([member(1.0, 1.0) for _ in range(4)], mode).combine(estimates).numpy()
    values = estimates.numpy()
    chosen = {"min": np.abs(values).argmin(0), "max": np.abs(values).argmax(0)}.get(mode)
    expected = getattr(np, mode)(values, axis=0) if chosen is None else np.take_along_axis(values, chosen[None], 0)[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_magnitude_modes_of_scaled_copies():
    wave = torch.randn(2, 1, 5000)
    estimates = torch.stack([0.5 * wave, 2 * wave, wave])
    for mode, factor in {"mean": 3.5 / 3, "median": 1, "min": 0.5, "max": 2}.items():
        found = combined([member(1.0, 1.0) for _ in range(3)], f"{mode}_magnitude").combine(estimates)
        torch.testing.assert_close(found, factor * wave, atol=1e-4, rtol=0)


def test_largest_magnitude_keeps_each_tone():
    time = torch.arange(RATE) / RATE
    low, high = (torch.sin(2 * torch.pi * hertz * time).expand(2, 1, -1) for hertz in (300, 2000))
    found = combined([member(1.0, 1.0), member(1.0, 1.0)], "max_magnitude").combine(torch.stack([low, high]))
    assert (found - low - high)[..., 1000:-1000].abs().max() < 0.02


def test_each_band_gets_its_own_weights():
    time = torch.arange(RATE) / RATE
    low, high = (torch.sin(2 * torch.pi * hertz * time).expand(2, 1, -1) for hertz in (300, 2000))
    model = combined([member(1.0, 1.0), member(1.0, 1.0)], edges_hz=[1000.0])
    model.weights[0] = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    model.weights[1] = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    vocals, drums = model.combine(torch.stack([low + high, torch.zeros_like(low)]))
    assert (vocals - low[0] - 0.25 * high[0])[..., 1000:-1000].abs().max() < 0.01
    assert drums.abs().max() == 0


@pytest.mark.parametrize("mode", ["weights", "median_magnitude"])
def test_blocks_equal_the_whole_song(mixture, mode):
    members = [member(0.2, 0.9, seconds=1.0), member(0.5, 0.4, seconds=1.7), member(0.1, 0.8, seconds=0.9)]
    model = combined(members, mode, edges_hz=[500.0, 2000.0])
    model.weights[:] = torch.rand(2, 3, 3).softmax(dim=-1)
    whole = model.combine(torch.stack([separate(one, mixture) for one in members]))
    torch.testing.assert_close(separate(model, mixture), whole, atol=1e-6, rtol=0)


def test_weight_of_one_is_exactly_that_member(mixture):
    members = [member(0.2, 0.9), member(0.4, 0.5, seconds=1.7, targets=("drums", "vocals"))]
    model = combined(members, edges_hz=[500.0])
    for number in range(2):
        model.weights[:] = nn.functional.one_hot(torch.tensor(number), 2)
        expected = model.in_order(number, separate(members[number], mixture))
        assert torch.equal(separate(model, mixture), expected)


def test_members_keep_their_own_normalisation_and_options(mixture):
    mixture = 3 * mixture + 0.5
    members = [member(0.2, 0.9, normalisation="song"), member(0.5, 0.4), member(0.3, 0.3, normalisation="chunk")]
    model = combined(members, "mean", inference=[{}, {"overlap": 0.5, "join": "average"}, {}])
    own = [InferenceOptions(), InferenceOptions(overlap=0.5, join="average"), InferenceOptions()]
    expected = torch.stack([separate(one, mixture, options) for one, options in zip(members, own, strict=True)]).mean(dim=0)
    torch.testing.assert_close(separate(model, mixture), expected, atol=1e-5, rtol=0)
    typed = InferenceOptions(overlap=0.25)  # the option of the command has priority
    second = separate(members[1], mixture, InferenceOptions(overlap=0.25, join="average"))
    expected = (separate(members[0], mixture, typed) + second + separate(members[2], mixture, typed)) / 3
    torch.testing.assert_close(separate(model, mixture, typed), expected, atol=1e-5, rtol=0)


def test_forward_separates_a_batch():
    model = combined([member(0.2, 0.9), member(0.4, 0.5, targets=("drums", "vocals"))])
    mixture = torch.randn(3, 1, 2 * RATE)
    estimate = model(mixture)
    ramp = torch.linspace(0.9, 1.1, 2 * RATE) * mixture[:, None] + 0.01
    expected = torch.cat([0.35 * ramp, 0.65 * ramp], dim=1)
    torch.testing.assert_close(estimate.sources, expected)
    assert model.training_target(mixture, expected, estimate).sources is expected


def test_blocks_of_different_lengths_are_stacked():
    signal = torch.arange(10.0)[None]
    streams = [signal.split([3, 0, 7], dim=1), (2 * signal).split([1, 8, 1], dim=1)]
    found = torch.cat([*in_step(streams)], dim=-1)
    assert torch.equal(found, torch.stack([signal, 2 * signal])) and [*in_step([[], []])] == []


@pytest.mark.parametrize(
    ("second", "where", "found"),
    [
        ({"targets": ("vocals", "bass")}, "members[1]", "vocals, bass, 8192 Hz, mono"),
        ({"rate": 16000}, "members[1]", "vocals, drums, 16000 Hz, mono"),
        ({"channels": 2}, "members[1]", "vocals, drums, 8192 Hz, stereo"),
    ],
)
def test_members_that_do_not_fit_are_refused(second, where, found):
    with pytest.raises(InputError) as error:
        combined([member(1.0, 1.0), member(1.0, 1.0, **second)])
    assert (error.value.where, error.value.found) == (where, found)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"mode": "loudest"}, "mode"),
        ({"edges_hz": [500.0, 500.0]}, "edges_hz"),
        ({"edges_hz": [4096.0]}, "edges_hz"),
        ({"inference": [{}]}, "inference"),
        ({"inference": [{}, {"shifts": 2}]}, "inference"),
        ({"members": [member(1.0, 1.0)]}, "members"),
        ({"targets": ["vocals", "bass"]}, "targets"),
        ({"sample_rate": 16000}, "targets"),
    ],
)
def test_invalid_arguments_of_an_ensemble(changes, where):
    arguments = {"members": [member(1.0, 1.0), member(1.0, 1.0)], "targets": ["vocals", "drums"]}
    arguments |= {"sample_rate": RATE, "channels": 1, "chunk_seconds": 2.0} | changes
    with pytest.raises(InputError) as error:
        Ensemble(**arguments)
    assert error.value.where == where


def test_an_ensemble_is_not_exported():
    with pytest.raises(InputError) as error:
        in_real_numbers(combined([member(1.0, 1.0), member(1.0, 1.0)], "median"))
    assert (error.value.where, error.value.found) == ("model.separator", "mode=median")
