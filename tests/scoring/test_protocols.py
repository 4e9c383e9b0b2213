"""Protocols: sources that are scored together, undefined windows, improvements, and invalid values."""

import math

import hydra
import pytest
import torch

from tests.scoring.conftest import random_sources, spoilt
from unbraid.commands.cli import CONF
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.scoring.protocols import IMPROVEMENTS, Protocol, with_improvements

NAMES = sorted(path.stem for path in (CONF / "protocol").glob("*.yaml"))
PACKAGES = {"pesq": "pesq", "estoi": "pystoi"}  # optional packages, by protocol
RATES = {"log_wmse": 44100, "pesq": 16000}  # Hz, of protocols with a fixed sample rate
SOURCES = ["bass", "drums", "other", "vocals"]  # of the data set, sorted


def protocol(name: str, *overrides: str) -> Protocol:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", ["name=test", f"protocol={name}", *overrides])
    return build(config.protocol).at(8000, 1)


def small(name: str, *overrides: str) -> Protocol:
    """Return a protocol for mono at 8 kHz, or at the only rate of its measure."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    return protocol(name, f"protocol.sample_rate={RATES.get(name, 8000)}", "protocol.channels=1", *overrides)


def weights(*targets: str) -> torch.Tensor:
    return torch.tensor([[float(source in target.split("+")) for source in SOURCES] for target in targets])


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_scores_random_sources(name):
    one = small(name)
    source_group = one.source_group(["vocals"], weights("vocals"))
    reference = random_sources(len(source_group.names), 1, 20000)
    frames = one.score(reference, spoilt(reference), source_group.names, reference.sum(dim=0))
    assert one.name == name
    assert [*frames] == [*source_group.names] == one.record(source_group)["together"]
    assert all([*measures] == [*one.measures] for measures in frames.values())
    windows = 1 if one.window_seconds is None else 2  # of a second each
    assert {len(values) for measures in frames.values() for values in measures.values()} == {windows}


def test_rate_and_channels_default_to_the_network():
    assert protocol("energy_ratios").format == (8000, 1)
    assert protocol("musdb18").format == (44100, 2)


def test_one_target_is_scored_with_the_residual():
    source_group = protocol("musdb18").source_group(["vocals"], weights("vocals"))
    sources = random_sources(4, 2, 100)
    mixture, estimate = sources.sum(dim=0), spoilt(sources)[3:]
    assert source_group.names == ("vocals", "accompaniment") and source_group.has_rest
    torch.testing.assert_close(source_group.references(sources), torch.stack([sources[3], sources[:3].sum(dim=0)]))
    torch.testing.assert_close(source_group.estimates(estimate, mixture), torch.stack([estimate[0], mixture - estimate[0]]))


def test_four_targets_keep_their_order():
    targets = ["drums", "vocals", "bass", "other"]
    source_group = protocol("musdb18").source_group(targets, weights(*targets))
    sources = random_sources(4, 1, 50)
    assert source_group.names == tuple(targets) and not source_group.has_rest
    torch.testing.assert_close(source_group.references(sources), sources[[1, 3, 0, 2]])
    torch.testing.assert_close(source_group.estimates(sources, sources.sum(dim=0)), sources)


def test_default_name_of_the_residual():
    one = protocol("musdb18", "protocol.sources=null")
    assert one.source_group(["drums", "bass"], weights("drums", "bass")).names == ("drums", "bass", "rest")
    assert one.source_group(["all but bass", "bass"], weights("drums+other+vocals", "bass")).names == ("all but bass", "bass")


def test_energy_ratios_accept_overlapping_targets():
    source_group = protocol("energy_ratios").source_group(["vocals", "all"], weights("vocals", "bass+drums+other+vocals"))
    assert source_group.names == ("vocals", "all") and not source_group.has_rest


@pytest.mark.parametrize(
    ("overrides", "targets", "found"),
    [
        ([], ["drums"], "[drums] and a residual of the mixture"),
        ([], ["vocals", "drums"], "[vocals, drums] and a residual of the mixture"),
        ([], ["vocals", "vocals+drums"], "[vocals, vocals+drums]"),
        (["protocol.sources=null"], ["bass+drums+other+vocals"], "[bass+drums+other+vocals]"),
        (["protocol.sources=[[vocals,accompaniment]]"], ["vocals", "drums", "bass+other"], "[vocals, drums, bass+other]"),
    ],
)
def test_unsupported_targets_are_named(overrides, targets, found):
    with pytest.raises(InputError) as error:
        protocol("musdb18", *overrides).source_group(targets, weights(*targets))
    assert (error.value.where, error.value.found) == ("targets", found)


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("musdb18", "protocol.version=null"),
        ("musdb18", "protocol.taps=null"),
        ("musdb18", "protocol.taps=0"),
        ("musdb18", "protocol.window_seconds=-1"),
        ("musdb18", "protocol.hop_seconds=0"),
        ("musdb18", "protocol.sample_rate=0"),
        ("musdb18", "protocol.channels=3"),
        ("musdb18", "protocol.name=../x"),
        ("energy_ratios", "protocol.taps=512"),
        ("energy_ratios", "protocol.window_seconds=1"),
        ("energy_ratios", "protocol.sources=[[vocals]]"),
    ],
)
def test_invalid_values_are_named(name, override):
    with pytest.raises(InputError) as error:
        protocol(name, override)
    assert override.partition("=")[0] in str(error.value)


def test_perfect_estimates_have_infinite_scores():
    one = small("musdb18")
    reference = random_sources(2, 1, 16000)
    frames = one.score(reference, reference, ["a", "b"], reference.sum(dim=0))
    assert frames["a"]["SDR"] == [math.inf, math.inf]
    mixture = one.score(reference, reference.sum(dim=0).expand_as(reference), ["a", "b"], reference.sum(dim=0))
    assert with_improvements(frames, mixture)["a"]["NSDR"] == [math.inf, math.inf]
    assert with_improvements(mixture, frames)["a"]["NSDR"] == [None, None]


def test_silence_rules_any_and_own():
    reference = random_sources(2, 1, 16000)
    reference[1, :, :8000] = 0
    estimate = spoilt(reference)
    for silence, expected in {"any": [[True, False]] * 2, "own": [[False, False], [True, False]]}.items():
        one = small("musdb18", f"protocol.silence={silence}")
        frames = one.score(reference, estimate, ["a", "b"], reference.sum(dim=0))
        assert [[value is None for value in frames[name]["SDR"]] for name in ("a", "b")] == expected


@pytest.mark.parametrize("name", NAMES)
def test_improvement_of_the_mixture_is_zero(name):
    one = small(name)
    reference = random_sources(2, 1, 16000)
    names = ("vocals", "accompaniment")
    mixture = one.score(reference, reference.sum(dim=0).expand_as(reference), names, reference.sum(dim=0))
    improved = with_improvements(mixture, mixture)
    gains = [improved[n][m] for n in names for m in improved[n] if m not in one.measures]
    assert bool(gains) == any(measure in IMPROVEMENTS for measure in one.measures)
    assert all(value == 0 for values in gains for value in values)


def test_improvement_needs_both_scores():
    improved = with_improvements({"a": {"SDR": [5.0, None, 7.0]}}, {"a": {"SDR": [2.0, 1.0, None]}})
    assert improved == {"a": {"SDR": [5.0, None, 7.0], "NSDR": [3.0, None, None]}}


def test_nsdr_of_version_3_ignores_scale():
    one = protocol("ikala_nsdr")
    reference = random_sources(2, 1, 16000)
    estimate, mixture = spoilt(reference), reference.sum(dim=0).expand_as(reference)
    before = one.score(reference, mixture, ["a", "b"], reference.sum(dim=0))
    gains = [
        with_improvements(one.score(reference, gain * estimate, ["a", "b"], reference.sum(dim=0)), before)["a"]["NSDR"]
        for gain in (1, 0.1)
    ]
    assert gains[0] == pytest.approx(gains[1], abs=1e-9) and gains[0][0] > 1
