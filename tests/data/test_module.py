"""Batches of `MultitrackData` equal the samples of the tracks, for every residency, number of workers and rank."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.data import twins
from unbraid.data import banks
from unbraid.data.augmentation import Gain, Polarity
from unbraid.data.banks import DeviceBank, HostBank, choose
from unbraid.data.layouts.musdb import MUSDB18
from unbraid.data.layouts.pairs import Pairs
from unbraid.data.layouts.singles import Singles
from unbraid.data.layouts.stems import Stems
from unbraid.data.module import MultitrackData
from unbraid.data.sampler import Sampling
from unbraid.data.silence import SilentChunks
from unbraid.data.stretch import Stretch
from unbraid.runs.errors import InputError

VOCALS = {"vocals": ["vocals"]}
BOTH = VOCALS | {"accompaniment": ["-vocals"]}


def module(folder, tmp_path, **changes):
    options = {
        "layout": MUSDB18(), "root": str(folder), "download": False, "targets": VOCALS, "sample_rate": 8192, "channels": 1,
        "surround": "downmix", "chunk_seconds": 1.0, "batch_size": 4, "chunks_per_track": 6,
        "sampling": Sampling("tracks", 0.0, None, 0.1),
        "augmentation": {}, "offline_augmentation": {},
        "residency": "disk", "num_workers": 0, "num_decode_workers": None, "cache_dir": str(tmp_path),
        "seed": 0,
    }  # fmt: skip
    data = MultitrackData(**(options | changes))
    data.prepare_data()
    data.setup("fit")
    return data


def batches(data, count=None):
    """Return the first batches of an epoch as they are passed to the network."""
    return [
        data.on_after_batch_transfer(chunks) for chunks, _ in zip(data.train_dataloader(), range(count or 10**6), strict=False)
    ]


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x[:2], y[:2], strict=True)
    )


def test_batch_equals_chunks_of_the_tracks(songs, tmp_path):
    data = module(songs, tmp_path, batch_size=12)
    (batch,), sampler = batches(data), data.sampler()
    tracks, starts = sampler.draw(0)
    assert set(tracks[:, 0]) == {0, 1}
    assert batch.mixture.shape == (12, 1, 8192) and batch.sources.shape == (12, 1, 1, 8192)
    for i, (track, start) in enumerate(zip(tracks[:, 0], starts[:, 0], strict=True)):
        stored = data.split("train")[track]
        expected = stored.tensor()[..., start : start + 8192]
        assert torch.allclose(batch.mixture[i], expected[0]) and torch.allclose(batch.sources[i, 0], expected[4])


@pytest.mark.parametrize("targets", [VOCALS, BOTH, {"x": ["bass", "drums"], "y": ["other"]}])
def test_targets_are_sums(songs, tmp_path, targets):
    data = module(songs, tmp_path, targets=targets)
    everything = batches(module(songs, tmp_path, targets={name: [name] for name in data.sources}))
    for batch, whole in zip(batches(data), everything, strict=True):
        assert torch.equal(batch.mixture, whole.mixture)
        expected = torch.einsum("sr,brcn->bscn", data.target_weights(), whole.sources)
        assert torch.allclose(batch.sources, expected, atol=1e-6)


def test_only_rows_of_targets_are_read(songs, tmp_path):
    assert module(songs, tmp_path).rows().names == ["mixture", "vocals"]
    assert module(songs, tmp_path, targets=BOTH).rows().names == ["mixture", "vocals", "bass", "drums", "other"]
    assert module(songs, tmp_path, augmentation={"gain": Gain(1, 1)}).rows().names == ["vocals", "bass", "drums", "other"]


CASES = {
    "plain": {},
    "remix": {"sampling": Sampling("tracks", 0.7, None, 0.1)},
    "over time": {"sampling": Sampling("time", 0.0, None, 0.1)},
    "augmented": {"augmentation": {"gain": Gain(0.25, 1.25), "polarity": Polarity(0.5), "none": None}},
    "quiet skipped": {"sampling": Sampling("tracks", 0.2, -30.0, 0.5)},
    "random lengths": {"sampling": Sampling("tracks", 0.5, -30.0, 0.5, 0.3)},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_workers_do_not_change_the_batches(songs, tmp_path, case):
    without_workers, with_workers = (
        batches(module(songs, tmp_path, num_workers=num_workers, **case)) for num_workers in (0, 2)
    )
    assert len(without_workers) == 3  # 6 chunks of 2 tracks in batches of 4
    assert same(without_workers, with_workers)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_residency_does_not_change_the_batches(songs, tmp_path, case, monkeypatch):
    disk, host = (batches(module(songs, tmp_path, residency=residency, **case)) for residency in ("disk", "host"))
    monkeypatch.setattr("unbraid.data.module.choose", lambda *_: "device")
    device = module(songs, tmp_path, **case)
    assert device.train_dataloader().dataset.bank is None
    assert same(disk, host) and same(disk, batches(device))


@pytest.mark.parametrize("residency", ["disk", "host"])
@pytest.mark.parametrize("remix", [0.0, 1.0])
def test_sources_are_normalised_by_their_own_songs(songs, tmp_path, remix, residency):
    """The sources of an example have different scales if they are remixed."""
    stems = ("bass", "drums", "other", "vocals")
    options = {"sampling": Sampling("tracks", remix, None, 0.1), "targets": {stem: [stem] for stem in stems}}
    plain, normalised = (module(songs, tmp_path, residency=residency, **options) for _ in range(2))
    normalised.normalise_songs()
    mono = [track.tensor(["mixture"])[0].mean(dim=0) for track in plain.split("train")]
    mean, deviation = (torch.tensor([float(f(x)) for x in mono]) for f in (torch.mean, torch.std))
    for step, (raw, batch) in enumerate(zip(batches(plain), batches(normalised), strict=True)):
        tracks = torch.from_numpy(plain.sampler().draw(step)[0])
        assert not remix or (tracks != tracks[:, :1]).any()
        expected = (raw.sources - mean[tracks][..., None, None]) / deviation[tracks][..., None, None]
        torch.testing.assert_close(batch.sources, expected, rtol=1e-4, atol=1e-5)
        if remix:
            torch.testing.assert_close(batch.mixture, expected.sum(dim=1), rtol=1e-4, atol=1e-5)
        else:
            of_song = mean[tracks[:, :1, None]], deviation[tracks[:, :1, None]]
            torch.testing.assert_close(batch.mixture, (raw.mixture - of_song[0]) / of_song[1], rtol=1e-4, atol=1e-5)


def test_validation_tracks_keep_their_scale(songs, tmp_path):
    plain, normalised = (module(songs, tmp_path) for _ in range(2))
    normalised.normalise_songs()
    assert same([*plain.val_dataloader()], [*normalised.val_dataloader()])


def test_each_batch_has_a_random_length(songs, tmp_path):
    options = {"sampling": Sampling("tracks", 0.0, None, 0.1, 0.5), "chunks_per_track": 100}
    data = module(songs, tmp_path, **options)
    whole, drawn = batches(module(songs, tmp_path, chunks_per_track=100)), batches(data)
    lengths = [batch.mixture.shape[-1] for batch in drawn]
    assert lengths == [data.sampler().samples(step) for step in range(50)] and len({*lengths}) > 45
    assert 4096 <= min(lengths) < 4300 and 7900 < max(lengths) <= 8192
    for batch, long in zip(drawn, whole, strict=True):
        assert torch.equal(batch.mixture, long.mixture[..., : batch.mixture.shape[-1]])


@pytest.mark.parametrize("seconds", [0.0, 1.1])
def test_a_shortest_chunk_out_of_range_is_refused(songs, tmp_path, seconds):
    with pytest.raises(InputError) as error:
        module(songs, tmp_path, sampling=Sampling("tracks", 0.0, None, 0.1, seconds))
    assert (error.value.where, error.value.found) == ("sampling.shortest_seconds", f"{seconds:g} s")


def test_a_chunk_is_silent_if_its_own_length_is(songs, tmp_path):
    """The second half of the track contains vocals, the first half does not."""
    track = module(songs, tmp_path).split("train")[0]
    levels = track.levels()
    levels[track.row("vocals"), :15] = -127
    levels.tofile(track.entry / "levels.i8")
    chunks = SilentChunks([track], ["vocals"], torch.ones(1, 1), 8192, -60.0)
    start = np.zeros((1, 1), np.int64)
    assert [bool(chunks(start, start, samples)) for samples in (8192, 2 * 8192)] == [True, False]


def test_batches_depend_on_the_seed(songs, tmp_path):
    first, again, other = (batches(module(songs, tmp_path, seed=seed, **CASES["augmented"])) for seed in (0, 0, 1))
    assert same(first, again) and not same(first, other)


@pytest.mark.parametrize("case", ["remix", "augmented"])
def test_mixture_is_sum_of_augmented_sources(songs, tmp_path, case):
    targets = {name: [name] for name in ("bass", "drums", "other", "vocals")}
    for batch in batches(module(songs, tmp_path, targets=targets, **CASES[case])):
        assert torch.allclose(batch.mixture, batch.sources.sum(dim=1), atol=1e-6)


def test_augmentations_have_independent_random_streams(songs, tmp_path):
    gain = {"gain": Gain(0.25, 1.25)}
    alone, second = (batches(module(songs, tmp_path, augmentation=a)) for a in (gain, {"polarity": Polarity(0.0)} | gain))
    assert same(alone, second)


@pytest.mark.parametrize("residency", ["host", "device"])
def test_short_track_is_padded_with_silence(songs, tmp_path, residency):
    tracks = module(songs, tmp_path).split("train")
    chunk, cpu = 5 * 8192, torch.device("cpu")
    bank = (
        HostBank(tracks, ["vocals"], load=False, scaled=False)
        if residency == "host"
        else DeviceBank(tracks, ["vocals"], chunk, cpu)
    )
    rows = bank.gather(torch.tensor([[0], [1]]), torch.zeros(2, 1, dtype=torch.int64), chunk)
    assert rows.shape == (2, 1, 1, chunk) and rows.dtype == torch.int16
    assert (rows[..., 3 * 8192 :] == 0).all() and np.array_equal(rows[1, 0, 0, : 3 * 8192], tracks[1].samples[4, 0])


def test_quiet_chunks_are_skipped(songs, tmp_path):
    """Chunks are not drawn from the first half of the tracks, in which the vocals are silent."""
    data = module(songs, tmp_path)
    tracks = data.split("train")
    for track in tracks:
        samples, levels = np.array(track.samples), track.levels()
        samples[track.row("vocals"), :, : track.length // 2] = 0
        levels[track.row("vocals"), :15] = -127
        samples.tofile(track.entry / "samples.i16")
        levels.tofile(track.entry / "levels.i8")
    quiet = Sampling("tracks", 0.0, -60.0, 0.0)
    starts = [module(songs, tmp_path, chunks_per_track=100, sampling=quiet).sampler().draw(step)[1] for step in range(40)]
    assert min(start.min() for start in starts) >= 0.4 * 8192  # a chunk of one second from here contains some vocals
    assert np.concatenate([module(songs, tmp_path).sampler().draw(step)[1] for step in range(40)]).min() < 1000


@pytest.mark.slow
def test_stretched_copies_are_training_tracks(songs, tmp_path):
    data = module(songs, tmp_path, offline_augmentation={"slow": Stretch(0.0, 1.5), "high": Stretch(2.0, 1.0), "none": None})
    assert len(data.split("train")) == 6 and len(data.split("valid")) == len(data.split("test")) == 1
    assert [track.length for track in data.split("train")] == [3 * 8192] * 2 + [2 * 8192] * 2 + [3 * 8192] * 2
    assert len({track.name for track in data.tracks}) == 8


def test_listed_tracks_are_excluded(songs, tmp_path):
    data = module(songs, tmp_path, exclude=["song 1"])
    assert [track.name for track in data.tracks] == ["song 0", "song 2", "song 3"]
    assert [*data.left_out] == ["song 1"] and "data.exclude" in data.left_out["song 1"]
    assert [track.name for track in data.whole("test", 8192, 1)] == ["song 3"]
    with pytest.raises(InputError) as caught:
        module(songs, tmp_path, exclude=["song 0", "sogn 1"])
    assert (caught.value.where, caught.value.found) == ("data.exclude", "sogn 1") and "'song 1'" in caught.value.hint
    with pytest.raises(InputError) as caught:
        module(songs, tmp_path, exclude=["nothing like this"])
    assert "dry_run=true" in caught.value.hint


def test_unrelated_sources_are_mixed(tmp_path):
    root = twins.singles(tmp_path / "root")
    data = module(root, tmp_path / "cache", layout=Singles(0.2, 0.2), targets={"all": ["piano", "voice"], "voice": ["voice"]})
    assert data.rows().names == data.sources == ["piano", "voice"]
    for batch in batches(data):
        assert torch.allclose(batch.mixture, batch.sources[:, 0], atol=1e-6)
        piano = batch.sources[:, 0] - batch.sources[:, 1]
        assert all((source.abs().amax(dim=(1, 2)) > 0).all() for source in (piano, batch.sources[:, 1]))
    (whole, *_) = data.val_dataloader()
    assert torch.allclose(whole.mixture, whole.sources[:, 0], atol=1e-3)


def test_vocals_of_pairs_are_a_residual(tmp_path):
    root = twins.pairs(tmp_path / "root")
    data = module(root, tmp_path / "cache", layout=Pairs("mixture", "instrumental", None, 0.2, 0.2), targets=BOTH)
    (batch, *_), (whole, *_) = batches(data), data.val_dataloader()
    assert batch.magnitude_difference == whole.magnitude_difference == (True, False)
    assert torch.allclose(batch.mixture, batch.sources.sum(dim=1), atol=1e-3)


def test_validation_reads_whole_tracks_without_augmentation(songs, tmp_path):
    data = module(songs, tmp_path, **CASES["augmented"])
    (batch,) = data.val_dataloader()
    assert batch.mixture.shape == (1, 1, 3 * 8192)
    assert torch.equal(data.on_after_batch_transfer(batch).mixture[0], data.split("valid")[0].tensor()[0])


def test_ranks_validate_on_different_tracks(songs, tmp_path):
    data = module(songs, tmp_path)
    data.tracks = [replace(track, split="valid") for track in data.tracks]
    seen = []
    for rank in range(2):
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(
            global_rank=rank, world_size=2, num_nodes=1, accumulate_grad_batches=1, strategy=strategy
        )
        seen.append([track.name for track in data.val_dataloader().dataset.tracks])
    assert seen == [["song 0", "song 2"], ["song 1", "song 3"]]


def test_loaders_are_unsized_with_too_few_tracks(songs, tmp_path):
    """Lightning skips validation if the length of a loader is 0, and the other processes would wait."""
    data = module(songs, tmp_path)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    for rank, names in enumerate((["song 2"], [])):
        data.trainer = SimpleNamespace(
            global_rank=rank, world_size=2, num_nodes=1, accumulate_grad_batches=1, strategy=strategy
        )
        loader = data.val_dataloader()
        with pytest.raises(TypeError):
            len(loader)
        assert [track.name for track in loader.dataset.tracks] == names and len(list(loader)) == len(names)


STEMS = {"mixture": "mixture", "missing": "error", "lengths": "auto", "sources": None, "manifest": None}


def stems_module(root, tmp_path, **options):
    layout = Stems(**{**STEMS, "valid": 0.1, "test": 0.1, **options})
    return module(root, tmp_path / "cache", layout=layout, targets={"voice": ["voice"]}, chunk_seconds=0.01)


@pytest.mark.parametrize(
    ("count", "options", "found", "hint"),
    [
        (1, {}, "1 tracks (0 train, 0 valid, 1 test)", "Add at least 2 more"),
        (2, {}, "2 tracks (0 train, 1 valid, 1 test)", "Add at least 1 more"),
        (3, {"valid": 0.7}, "3 tracks (0 train, 2 valid, 1 test)", "data.layout.valid=0.1"),
        (4, {"valid": 0}, "4 tracks (3 train, 0 valid, 1 test)", "data.layout.valid=0.1"),
    ],
)
def test_too_few_tracks_are_counted(tmp_path, count, options, found, hint):
    for number in range(count):
        twins.empty(tmp_path / f"root/song {number}/voice.wav")
    with pytest.raises(InputError) as caught:
        stems_module(tmp_path / "root", tmp_path, **options)
    assert caught.value.found == found and hint in caught.value.hint


def test_listing_errors_are_raised_before_decoding(tmp_path):
    root = twins.stems(tmp_path / "root")
    with pytest.raises(InputError) as caught:
        stems_module(root, tmp_path, sources={"voice": "voice", "bass": "bass", "rest": "*"})
    assert caught.value.where == "data.layout.sources.bass" and caught.value.problem
    assert not (tmp_path / "cache").exists()


def test_notices_name_files_and_repairs(tmp_path):
    root = twins.stems(tmp_path / "root")
    twins.empty(root / "train/one/voice.mp3")
    twins.write(root / "train/two/voice.flac", twins.sound("longer", 300), 4000)
    assert [notice.split(":")[0] for notice in stems_module(root, tmp_path).notices()] == [
        "train/one/voice.mp3", "resampled files", "unequal lengths",
    ]  # fmt: skip


GB = 10**9


@pytest.mark.parametrize(
    ("residency", "needed", "kind", "processes", "chosen"),
    [
        ("auto", 5 * GB, "cuda", 1, "device"),
        ("auto", 7 * GB, "cuda", 1, "host"),
        ("auto", 5 * GB, "cpu", 1, "host"),
        ("auto", 7 * GB, "cpu", 8, "disk"),
        ("auto", 11 * GB, "cpu", 1, "disk"),
        ("disk", 99 * GB, "cpu", 1, "disk"),
        ("host", 19 * GB, "cuda", 1, "host"),
        ("device", 9 * GB, "cuda", 1, "device"),
    ],
)
def test_fastest_residency_with_enough_memory_is_chosen(residency, needed, kind, processes, chosen, monkeypatch):
    monkeypatch.setattr(banks.psutil, "virtual_memory", lambda: SimpleNamespace(available=20 * GB))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * GB, 80 * GB))
    assert choose(residency, needed, torch.device(kind), processes) == chosen


@pytest.mark.parametrize(
    ("residency", "needed", "kind", "found", "expected"),
    [("host", 21 * GB, "cpu", "20.0 GB free", "21.0 GB"), ("device", 11 * GB, "cuda", "10.0 GB free", "11.0 GB")],
)
def test_residency_without_enough_memory_is_refused(residency, needed, kind, found, expected, monkeypatch):
    monkeypatch.setattr(banks.psutil, "virtual_memory", lambda: SimpleNamespace(available=20 * GB))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * GB, 80 * GB))
    with pytest.raises(InputError) as error:
        choose(residency, needed, torch.device(kind), 1)
    assert error.value.where == f"data.residency={residency}"
    assert (error.value.found, error.value.expected) == (found, expected)


def test_residence_names_size_and_location(songs, tmp_path):
    assert module(songs, tmp_path).residence() == "0.2 MB on disk"
    assert module(songs, tmp_path, residency="auto").residence() == "0.2 MB in RAM"


@pytest.mark.parametrize(
    ("option", "value", "where"),
    [
        ("batch_size", 0, "batch_size"),
        ("chunks_per_track", 0, "chunks_per_track"),
        ("num_decode_workers", 0, "num_decode_workers"),
        ("cache_dir", "", "cache_dir"),
        ("root", "", "root"),
        ("num_workers", -1, "num_workers"),
        ("root", "/nowhere", "data.root=/nowhere"),
    ],
)
def test_arguments_out_of_range_are_refused(songs, tmp_path, option, value, where):
    with pytest.raises(InputError) as error:
        module(songs, tmp_path, **{option: value})
    assert error.value.where.startswith(where)


def test_empty_split_is_refused_before_decoding(own_songs, tmp_path):
    (own_songs / "valid").rename(own_songs / "other")
    with pytest.raises(InputError) as caught:
        module(own_songs, tmp_path / "cache")
    assert "valid" in caught.value.problem and caught.value.found == "3 tracks (2 train, 0 valid, 1 test)"
    assert str(own_songs / "valid") in caught.value.hint
    assert not (tmp_path / "cache").exists()


def test_unknown_source_is_refused_before_decoding(songs, tmp_path):
    with pytest.raises(InputError) as error:
        module(songs, tmp_path / "cache", targets={"x": ["piano"]})
    assert error.value.where == "targets.x"
    assert not (tmp_path / "cache").exists()


def test_data_without_pairs_is_refused(tmp_path):
    root = twins.pairs(tmp_path / "root")
    for path in (root / "instrumental").iterdir():
        path.rename(path.with_stem(f"{path.stem} karaoke"))
    with pytest.raises(InputError) as error:
        module(root, tmp_path / "cache", layout=Pairs("mixture", "instrumental", None, 0.2, 0.2))
    assert str(root) in str(error.value)


def test_target_is_silent_if_all_sources_are(songs, tmp_path):
    track = module(songs, tmp_path).split("train")[0]
    levels = track.levels()
    levels[track.row("drums"), :] = -127
    levels.tofile(track.entry / "levels.i8")
    draw = np.zeros((1, 2), np.int64), np.zeros((1, 2), np.int64)
    for targets, silent in (([[1, 1]], False), ([[1, 0]], True), ([[0, 1]], False), ([[1, 0], [0, 1]], True)):
        chunks = SilentChunks([track], ["drums", "bass"], torch.tensor(targets), 8192, -60.0)
        assert chunks(*draw, 8192).tolist() == [silent]


def test_ranks_augment_differently(songs, tmp_path):
    data = module(songs, tmp_path, **CASES["augmented"])
    (first, *_) = data.train_dataloader()
    batch = data.mixer(first)
    data.mixer.rank = 1
    assert not torch.equal(batch.mixture, data.mixer(first).mixture)


def test_missing_gpu_is_refused_before_decoding(songs, tmp_path):
    data = module(songs, tmp_path)
    data.tracks, data.residency = [], "device"
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))
    with pytest.raises(InputError) as error:
        data.prepare_data()
    assert (error.value.where, error.value.found) == ("data.residency=device", "cpu")


def test_layout_error_has_the_full_key(tmp_path):
    root = twins.pairs(tmp_path / "root")
    with pytest.raises(InputError) as error:
        module(root, tmp_path / "cache", layout=Pairs("mixture", "instrumental", None, 0.2, ["zz"]))
    assert str(error.value).startswith("data.layout.test")


def test_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as error:
        module(tmp_path / "file", tmp_path / "cache")
    assert error.value.where.startswith(f"data.root={tmp_path / 'file'}")
