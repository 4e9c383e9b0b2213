"""What protocols say: which sources are scored together, which windows count, what is refused."""

import hydra
import pytest
import torch

from tests.scoring.conftest import random_sources, spoilt
from unbraid.commands.cli import CONF
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.scoring.protocols import Protocol, with_improvements

NAMES = sorted(path.stem for path in (CONF / "protocol").glob("*.yaml"))
SOURCES = ["bass", "drums", "other", "vocals"]  # of the data set, sorted


def protocol(name: str, *overrides: str) -> Protocol:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", ["name=test", f"protocol={name}", *overrides])
    return build(config.protocol).at(8000, 1)


def weights(*targets: str) -> torch.Tensor:
    return torch.tensor([[float(source in target.split("+")) for source in SOURCES] for target in targets])


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_scores_and_says_what_it_did(name):
    one = protocol(name, "protocol.sample_rate=8000", "protocol.channels=1")
    source_group = one.source_group(["vocals"], weights("vocals"))
    reference = random_sources(len(source_group.names), 1, 20000)
    frames = one.score(reference, spoilt(reference), source_group.names)
    assert one.name == name
    assert [*frames] == [*source_group.names] == one.record(source_group)["together"]
    assert all([*measures] == [*one.measures] for measures in frames.values())
    windows = 1 if one.window_seconds is None else 2  # of a second each
    assert {len(values) for measures in frames.values() for values in measures.values()} == {windows}


def test_rate_and_channels_of_the_network_where_the_protocol_leaves_them_open():
    assert protocol("energy_ratios").format == (8000, 1)
    assert protocol("musdb18").format == (44100, 2)


def test_one_target_is_scored_together_with_the_rest_of_the_mixture():
    source_group = protocol("musdb18").source_group(["vocals"], weights("vocals"))
    sources = random_sources(4, 2, 100)
    mixture, estimate = sources.sum(dim=0), spoilt(sources)[3:]
    assert source_group.names == ("vocals", "accompaniment") and source_group.has_rest
    torch.testing.assert_close(source_group.references(sources), torch.stack([sources[3], sources[:3].sum(dim=0)]))
    torch.testing.assert_close(source_group.estimates(estimate, mixture), torch.stack([estimate[0], mixture - estimate[0]]))


def test_all_four_are_scored_together_in_the_order_of_the_targets():
    targets = ["drums", "vocals", "bass", "other"]
    source_group = protocol("musdb18").source_group(targets, weights(*targets))
    sources = random_sources(4, 1, 50)
    assert source_group.names == tuple(targets) and not source_group.has_rest
    torch.testing.assert_close(source_group.references(sources), sources[[1, 3, 0, 2]])
    torch.testing.assert_close(source_group.estimates(sources, sources.sum(dim=0)), sources)


def test_without_named_sets_the_rest_is_called_so():
    one = protocol("musdb18", "protocol.sources=null")
    assert one.source_group(["drums", "bass"], weights("drums", "bass")).names == ("drums", "bass", "rest")
    assert one.source_group(["all but bass", "bass"], weights("drums+other+vocals", "bass")).names == ("all but bass", "bass")


def test_energy_ratios_are_of_each_target_by_itself():
    source_group = protocol("energy_ratios").source_group(["vocals", "all"], weights("vocals", "bass+drums+other+vocals"))
    assert source_group.names == ("vocals", "all") and not source_group.has_rest


@pytest.mark.parametrize(
    ("overrides", "targets", "sentence"),
    [
        ([], ["drums"], r"musdb18: scores \[vocals, drums, bass, other\] or \[vocals, accompaniment\] together, found targets"),
        ([], ["vocals", "drums"], "and a rest; for others set protocol.sources=null"),
        ([], ["vocals", "vocals+drums"], "some share a source"),
        (["protocol.sources=null"], ["bass+drums+other+vocals"], "leave nothing that protocol musdb18 could score it against"),
        (["protocol.sources=[[vocals,accompaniment]]"], ["vocals", "drums", "bass+other"], "found targets"),
    ],
)
def test_targets_that_a_protocol_has_no_place_for(overrides, targets, sentence):
    with pytest.raises(InputError, match=sentence):
        protocol("musdb18", *overrides).source_group(targets, weights(*targets))


@pytest.mark.parametrize(
    ("name", "override", "sentence"),
    [
        ("musdb18", "protocol.version=null", "version is null, which measure=bss_eval needs"),
        ("musdb18", "protocol.taps=null", "taps is null, which measure=bss_eval needs"),
        ("musdb18", "protocol.taps=0", "taps must be above 0 or null, found 0"),
        ("musdb18", "protocol.window_seconds=-1", "window_seconds must be above 0 or null, found -1"),
        ("musdb18", "protocol.hop_seconds=0", "hop_seconds must be above 0 or null, found 0"),
        ("musdb18", "protocol.sample_rate=0", "sample_rate must be above 0 or null, found 0"),
        ("musdb18", "protocol.channels=3", "channels must be 1, 2 or null, found 3"),
        ("musdb18", "protocol.name=../x", r"name must be letters, digits, - _ and ., found '../x'"),
        ("energy_ratios", "protocol.taps=512", "taps must be null for measure=energy_ratios, found 512"),
        ("energy_ratios", "protocol.window_seconds=1", "window_seconds must be null for measure=energy_ratios"),
        ("energy_ratios", "protocol.sources=[[vocals]]", "sources must be null for measure=energy_ratios"),
    ],
)
def test_values_that_do_not_go_together(name, override, sentence):
    with pytest.raises(InputError, match=sentence):
        protocol(name, override)


def test_infinite_scores_are_undefined_as_in_museval():
    one = protocol("musdb18", "protocol.sample_rate=8000", "protocol.channels=1")
    reference = random_sources(2, 1, 16000)
    assert one.score(reference, reference, ["a", "b"])["a"]["SDR"] == [None, None]


def test_a_silent_window_is_undefined_for_all_or_for_its_own_source():
    reference = random_sources(2, 1, 16000)
    reference[1, :, :8000] = 0
    estimate = spoilt(reference)
    for silence, expected in {"any": [[True, False]] * 2, "own": [[False, False], [True, False]]}.items():
        one = protocol("musdb18", "protocol.sample_rate=8000", "protocol.channels=1", f"protocol.silence={silence}")
        frames = one.score(reference, estimate, ["a", "b"])
        assert [[value is None for value in frames[name]["SDR"]] for name in ("a", "b")] == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_mixture_gains_nothing_over_itself(name):
    one = protocol(name, "protocol.sample_rate=8000", "protocol.channels=1")
    reference = random_sources(2, 1, 16000)
    names = ("vocals", "accompaniment")
    mixture = one.score(reference, reference.sum(dim=0).expand_as(reference), names)
    improved = with_improvements(mixture, mixture)
    gains = [improved[n][m] for n in names for m in improved[n] if m not in one.measures]
    assert gains and all(value == 0 for values in gains for value in values)


def test_what_is_gained_is_the_difference_where_both_are_defined():
    better = with_improvements({"a": {"SDR": [5.0, None, 7.0]}}, {"a": {"SDR": [2.0, 1.0, None]}})
    assert better == {"a": {"SDR": [5.0, None, 7.0], "NSDR": [3.0, None, None]}}


def test_nsdr_of_version_3_does_not_depend_on_scale():
    one = protocol("ikala_nsdr")
    reference = random_sources(2, 1, 16000)
    estimate, mixture = spoilt(reference), reference.sum(dim=0).expand_as(reference)
    before = one.score(reference, mixture, ["a", "b"])
    gains = [with_improvements(one.score(reference, gain * estimate, ["a", "b"]), before)["a"]["NSDR"] for gain in (1, 0.1)]
    assert gains[0] == pytest.approx(gains[1], abs=1e-9) and gains[0][0] > 1
