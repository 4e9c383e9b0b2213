"""scripts/prepare.py fills the store, reports problems of the data, and writes no other files."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests import faults
from tests.commands.conftest import has_names
from tests.conftest import PROJECT, RATE, files_below, hear_ctrl_c, write_song
from tests.data import twins

SCRIPT = "scripts/prepare.py"


@pytest.fixture
def prepare(cli, tmp_path):
    return partial(cli, f"data.cache_dir={tmp_path / 'cache'}", script=SCRIPT)


def report(tmp_path):
    (path,) = (tmp_path / "cache/health").iterdir()
    return json.loads(path.read_text())


@pytest.mark.slow
def test_the_store_is_filled_and_reported(prepare, songs, tmp_path):
    status, out, err = prepare("data=musdb", f"data.root={songs}")
    assert status == 0 and "decoding 4 tracks" in err
    for words in ("song 0", "train     2 tracks", "22.1 kHz", "store  ", f"report  {tmp_path}/cache/health/musdb-"):
        assert words in out
    assert set(report(tmp_path)["tracks"]) == {"song 0", "song 1", "song 2", "song 3"}
    assert report(tmp_path)["root"] == str(songs) and report(tmp_path)["left_out"] == {}
    assert len(list((tmp_path / "cache/store").glob("*/samples.i16"))) == 4
    assert files_below(tmp_path / "work") == []


@pytest.mark.slow
def test_training_uses_the_prepared_store(prepare, cli, songs, tmp_path):
    prepare("data=musdb", f"data.root={songs}")
    _, _, err = prepare("data=musdb", f"data.root={songs}")
    assert "decoding" not in err
    words = ["data=musdb", f"data.root={songs}", f"data.cache_dir={tmp_path / 'cache'}", "trainer.max_epochs=0"]
    status, _, err = cli(*words, "trainer.accelerator=cpu")
    assert status == 0 and "decoding" not in err


@pytest.mark.slow
def test_another_model_uses_another_rate(prepare, songs, tmp_path):
    prepare("data=musdb", f"data.root={songs}")
    prepare("data=musdb", f"data.root={songs}", "model.separator.sample_rate=16000", "model.separator.chunk_seconds=8")
    assert len(list((tmp_path / "cache/store").glob("*/samples.i16"))) == 8


@pytest.mark.slow
def test_stale_entries_are_counted_and_deleted(prepare, own_songs):
    prepare("data=musdb", f"data.root={own_songs}")
    write_song(own_songs / "train/song 0", seed=9)
    _, out, _ = prepare("data=musdb", f"data.root={own_songs}")
    assert "1 entries are stale" in out and "clean=true" in out
    status, out, _ = prepare("data=musdb", f"data.root={own_songs}", "clean=true")
    assert status == 0 and out.startswith("deleted 0.2 MB") and "clean=true" not in out


def test_verify_finds_a_flipped_byte(prepare, songs, tmp_path, attempt):
    words = ["data=musdb", f"data.root={songs}", "verify=true"]
    status, out, _ = prepare(*words)
    assert status == 0 and "verified 4 decoded tracks: 0 were damaged" in out and "decoded again" not in out
    files = {
        path: path.read_bytes() for path in sorted((tmp_path / "cache/store").glob("*/*.*")) if path.parent.name != "locks"
    }
    path, chance = [*files][attempt % len(files)], random.Random(attempt)
    faults.flip_bit(path, chance)
    status, out, _ = prepare(*words)
    assert status == 0 and "1 were damaged" in out and "decoded again (1)" in out
    assert {path: path.read_bytes() for path in files} == files


def test_verify_decodes_entries_without_checksums_again(prepare, songs, tmp_path):
    prepare("data=musdb", f"data.root={songs}")
    for path in (tmp_path / "cache/store").glob("*/meta.json"):
        meta = json.loads(path.read_text())
        del meta["checksums"]
        path.write_text(json.dumps(meta))
    assert "verified 4 decoded tracks: 4 were damaged" in prepare("data=musdb", f"data.root={songs}", "verify=true")[1]
    assert "verified 4 decoded tracks: 0 were damaged" in prepare("data=musdb", f"data.root={songs}", "verify=true")[1]


@pytest.mark.slow
def test_warnings_are_listed(prepare, own_songs, tmp_path):
    song = write_song(own_songs / "train/song 0", seed=0)
    silence = np.zeros_like(song["bass"])
    soundfile.write(own_songs / "train/song 0/bass.wav", silence, RATE, subtype="PCM_16")
    (own_songs / "test/copy").mkdir()
    for path in (own_songs / "train/song 1").iterdir():
        (own_songs / "test/copy" / path.name).write_bytes(path.read_bytes())
    status, out, _ = prepare("data=musdb", f"data.root={own_songs}")
    assert status == 0
    for words in ("warning: residual (1)", "warning: silent source (1)", "bass is silent"):
        assert words in out
    kinds = {finding["kind"] for finding in report(tmp_path)["findings"]}
    assert {"residual", "silent source"} <= kinds


def test_damaged_files_are_named_before_decoding(prepare, own_songs, tmp_path):
    damaged = ("train/song 0/bass.wav", "test/song 3/drums.wav")
    for name in damaged:
        (own_songs / name).write_text("not audio")
    status, out, err = prepare("data=musdb", f"data.root={own_songs}")
    assert status == 1 and all(name in err for name in damaged) and out == ""
    assert not [*(tmp_path / "cache/store").iterdir()]


def test_others_are_prepared_if_samples_are_damaged(prepare, own_songs, tmp_path):
    soundfile.write(own_songs / "train/song 0/bass.wav", np.full((3 * RATE, 2), np.nan), RATE, subtype="FLOAT")
    status, out, err = prepare("data=musdb", f"data.root={own_songs}")
    assert status == 1 and "song 0/bass.wav" in err and out == ""
    assert len(list((tmp_path / "cache/store").glob("*/samples.i16"))) == 3
    assert not (tmp_path / "cache/health").exists()


def alive_in_group(group):
    """Return the command names of the processes in a group, without zombies."""
    alive = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            name, _, rest = path.read_text().partition(" (")[2].rpartition(") ")
            state, _, its_group = rest.split()[:3]
            alive += [name] if int(its_group) == group and state != "Z" else []
    return alive


@pytest.mark.slow
def test_ctrl_c_keeps_complete_entries_and_no_process(tmp_path):
    for number in range(8):
        write_song(tmp_path / "root" / ("train", "valid", "test")[max(0, number - 5)] / f"song {number}", number, seconds=8)
    words = [
        "data=musdb",
        f"data.root={tmp_path / 'root'}",
        f"data.cache_dir={tmp_path / 'cache'}",
        "data.num_decode_workers=2",
    ]
    rate = ["model.separator.sample_rate=22050", "model.separator.chunk_seconds=2"]
    program = subprocess.Popen(
        [sys.executable, PROJECT / SCRIPT, *words, *rate],
        cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "cache/store").glob("*.partial")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(program.pid, signal.SIGINT)  # a terminal sends the signal to the workers, too
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130 and err.endswith("stopped by Ctrl-C\n") and "Traceback" not in err
    left = [path for path in (tmp_path / "cache/store").iterdir() if path.name != "locks"]
    assert 0 < len(left) < 8 and all((path / "meta.json").is_file() and not path.suffix for path in left)
    deadline = time.monotonic() + 10  # the last process ends after it has noticed the end of the others
    while alive_in_group(program.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive_in_group(program.pid) == []


@pytest.mark.slow
def test_misaligned_pairs_are_left_out(prepare, cli, tmp_path):
    generator = np.random.default_rng(0)
    for name in ("one", "two", "three", "late"):
        band, voice = generator.standard_normal((2, 8 * 8192)) * 0.05
        late = np.concatenate([np.zeros(4096 if name == "late" else 0), band])[: len(band)]
        twins.write(tmp_path / "root/mixture" / f"{name}.wav", band + voice, 8192)
        twins.write(tmp_path / "root/instrumental" / f"{name}.wav", late, 8192)
    data = ["data=pairs", f"data.root={tmp_path / 'root'}", "data.layout.valid=[two]", "data.layout.test=[three]"]
    status, out, _ = prepare(*data)
    assert status == 0
    assert "warning: misaligned pair (1)" in out and "+500.0 ms apart" in out
    assert "left out (1)\n  late: mixture and instrumental are not aligned" in out
    _, out, _ = cli(*data, "trainer.max_epochs=0", "trainer.accelerator=cpu")
    assert "1 train, 1 valid, 1 test tracks" in out and "left out: 1 tracks: late (mixture and" in out


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["data=musdb"], "data.root"),
        (["data=musdb", "data.root=/nowhere"], "data.root=/nowhere"),
        (["clean=maybe"], "clean 'maybe'"),
        (["seed=-1"], "seed -1"),
        (["data.channels=2"], "data.channels 2 model.separator.channels"),
        (["dry_run=true"], "data.root dry_run=true"),
        (["data=digits"], "data=digits"),
    ],
)
def test_invalid_keys_are_named(error_of, tmp_path, words, names):
    cache = [f"data.cache_dir={tmp_path / 'cache'}"] if words != ["data=digits"] else []
    demo = [f"data.root={tmp_path / 'nowhere'}"] if words == ["dry_run=true"] else []
    assert has_names(str(error_of("prepare", *cache, *demo, *words)), names)
    assert files_below(tmp_path) == ["work"]


@pytest.mark.parametrize(("word", "names"), [("data=musik", "data musik 'musdb'"), ("claen=true", "claen 'clean'")])
def test_prepare_exits_with_status_1(refused, tmp_path, word, names):
    assert has_names(refused(word, script=SCRIPT), names) and files_below(tmp_path) == ["work"]


def test_a_dry_run_lists_every_file(prepare, tmp_path):
    root = twins.untidy(tmp_path / "root", seconds=0.01)
    before = files_below(tmp_path)
    mapped = ["data=stems", f"data.root={root}", "data.layout.sources=sources.yaml", "dry_run=true"]
    silent = [*mapped, "data.layout.missing=silence"]
    status, out, err = prepare(*silent, "data.layout.lengths=pad")
    assert status == 0 and err == ""
    for words in ("train (8 tracks)", "Café", "Kick.wav + snare top.Flac", "silence", "Bass_DI.mp3"):
        assert words in out
    status, out, err = prepare(*mapped)
    assert status == 1 and "\n  02 Song: " in out and "'vocals'" in out and "2 errors" in err
    (root / "Café/bass.flac").write_bytes(b"not audio")
    status, out, err = prepare(*silent)
    errors = out.partition("to be resolved (2)\n")[2].partition("\n\n")[0].splitlines()
    assert status == 1 and [line.partition(":")[0] for line in errors] == ["  06 Song/06 Song Lead VOX.WAV", "  Café/bass.flac"]
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(
    ("data", "twin"),
    [("ikala", twins.ikala), ("mir1k", twins.mir1k), ("medleydb", twins.medleydb), ("singles", twins.singles)],
)
def test_a_dry_run_lists_every_layout(prepare, tmp_path, data, twin):
    root = twin(tmp_path / "root")
    targets = ["~targets.vocals", "+targets.voice=[voice]"] if data == "singles" else []
    status, out, err = prepare(f"data={data}", f"data.root={root}", *targets, "dry_run=true")
    assert status == 0 and err == ""
    assert sum(line.endswith("tracks)") for line in out.splitlines()) == 3 and "mixture  " in out
    assert not (tmp_path / "cache").exists()
