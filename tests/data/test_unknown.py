"""Tracks with unknown sources: the mask of a batch is right, and known targets sum to the mixture with the rest."""

import shutil

import pytest
import torch

from tests.data.test_module import batches, module, same
from unbraid.data.augmentation import Gain, MixUp, Remix
from unbraid.data.excluded_tracks import NO_KNOWN_TARGET
from unbraid.data.layouts.stems import Stems
from unbraid.data.sampler import Sampling
from unbraid.data.stretch import Stretch
from unbraid.runs.errors import InputError

FOUR = {name: [name] for name in ("bass", "drums", "other", "vocals")}
CASES = {
    "plain": {},
    "remix": {"sampling": Sampling("tracks", 0.5, None, 0.1)},
    "augmented": {"augmentation": {"gain": Gain(0.25, 1.25)}},
    "exchanged": {"augmentation": {"remix": Remix(0.7, None), "mixup": MixUp(0.5, 1, 1)}},
    "quiet skipped": {"sampling": Sampling("tracks", 0.2, -30.0, 0.5)},
    "over time": {"sampling": Sampling("time", 0.0, None, 0.1)},
}


def stems(**options):
    return Stems("mixture", "unknown", "auto", None, None, 0.0, 0.0, **options)


@pytest.fixture
def root(songs, tmp_path):
    """Return a copy of the songs. The first training song lacks the vocals, the second one lacks drums and bass."""
    folder = tmp_path / "songs"
    shutil.copytree(songs, folder)
    first, second = sorted((folder / "train").iterdir())[:2]
    for path in (first / "vocals.wav", second / "drums.wav", second / "bass.wav"):
        path.unlink()
    return folder


def opened(root, tmp_path, **changes):
    return module(root, tmp_path / "cache", **({"layout": stems(), "targets": FOUR, "batch_size": 6} | changes))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_known_targets_are_the_true_ones(root, songs, tmp_path, case):
    """The drawn songs are compared with the complete data set."""
    data = opened(root, tmp_path, **case)
    names = [track.name for track in data.split("train")]
    assert [track.unknown for track in data.split("train")][:2] == [("vocals",), ("bass", "drums")]
    seen = torch.zeros(4, dtype=torch.bool)
    for batch in batches(data):
        assert batch.known.shape == (6, 4) and not batch.known.all()
        assert not batch.sources[~batch.known].any()
        assert batch.mixture.isfinite().all() and batch.sources.isfinite().all()
        seen |= batch.known.any(dim=0)
        if case.get("augmentation") is None:
            assert torch.equal(batch.known, batch.sources.any(dim=(2, 3)) if batch.sources.any() else batch.known)
    assert seen.all() and len(names) == 2


def test_the_mixture_contains_the_unknown_sources(root, songs, tmp_path):
    whole = {track.name: track for track in opened(songs, tmp_path).split("train")}
    for remix in (0.0, 1e-9):  # the second value chooses the path for mixed sources
        data = opened(root, tmp_path, sampling=Sampling("tracks", remix, None, 0.1))
        (batch,), (tracks, starts) = batches(data, 1), data.sampler().draw(0)
        for mixture, number, start in zip(batch.mixture, tracks[:, 0], starts[:, 0], strict=True):
            expected = whole[data.split("train")[number].name].tensor(["mixture"])[0, :, start : start + 8192]
            assert torch.allclose(mixture, expected, atol=1e-6)


def test_remixed_chunks_are_completely_known(root, tmp_path):
    data = opened(root, tmp_path, sampling=Sampling("tracks", 1.0, None, 0.1))
    for batch in batches(data):
        assert batch.known.all() and torch.allclose(batch.mixture, batch.sources.sum(dim=1), atol=1e-6)


def test_exchanged_sources_stay_with_their_mixture(root, songs, tmp_path):
    """The mixture minus the known targets contains the unknown sources only, which are not augmented."""
    augmentation = {"remix": Remix(0.7, None)}
    data = opened(root, tmp_path, augmentation=augmentation)
    whole = {track.name: track for track in opened(songs, tmp_path).split("train")}
    (batch,), (tracks, starts) = batches(data, 1), data.sampler().draw(0)
    rest = batch.mixture - batch.sources.sum(dim=1)
    for example, number, start in zip(rest, tracks[:, 0], starts[:, 0], strict=True):
        track = data.split("train")[number]
        hidden = whole[track.name].tensor(track.unknown)[..., start : start + 8192].sum(dim=0)
        assert torch.allclose(example, hidden, atol=2e-4)


@pytest.mark.parametrize("case", [CASES["plain"], CASES["remix"], CASES["augmented"]])
def test_residency_does_not_change_the_batches(root, tmp_path, case, monkeypatch):
    disk, host = (batches(opened(root, tmp_path, residency=residency, **case)) for residency in ("disk", "host"))
    monkeypatch.setattr("unbraid.data.module.choose", lambda *_: "device")
    assert same(disk, host) and same(disk, batches(opened(root, tmp_path, **case)))


def test_songs_without_a_known_target_are_not_drawn(root, tmp_path):
    data = opened(root, tmp_path, targets={"vocals": ["vocals"]})
    tracks = {int(number) for step in range(4) for number in data.sampler().draw(step)[0][:, 0]}
    assert tracks == {1} and all(batch.known.all() for batch in batches(data))


def test_a_target_of_unknown_sources_is_unknown(root, tmp_path):
    data = opened(root, tmp_path, targets={"rhythm": ["drums", "bass"], "melody": ["other", "vocals"]})
    known = torch.cat([batch.known for batch in batches(data)])
    assert known.any(dim=0).all() and torch.equal(known[:, 0], ~known[:, 1])


def test_a_target_unknown_in_all_tracks_is_refused(root, tmp_path):
    for song in (root / "train").iterdir():
        (song / "vocals.wav").unlink(missing_ok=True)
    with pytest.raises(InputError) as error:
        opened(root, tmp_path)
    assert error.value.where == "targets.vocals"


def test_a_test_track_without_a_known_target_is_excluded(root, tmp_path):
    (song,) = (root / "valid").iterdir()
    shutil.copytree(song, root / "valid/without")
    (root / "valid/without/vocals.wav").unlink()
    data = opened(root, tmp_path, targets={"vocals": ["vocals"]})
    assert data.left_out == {"without": NO_KNOWN_TARGET} and len(data.split("valid")) == 1
    both = opened(root, tmp_path)
    masks = [batch.known for batch in both.in_order("valid")]
    assert [None if mask is None else mask.tolist() for mask in masks] == [None, [[True, True, True, False]]]


def test_absent_stems_are_silent_and_known(root, tmp_path):
    first = sorted((root / "train").iterdir())[0].name
    data = opened(root, tmp_path, layout=stems(absent={"vocals": [first]}))
    (track,) = (track for track in data.split("train") if track.name == first)
    assert track.unknown == () and not track.tensor(["vocals"]).any()
    assert data.fingerprint() != opened(root, tmp_path).fingerprint()


@pytest.mark.parametrize(
    ("absent", "where"),
    [({"voice": ["x"]}, "data.layout.absent"), ({"vocals": ["x"]}, "data.layout.absent.vocals"),
     ({"drums": ["0"]}, "data.layout.absent.drums")],
)  # fmt: skip
def test_invalid_absent_stems_are_refused(root, tmp_path, absent, where):
    first = sorted((root / "train").iterdir())[0].name
    absent = {stem: [first if name == "0" else name for name in names] for stem, names in absent.items()}
    with pytest.raises(InputError) as error:
        opened(root, tmp_path, layout=stems(absent=absent))
    assert error.value.where == where


def test_absent_stems_need_unknown_ones():
    with pytest.raises(InputError) as error:
        Stems("mixture", "silence", "auto", None, None, 0.0, 0.0, {"vocals": ["x"]})
    assert error.value.where == "absent" and error.value.found == "missing=silence"


def test_without_a_mixture_file_a_stem_is_silent(root, tmp_path):
    first = sorted((root / "train").iterdir())[0]
    (first / "mixture.wav").unlink()
    (track,) = (track for track in stems().tracks(root).tracks if track.name == first.name)
    assert track.unknown == () and track.sources["vocals"] == ()


def test_models_without_masks_refuse_unknown_sources(root, tmp_path):
    with pytest.raises(InputError) as error:
        opened(root, tmp_path).check_known()
    assert "vocals" in error.value.problem or "drums" in error.value.problem


def test_copies_at_another_pitch_know_all_sources(root, tmp_path):
    pytest.importorskip("python_stretch")
    data = opened(root, tmp_path, offline_augmentation={"high": Stretch(1.0, 1.0)})
    copies = [track for track in data.split("train") if track.is_copy]
    assert len(copies) == 2 and not any(track.unknown for track in copies)
    assert torch.allclose(copies[0].tensor(["mixture"])[0], copies[0].tensor(copies[0].sources).sum(dim=0), atol=1e-3)
