"""Test the store: samples are decoded once, read back exactly, and never stored incompletely."""

import contextlib
import gc
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile

from tests.conftest import RATE, write_song
from tests.data import twins
from tests.faults import flip_bit
from unbraid import audio
from unbraid.data import fill as fill_module
from unbraid.data import store as store_module
from unbraid.data.effects import Codec, Limiter
from unbraid.data.fill import Order, is_intact, lock_of
from unbraid.data.layouts.musdb import MUSDB18
from unbraid.data.layouts.pairs import Pairs
from unbraid.data.store import Store
from unbraid.data.stretch import Stretch
from unbraid.data.tracks import AudioStream, Track
from unbraid.runs.errors import InputError


def list_tracks(root):
    return MUSDB18().tracks(root).tracks


def open_all(root, folder, rate=44100, channels=2, num_decode_workers=None):
    return Store(folder, rate, channels, num_decode_workers).open(list_tracks(root), progress=False)


def entry_of(track, store):
    return Order(track, store.sample_rate, store.channels, store.folder).entry


def test_samples_are_exact_to_16_bits(songs, tmp_path):
    track = open_all(songs, tmp_path)[0]
    whole = track.tensor().numpy()
    assert track.sources == ("bass", "drums", "other", "vocals") and track.length == 3 * 44100
    for row, name in enumerate(("mixture", *track.sources)):
        (expected,), _ = audio.read(songs / "train/song 0" / f"{name}.wav")
        assert np.abs(whole[row] - expected).max() <= track.scale / 2 + 1e-7
    assert np.array_equal(track.tensor(["vocals", "mixture"]).numpy(), whole[[4, 0]])


def test_a_segment_of_a_row_is_read(songs, tmp_path):
    track = open_all(songs, tmp_path)[0]
    read = np.stack([channel.copy() for channel in track.read(2, 1000, 5000)])
    assert np.array_equal(read, track.samples[2, :, 1000:5000])
    os.truncate(track.entry / "samples.i16", 10_000)
    with pytest.raises(InputError) as caught:
        list(track.read(2, 1000, 5000))
    assert caught.value.where == str(track.entry / "samples.i16") and str(track.entry) in caught.value.hint


def test_peaks_over_one_survive(stem_file, tmp_path):
    (tmp_path / "root/train").mkdir(parents=True)
    shutil.copy(stem_file, tmp_path / "root/train/A.stem.mp4")
    (track,) = open_all(tmp_path / "root", tmp_path / "store")
    decoded, _ = audio.read(stem_file, [0, 2, 1, 3, 4])  # the mixture, then by name
    assert np.abs(track.tensor().numpy() - np.stack(decoded)).max() <= track.scale / 2 + 1e-7
    assert track.tensor(["mixture"]).abs().max() > 1


@pytest.mark.parametrize("peak", [32767, -32768, 16384, 100])
def test_samples_of_16_bits_are_stored_exactly(tmp_path, peak):
    """Loud and quiet samples are stored exactly, so scores do not depend on the store."""
    song = {name: samples // 64 for name, samples in write_song(tmp_path / "root/train/song", seed=0, seconds=1).items()}
    song["mixture"][500] = peak
    for name, samples in song.items():
        soundfile.write(tmp_path / f"root/train/song/{name}.wav", samples, RATE, subtype="PCM_16")
    (track,) = open_all(tmp_path / "root", tmp_path / "store")
    for row, name in enumerate(("mixture", "bass", "drums", "other", "vocals")):
        assert np.array_equal(track.tensor()[row].numpy(), song[name].T.astype(np.float32) / 32768)


def test_stems_may_be_louder_than_the_mixture(tmp_path):
    song = write_song(tmp_path / "root/train/song", seed=0)
    soundfile.write(tmp_path / "root/train/song/mixture.wav", song["mixture"] // 8, RATE, subtype="PCM_16")
    (track,) = open_all(tmp_path / "root", tmp_path / "store")
    assert np.abs(track.tensor()[2].numpy() - song["drums"].T / 32768).max() <= track.scale / 2 + 1e-7


def test_rate_and_channels_are_those_of_the_store(songs, tmp_path):
    track = open_all(songs, tmp_path, rate=8192, channels=1)[0]
    assert track.samples.shape == track.shape == (5, 1, 3 * 8192) and track.samples.dtype == np.int16


def test_levels_are_the_rms_of_each_100_ms(songs, tmp_path):
    track = open_all(songs, tmp_path, rate=8192, channels=1)[0]
    levels, whole = track.levels(), track.tensor().numpy()
    assert levels.shape == (5, 31) and track.blocks == 31  # blocks of 819 samples, the last one is shorter
    for row, samples in zip(levels, whole, strict=True):
        expected = [10 * np.log10(np.mean(samples[0, i * 819 : (i + 1) * 819] ** 2)) for i in range(31)]
        assert np.abs(row - expected).max() <= 0.51


def test_a_mixture_without_file_is_the_sum(songs, tmp_path):
    track = replace(list_tracks(songs)[0], mixture=None)
    (stored,) = Store(tmp_path, 8192, 1).open([track], progress=False)
    whole = stored.tensor()
    assert stored.rows[0] == "mixture"
    assert (whole[0] - whole[1:].sum(dim=0)).abs().max() <= 3 * stored.scale


def test_a_source_as_mixture_is_stored_once(songs, tmp_path):
    track = replace(list_tracks(songs)[0], mixture=None, sources={"drums": list_tracks(songs)[0].sources["drums"]})
    (stored,) = Store(tmp_path, 8192, 1).open([track], progress=False)
    assert stored.rows == ("drums",) and stored.row("mixture") == 0
    assert np.array_equal(*stored.tensor().numpy())


def test_the_residual_is_a_source(tmp_path):
    root = twins.pairs(tmp_path / "root")
    pair = Pairs("mixture", "instrumental", None, 0.2, 0.2).tracks(root).tracks[0]
    (stored,) = Store(tmp_path / "store", 8192, 1).open([pair], progress=False)
    mixture, accompaniment, vocals = stored.tensor()
    assert stored.sources == ("accompaniment", "vocals") and stored.residual == "vocals"
    assert (mixture - accompaniment - vocals).abs().max() <= 3 * stored.scale


def test_a_stretched_copy_has_its_own_entry(songs, tmp_path):
    track = list_tracks(songs)[0]
    copy = replace(track, change=Stretch(0.0, 1.5))
    own, stretched = Store(tmp_path, 8192, 1).open([track, copy], progress=False)
    whole = stretched.tensor()
    assert stretched.is_copy and not own.is_copy and own.length == 3 * 8192 and stretched.length == 2 * 8192
    assert (whole[0] - whole[1:].sum(dim=0)).abs().max() <= 3 * stretched.scale


# Decoding once, and stale entries


def test_a_track_is_decoded_once(songs, tmp_path, monkeypatch):
    first = open_all(songs, tmp_path)
    monkeypatch.setattr(fill_module, "decode", None)  # calling it would raise
    second = open_all(songs, tmp_path)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_a_changed_file_is_decoded_again(own_songs, tmp_path):
    store = Store(tmp_path / "store", 8192, 1)
    before = store.open(list_tracks(own_songs), progress=False)
    samples = np.array(before[0].samples)
    write_song(own_songs / "train/song 0", seed=77)
    after = store.open(list_tracks(own_songs), progress=False)
    assert not np.array_equal(samples, after[0].samples)
    (store.folder / "killed.partial").mkdir()
    assert store.stale() == sorted([before[0].entry, store.folder / "killed.partial"])
    assert store.clean() == samples.nbytes
    assert store.stale() == [] and all(track.entry.is_dir() for track in after)
    assert store.size() == sum(track.samples.nbytes for track in after)


def test_entries_of_deleted_files_or_versions_are_stale(own_songs, tmp_path):
    gone, older, *_ = open_all(own_songs, tmp_path / "store", 8192, 1)
    shutil.rmtree(own_songs / "train/song 0")
    meta = json.loads((older.entry / "meta.json").read_text())
    (older.entry / "meta.json").write_text(json.dumps(meta | {"version": 1}))
    assert Store(tmp_path / "store", 8192, 1).stale() == sorted([gone.entry, older.entry])


@pytest.mark.parametrize(
    "change",
    [
        {"mixture": None},
        {"residual": "more"},
        {"lengths": "trim"},
        {"change": Stretch(1.0, 1.0)},
        {"change": Codec(0.0, 0.0, 0)},
        {"change": Limiter(0.0, 0.0, 0)},
        {"sources": {}},
    ],
)
def test_each_option_of_the_samples_changes_the_entry(songs, tmp_path, change):
    track, store = list_tracks(songs)[0], Store(tmp_path, 8192, 1)
    assert entry_of(track, store) != entry_of(replace(track, **change), store)
    assert entry_of(track, store) == entry_of(replace(track, name="another", split="test"), store)


def test_the_order_of_sources_is_irrelevant(songs, tmp_path):
    track = list_tracks(songs)[0]
    backwards = replace(track, sources=dict(reversed(track.sources.items())))
    (forward,), (reversed_,) = (Store(tmp_path, 8192, 1).open([t], progress=False) for t in (track, backwards))
    assert forward.entry == reversed_.entry


def test_sources_may_share_files_and_streams(songs, tmp_path):
    drums = list_tracks(songs)[0].sources["drums"]
    track = Track("same", "train", {"a": drums, "b": (AudioStream(drums[0].path),)})
    (stored,) = Store(tmp_path, 44100, 2).open([track], progress=False)
    assert np.array_equal(stored.samples[stored.row("a")], stored.samples[stored.row("b")])


def test_links_lead_to_the_same_entry(songs, tmp_path):
    (tmp_path / "folder").symlink_to(songs / "train/song 0")
    (tmp_path / "file.wav").symlink_to("folder/drums.wav")
    places = [songs / "train/song 0/drums.wav", tmp_path / "folder/drums.wav", tmp_path / "file.wav"]
    tracks = [Track("song", "train", {"drums": (AudioStream(place),)}) for place in places]
    stored = Store(tmp_path / "store", 8192, 1).open(tracks, progress=False)
    assert len({track.entry for track in stored}) == 1
    status = places[0].stat()
    expected = [[str(places[0].resolve()), status.st_size, status.st_mtime_ns]]
    assert all(fill_module.fingerprints(track) == expected for track in tracks)


def test_the_garbage_collector_is_on_afterwards(songs, tmp_path):
    open_all(songs, tmp_path / "store", 8192, 1)
    assert gc.isenabled()
    missing = Track("song", "train", {"drums": (AudioStream(tmp_path / "missing.wav"),)})
    with pytest.raises(FileNotFoundError):
        Store(tmp_path / "store", 8192, 1).open([missing], progress=False)
    assert gc.isenabled()


# Complete entries


def fingerprint_of_all(folder):
    """Return a hash of each file of the entries, without lock files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != "locks")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fingerprint_of_complete(folder):
    """Return the same without incomplete entries, which another process may be removing."""
    hashes = {}
    for where, inner, names in os.walk(folder):  # unlike rglob, it allows that a folder disappears
        inner[:] = [name for name in inner if name != "locks" and ".partial" not in name]
        for name in names:
            path = Path(where, name)
            if ".partial" not in name:
                hashes[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


@pytest.mark.slow
def test_several_processes_fill_the_same_bytes_as_one(songs, tmp_path):
    open_all(songs, tmp_path / "one", num_decode_workers=1)
    open_all(songs, tmp_path / "three", num_decode_workers=3)
    assert fingerprint_of_all(tmp_path / "one") == fingerprint_of_all(tmp_path / "three") != {}


def test_two_runs_wait_for_each_other(songs, tmp_path):
    track, store = list_tracks(songs)[0], Store(tmp_path, 8192, 1)
    with lock_of(entry_of(track, store)):
        other = threading.Thread(target=store.open, args=([track], False))
        other.start()
        other.join(timeout=0.5)
        assert other.is_alive() and not entry_of(track, store).exists()
    other.join(timeout=30)
    assert entry_of(track, store).is_dir()


def test_two_processes_decode_a_track_once(songs, tmp_path, monkeypatch):
    """A second fill starts while the first one is writing."""
    order = Order(list_tracks(songs)[0], 8192, 1, tmp_path)
    calls, writing, write_entry = [], threading.Event(), fill_module._write

    def slow(order, folder):
        calls.append(folder)
        writing.set()
        time.sleep(1.0)
        write_entry(order, folder)

    monkeypatch.setattr(fill_module, "_write", slow)
    first, second = (threading.Thread(target=fill_module.fill, args=(order,)) for _ in range(2))
    first.start()
    assert writing.wait(30)
    second.start()
    for thread in (first, second):
        thread.join(30)
    assert len(calls) == 1 and is_intact(order.entry)


FILLER = """
import os, signal, sys
from pathlib import Path
from unbraid.data.layouts.musdb import MUSDB18
from unbraid.data.store import Store

if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    for decoders in sys.stdin:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            Store(Path(sys.argv[2]), 22050, 2, int(decoders)).open(MUSDB18().tracks(Path(sys.argv[1])).tracks, progress=False)
            os._exit(0)
        print(pid, flush=True)
"""


@pytest.fixture(scope="module")
def long_songs(tmp_path_factory):
    root = tmp_path_factory.mktemp("long")
    for number in range(6):
        write_song(root / "train" / f"song {number}", seed=number, seconds=8)
    return root


@pytest.fixture
def start(long_songs, tmp_path):
    """Return a function that starts a process which fills the store with some decoders. The function returns the process id."""
    script = tmp_path / "filler.py"
    script.write_text(FILLER)
    words = [sys.executable, script, long_songs, tmp_path / "store"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as filler:
        assert filler.stdout.readline() == "ready\n"

        def start_process(num_decode_workers):
            filler.stdin.write(f"{num_decode_workers}\n")
            filler.stdin.flush()
            return int(filler.stdout.readline())

        yield start_process
        filler.stdin.close()


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.01)


def has_ended(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
def test_killed_and_concurrent_fills_write_equal_bytes(start, long_songs, tmp_path):
    """Kill a process twenty times at a random moment. In each third round, another process fills the same store."""
    Store(tmp_path / "expected", 22050, 2, 1).open(list_tracks(long_songs), progress=False)
    expected, store = fingerprint_of_all(tmp_path / "expected"), tmp_path / "store"

    killed_at_work = 0
    for number, moment in enumerate(np.random.default_rng(0).uniform(0.0, 0.5, 20)):
        concurrent = number % 3 == 2
        killed = start(1 + number % 2)
        other = start(1) if concurrent else None
        time.sleep(moment)
        killed_at_work += not has_ended(killed)
        with contextlib.suppress(ProcessLookupError):
            os.kill(killed, signal.SIGKILL)
        if concurrent:
            wait_for(lambda other=other: has_ended(other))
            assert fingerprint_of_complete(store) == expected
        assert fingerprint_of_complete(store).items() <= expected.items()
        if fingerprint_of_complete(store) == expected:  # empty the store
            shutil.rmtree(store)
    Store(store, 22050, 2, 1).open(list_tracks(long_songs), progress=False)
    assert fingerprint_of_all(store) == expected  # incomplete entries are deleted
    assert killed_at_work >= 5


def workers_of(pid):
    """Return the decoding processes that a process has started; empty if it has ended."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]
    except FileNotFoundError:
        return []


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(start):
    parent, workers = start(2), []
    wait_for(lambda: workers.extend(workers_of(parent)[len(workers) :]) or len(workers) == 2)
    os.kill(parent, signal.SIGKILL)
    wait_for(lambda: all(map(has_ended, workers)))


def test_the_users_folder_is_not_changed(own_songs, tmp_path):
    before = sorted(own_songs.rglob("*"))
    open_all(own_songs, tmp_path / "store")
    assert sorted(own_songs.rglob("*")) == before


# Invalid files


def break_length(folder):
    samples, rate = soundfile.read(folder / "bass.wav")
    soundfile.write(folder / "bass.wav", samples[:-1], rate)


def break_rate(folder):
    samples, _ = soundfile.read(folder / "bass.wav")
    soundfile.write(folder / "bass.wav", samples, 48000)


def break_text(folder):
    (folder / "bass.wav").write_text("not audio")


def break_truncate(folder):
    os.truncate(folder / "bass.wav", 5000)


def break_nan(folder):
    samples, rate = soundfile.read(folder / "bass.wav")
    samples[100] = np.nan
    soundfile.write(folder / "bass.wav", samples, rate, subtype="FLOAT")


@pytest.mark.parametrize(
    ("break_it", "found", "others"),
    [
        (break_length, "132299 samples (3.00 s)", 3),
        (break_rate, "132300 samples (2.76 s)", 3),
        (break_text, None, 0),  # invalid headers are found before decoding
        (break_truncate, None, 0),
        (break_nan, None, 3),
    ],
)
def test_a_bad_file_is_named_without_an_entry(own_songs, tmp_path, break_it, found, others):
    break_it(own_songs / "train/song 1")
    with pytest.raises(InputError) as caught:
        open_all(own_songs, tmp_path / "store")
    assert str(own_songs / "train/song 1") in str(caught.value) and (found is None or caught.value.found == found)
    entries = [path for path in (tmp_path / "store").iterdir() if path.name != "locks"]
    assert len(entries) == others and not any(path.suffix for path in entries)  # complete entries of the other songs


@pytest.mark.slow
def test_every_bad_file_is_named(own_songs, tmp_path):
    for song in ("train/song 0", "test/song 3"):
        break_nan(own_songs / song)
    with pytest.raises(InputError) as caught:
        open_all(own_songs, tmp_path / "store", num_decode_workers=2)  # the errors come from other processes
    assert "song 3/bass.wav" in caught.value.problem and "song 0/bass.wav" in caught.value.problem


def test_a_track_without_samples_is_named(tmp_path):
    write_song(tmp_path / "root/train/song", seed=0, seconds=0)
    with pytest.raises(InputError) as caught:
        open_all(tmp_path / "root", tmp_path / "store")
    assert "mixture.wav" in str(caught.value)


def test_a_small_disk_is_refused_before_decoding(songs, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 0, 10**6))
    with pytest.raises(InputError) as caught:
        open_all(songs, tmp_path / "store")
    assert (caught.value.where, caught.value.found) == (str(tmp_path / "store"), "1.0 MB")
    assert "10.6 MB" in caught.value.expected
    assert list((tmp_path / "store").iterdir()) == []


def test_a_full_disk_keeps_entries_complete(songs, tmp_path, monkeypatch):
    write_entry = fill_module._write

    def full(order, folder):
        write_entry(order, folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fill_module, "_write", full)
    with pytest.raises(InputError) as caught:
        open_all(songs, tmp_path / "store", num_decode_workers=1)
    assert caught.value.where == str(tmp_path / "store")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["locks"]


def test_size_and_progress_are_printed(songs, tmp_path, capsys):
    Store(tmp_path, 44100, 2).open(list_tracks(songs))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"decoding 4 tracks, 0.00 h into {tmp_path}: 10.6 MB, " in captured.err
    assert "song 3" in captured.err and "decoding 0/4" in captured.err and "h/s" not in captured.err


@pytest.mark.parametrize("name", ["samples.i16", "levels.i8", "meta.json", "health.json"])
def test_every_flipped_bit_is_found(songs, tmp_path, name, attempt):
    track, *others = open_all(songs, tmp_path, 8192, 1)
    whole, chance = (track.entry / name).read_bytes(), Random(attempt)
    for _ in range(50):
        flip_bit(track.entry / name, chance)
        assert not is_intact(track.entry)
        (track.entry / name).write_bytes(whole)
    assert all(is_intact(other.entry) for other in (track, *others))


def test_a_flipped_bit_at_the_end_of_a_long_song_is_found(tmp_path):
    """Checksums are computed in blocks of 1 MiB."""
    folder = tmp_path / "songs/train/song"
    write_song(folder, seed=0, seconds=15.0)
    (track,) = Store(tmp_path / "store", 44100, 2).open(MUSDB18().tracks(tmp_path / "songs").tracks)
    samples = track.entry / "samples.i16"
    whole = samples.read_bytes()
    assert len(whole) > 2 << 20 and is_intact(track.entry)
    samples.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert not is_intact(track.entry)


@pytest.mark.parametrize("name", ["samples.i16", "levels.i8", "meta.json", "health.json"])
def test_a_truncated_entry_is_decoded_again(songs, tmp_path, name):
    whole = open_all(songs, tmp_path, 8192, 1)[0]
    expected = fingerprint_of_all(tmp_path)
    os.truncate(whole.entry / name, 10)
    open_all(songs, tmp_path, 8192, 1)
    assert fingerprint_of_all(tmp_path) == expected
