"""Commands on faulty disks end with an error or the right result, and leave nothing incomplete."""

import errno
import os
import shutil
import subprocess
import sys
from random import Random

import pytest
import soundfile

from tests.commands.test_separate import song
from tests.conftest import files_below, write_song
from tests.faults import on_read_only
from tests.faults.conftest import command, scores_of
from tests.reports.sweeps import usual
from unbraid.data.layouts.musdb import MUSDB18
from unbraid.data.store import Store
from unbraid.runs.errors import InputError

pytestmark = pytest.mark.slow
FILL = """
import sys
from pathlib import Path
from unbraid.data.layouts.musdb import MUSDB18
from unbraid.data.store import Store
Store(Path(sys.argv[2]), 22050, 2, 1).open(MUSDB18().tracks(Path(sys.argv[1])).tracks, progress=False)
"""


def contents(store):
    """Return the files of the complete entries of a store."""
    entries = [path for path in store.glob("*") if path.name != "locks"]
    assert not [entry for entry in entries if entry.suffix]
    return {path.relative_to(store): path.read_bytes() for entry in entries for path in entry.iterdir()}


@pytest.fixture(scope="module")
def expected(songs, tmp_path_factory):
    """Return the files of a store that was filled without faults."""
    store = tmp_path_factory.mktemp("expected") / "store"
    Store(store, 22050, 2, 1).open(MUSDB18().tracks(songs).tracks, progress=False)
    return contents(store)


@pytest.mark.parametrize(("kind", "every"), [("eio", 40), ("full", 20), ("short", 2), ("slow", 4)])
def test_the_store_has_the_same_bytes_after_faults(disk, songs, expected, tmp_path, kind, every, attempt):
    store = tmp_path / "store"
    store.mkdir()
    done = disk.run([sys.executable, "-c", FILL, songs, store], kind, store, every, attempt)
    assert kind not in ("short", "slow") or done.returncode == 0, done.stderr
    assert contents(store).items() <= expected.items()
    Store(store, 22050, 2, 1).open(MUSDB18().tracks(songs).tracks, progress=False)
    assert contents(store) == expected


def test_two_nodes_with_other_latencies_fill_one_store(disk, songs, expected, tmp_path, attempt):
    """The calls of one process on the shared store are slow, those of the other are not."""
    store, words = tmp_path / "store", [sys.executable, "-c", FILL, songs, tmp_path / "store"]
    store.mkdir()
    slow = os.environ | disk.environment("slow", store, 2, attempt)
    nodes = [subprocess.Popen(words, env=environment) for environment in (slow, os.environ)]
    assert [node.wait(300) for node in nodes] == [0, 0]
    assert contents(store) == expected


def test_a_copy_of_a_shared_store_is_used(songs, expected, tmp_path, process):
    """A node copies the entries of a read-only store to its local disk, and decodes nothing."""
    shared, local = tmp_path / "shared", tmp_path / "local"
    words = [sys.executable, "-c", FILL, songs]
    subprocess.run([*words, shared], check=True)
    done = on_read_only([*words, shared], shared, **process)  # a complete store needs no locks
    assert done.returncode == 0, done.stderr
    shutil.copytree(shared, local)
    times = {path: path.stat().st_mtime_ns for path in local.rglob("*")}
    subprocess.run([*words, local], check=True)
    assert contents(local) == expected and times == {path: path.stat().st_mtime_ns for path in local.rglob("*")}


@pytest.mark.parametrize("kind", ["eio", "short"])
def test_faults_of_the_audio_files_never_reach_the_store(disk, songs, expected, tmp_path, kind, attempt):
    store = tmp_path / "store"
    done = disk.run([sys.executable, "-c", FILL, songs, store], kind, songs, 60 if kind == "eio" else 2, attempt)
    assert kind == "eio" or done.returncode == 0, done.stderr
    assert contents(store).items() <= expected.items()


def stems_of(folder):
    """Return the samples of all stems below a folder."""
    return {path.name: soundfile.read(path)[0] for path in folder.rglob("*.wav")}


@pytest.mark.parametrize(
    ("kind", "place", "every"), [("eio", "work", 20), ("full", "work", 12), ("short", "song.wav", 1), ("eio", "song.wav", 30)]
)
def test_all_stems_are_written_or_none(disk, separator, process, tmp_path, kind, place, every, attempt):
    song(tmp_path / "song.wav", seconds=4.0)
    words = command("scripts/separate.py", f"run={separator}", f"input={tmp_path / 'song.wav'}", "device=cpu")
    done = disk.run(words, kind, tmp_path / place, every, attempt, **process)
    work = tmp_path / "work"
    if done.returncode:
        assert kind != "short" and files_below(work) == [], done.stderr
        assert "Traceback" not in done.stderr and done.stderr.splitlines()[-1].startswith("error: ")
    else:
        stems = stems_of(work)
        assert len(stems) == 4 and {len(samples) for samples in stems.values()} == {4 * 44100}
        assert kind != "short" or all(samples.any() for samples in stems.values())
        assert not [name for name in files_below(work) if "partial" in name]


@pytest.mark.parametrize(("kind", "every"), [("eio", 15), ("full", 4)])
def test_scores_are_complete_or_missing_after_faults(disk, scored, process, tmp_path, kind, every, attempt):
    scores, words = scored
    output = tmp_path / "scores"
    output.mkdir()
    words = command("scripts/evaluate.py", *words, f"output={output}")
    disk.run(words, kind, output, every, attempt, **process)
    for path in output.rglob("scores.json"):
        assert scores_of(path) == scores
    done = disk.run(words, "short", output, 3, attempt, **process)
    assert done.returncode == 0, done.stderr
    (path,) = output.rglob("scores.json")
    assert scores_of(path) == scores


@pytest.mark.parametrize(("kind", "every"), [("eio", 60), ("full", 10)])
def test_a_report_is_complete_or_the_old_one_after_faults(disk, process, tmp_path, kind, every, attempt):
    sweep = usual(tmp_path / "sweep")
    words = command("scripts/report.py", f"sweep={sweep}")
    done = disk.run(words, kind, sweep, every + attempt, attempt, **process)
    assert not [name for name in files_below(sweep) if ".partial" in name]
    assert (sweep / "report").exists() == (done.returncode == 0), done.stderr
    assert disk.run(words, "short", sweep, 3, attempt, **process).returncode == 0
    before = {path: path.read_bytes() for path in (sweep / "report").rglob("*") if path.is_file()}
    if disk.run(words, kind, sweep, every + attempt, attempt, **process).returncode:
        assert {path: path.read_bytes() for path in (sweep / "report").rglob("*") if path.is_file()} == before


def test_a_read_only_disk_is_one_error(separator, scored, songs, process, tmp_path):
    song(tmp_path / "song.wav")
    sweep = usual(tmp_path / "sweep")
    fixed = tmp_path / "fixed"
    fixed.mkdir()
    training = ["data=musdb", f"data.root={songs}", "trainer.accelerator=cpu"]
    for words in (
        command("train.py", *training, f"hydra.run.dir={fixed}/run"),
        command("train.py", *training, f"data.cache_dir={fixed}"),
        command("scripts/separate.py", f"run={separator}", f"input={tmp_path / 'song.wav'}", f"output={fixed}", "device=cpu"),
        command("scripts/evaluate.py", *scored[1], f"output={fixed}/scores"),
        command("scripts/report.py", f"sweep={sweep}", f"output={fixed}/report"),
        command("scripts/prepare.py", "data=musdb", f"data.root={songs}", f"data.cache_dir={fixed}"),
    ):
        done = on_read_only(words, fixed, **process)
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode == 1 and last.startswith("error: ") and os.strerror(errno.EROFS) in last, (words[1], done.stderr)
        assert "Traceback" not in done.stderr and str(fixed) in last, (words[1], last)
    assert not any(fixed.iterdir())


def test_songs_on_a_read_only_disk_can_be_used(songs, process, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(songs, root)
    words = ["data=musdb", f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}"]
    done = on_read_only(command("scripts/prepare.py", *words), root, **process)
    assert done.returncode == 0, done.stderr


def test_damaged_songs_never_enter_the_store(tmp_path, attempt):
    """A file that is cut anywhere gives an error, and nothing enters the store."""
    chance = Random(attempt)
    write_song(tmp_path / "root/train/song", seed=0, seconds=1.0)
    path = tmp_path / "root/train/song" / f"{chance.choice(['bass', 'mixture', 'vocals'])}.wav"
    os.truncate(path, chance.randrange(path.stat().st_size))
    store = Store(tmp_path / "store", 44100, 2, 1)
    with pytest.raises(InputError):
        store.open(MUSDB18().tracks(tmp_path / "root").tracks, progress=False)
    assert not contents(tmp_path / "store")
