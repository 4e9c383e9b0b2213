"""Several data sets in one run: common sources, unknown sources, weights, and draws that do not depend on workers."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.data.test_module import batches, module, same
from unbraid.data.layouts.musdb import MUSDB18
from unbraid.data.layouts.sets import DataSet, DataSets
from unbraid.data.layouts.stems import Stems
from unbraid.data.roots import places_in
from unbraid.data.sampler import ChunkSampler, Sampling
from unbraid.data.tracks import AudioStream, Listing, Track
from unbraid.runs.errors import InputError

OTHER = {"vocals": ["lead", "backing"], "drums": ["kit"]}


def stems(missing="error"):
    return Stems("mixture", missing, "auto", None, None, 0.0, 0.0)


@pytest.fixture
def roots(songs, tmp_path):
    """Return two data sets. In the second one, the sources are lead, backing and kit, without a mixture file."""
    second = tmp_path / "second"
    shutil.copytree(songs, second)
    for song in (second / split / name for split in ("train", "valid", "test") for name in _names(second / split)):
        for old, new in {"vocals": "lead", "other": "backing", "drums": "kit"}.items():
            (song / f"{old}.wav").rename(song / f"{new}.wav")
        for unused in ("bass", "mixture"):
            (song / f"{unused}.wav").unlink()
    return songs, second


def _names(folder):
    return [path.name for path in folder.iterdir()]


def both(roots, weight=1, rules=OTHER):
    return DataSets({"a": DataSet(MUSDB18(), str(roots[0])), "b": DataSet(stems(), str(roots[1]), weight, rules)})


def opened(roots, tmp_path, layout=None, **changes):
    targets = {name: [name] for name in ("bass", "drums", "vocals")}
    options = {"layout": layout or both(roots), "targets": targets, "batch_size": 8} | changes
    return module(tmp_path, tmp_path / "cache", **options)


def test_sources_are_renamed_and_summed(roots, tmp_path):
    data = opened(roots, tmp_path)
    assert data.sources == ["bass", "drums", "other", "vocals"]
    own = module(roots[1], tmp_path / "cache", layout=stems(), targets={"kit": ["kit"]})
    for track, original in zip(data.split("test")[1:], own.split("test"), strict=True):
        assert track.name == f"b - {original.name}" and track.unknown == ("bass", "other")
        summed = original.tensor(["lead", "backing"]).sum(dim=0)
        assert torch.allclose(track.tensor(["vocals"])[0], summed, atol=1e-4)
        assert torch.allclose(track.tensor(["mixture"]), original.tensor(["mixture"]), atol=1e-4)


def test_sources_of_another_set_are_unknown(roots, tmp_path):
    data = opened(roots, tmp_path)
    (batch,), (tracks, _) = batches(data, 1), data.sampler().draw(0)
    second = torch.tensor([data.split("train")[number].name.startswith("b - ") for number in tracks[:, 0]])
    assert second.any() and not second.all()
    assert torch.equal(batch.known, torch.stack([~second, torch.ones(8).bool(), torch.ones(8).bool()], dim=1))


@pytest.mark.parametrize("sampling", [Sampling("tracks", 0.0, None, 0.1), Sampling("time", 0.5, -40.0, 0.1)])
def test_workers_do_not_change_the_batches(roots, tmp_path, sampling):
    options = {"layout": both(roots, 2), "sampling": sampling}
    first, second = (batches(opened(roots, tmp_path, num_workers=workers, **options)) for workers in (0, 2))
    assert same(first, second)
    assert not same(first, batches(opened(roots, tmp_path, seed=1, **options)))


def test_weight_is_the_number_of_chunks(roots, tmp_path):
    data = opened(roots, tmp_path, both(roots, 3), batch_size=1)
    sampler, names = data.sampler(), [track.name for track in data.split("train")]
    drawn = [names[sampler.draw(step)[0][0, 0]] for step in range(sampler.steps_per_epoch)]
    assert {name: drawn.count(name) for name in names} == {n: 18 if n.startswith("b") else 6 for n in names}
    assert data.fingerprint() != opened(roots, tmp_path).fingerprint()


def test_weight_one_does_not_change_the_draws():
    holds, sampling = np.ones((3, 2), bool), Sampling("tracks", 0.5, None, 0.1)
    plain, weighted = (ChunkSampler(0, [9, 8, 7], holds, 2, 4, 4, sampling, weights=w) for w in (None, [1, 1, 1]))
    assert all(np.array_equal(plain.draw(step), weighted.draw(step)) for step in range(6))


def test_star_is_all_sources_without_a_rule(roots, tmp_path):
    layout = both(roots, rules={"drums": ["kit"], "other": ["*"]})
    tracks = layout.tracks(tmp_path).tracks
    (streams,) = {len(track.sources["other"]) for track in tracks if track.name.startswith("b")}
    assert streams == 2 and {track.unknown for track in tracks if track.name.startswith("b")} == {("bass", "vocals")}


def test_an_unknown_part_makes_the_sum_unknown(roots, tmp_path):
    song = sorted((roots[1] / "train").iterdir())[0]
    shutil.copy(song / "kit.wav", song / "mixture.wav")
    (song / "backing.wav").unlink()
    sets = DataSets({"b": DataSet(stems("unknown"), "second", 1, OTHER)})
    unknown = {track.name: track.unknown for track in sets.tracks(tmp_path).tracks if track.split == "train"}
    assert unknown[f"b - {song.name}"] == ("vocals",) and [*unknown.values()].count(()) == 1


@pytest.mark.parametrize(
    ("rules", "found"),
    [({"vocals": ["voice"]}, None), ({"vocals": ["lead"], "x": ["lead"]}, "lead"),
     ({"x": ["*"], "y": ["*"]}, "backing, kit, lead"), ({"lead": ["backing"]}, "lead")],
)  # fmt: skip
def test_invalid_rules_are_refused(roots, tmp_path, rules, found):
    with pytest.raises(InputError) as error:
        opened(roots, tmp_path, both(roots, rules=rules))
    assert (error.value.where, error.value.found) == ("data.layout.sets.b.rules", found)


def test_errors_name_the_data_set(roots, tmp_path):
    missing = DataSets({"a": DataSet(MUSDB18(), "nowhere")})
    with pytest.raises(InputError) as error:
        opened(roots, tmp_path, missing)
    assert error.value.where.startswith("data.layout.sets.a.root=") and error.value.where.endswith("nowhere")
    with pytest.raises(InputError) as error:
        opened(roots, tmp_path, DataSets({"b": DataSet(stems(), "nowhere")}), download=True)
    assert error.value.where == "data.download=true"
    wrong = Stems("mixture", "unknown", "auto", None, None, 0.0, 0.0, {"voice": ["x"]})
    with pytest.raises(InputError) as error:
        opened(roots, tmp_path, DataSets({"b": DataSet(wrong, str(roots[1]))}))
    assert error.value.where == "data.layout.sets.b.layout.absent"


def test_differences_of_recordings_are_refused(tmp_path):
    layout = SimpleNamespace(tracks=lambda _: Listing([Track("song", "train", {}, AudioStream(tmp_path / "a.wav"), "voice")]))
    with pytest.raises(InputError) as error:
        DataSets({"a": DataSet(layout, ".")}).tracks(tmp_path)
    assert error.value.where == "sets.a"


def test_invalid_options_are_refused():
    with pytest.raises(InputError) as error:
        DataSet(MUSDB18(), ".", 0)
    assert (error.value.where, error.value.found) == ("weight", 0)
    with pytest.raises(InputError) as error:
        DataSets({})
    assert error.value.where == "sets"


def test_folders_of_the_sets_are_remembered(roots):
    assert {*places_in(vars(both(roots)))} == {str(root) for root in roots}
