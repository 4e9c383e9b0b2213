"""scripts/separate.py writes stems of files in every format, and no files after an error."""

import io
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest
import soundfile
import torch

from tests.commands.conftest import has_names
from tests.conftest import PROJECT, files_below, hear_ctrl_c, make_run
from unbraid import audio
from unbraid.commands.separate import progress

SCRIPT = "scripts/separate.py"
RATE = 44100
# A small network whose estimates depend on the input.
SMALL = [
    "model=unet", "model.separator.net.channels=[2,2,4]", "model.separator.stft.n_fft=256",
    "model.separator.stft.hop_length=192", "model.separator.chunk_seconds=1.0", "targets=all",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("separate") / "run", *SMALL)


@pytest.fixture
def separate(cli, run):
    return lambda *words: cli(f"run={run}", *words, script=SCRIPT)


def song(path, seconds=1.5, rate=RATE, channels=2, **options):
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.2 * np.sin(2 * np.pi * rate / 100 * time) + 0.01 * np.random.default_rng(0).standard_normal((channels, len(time)))
    soundfile.write(path, tone.T, rate, **options)
    return tone


def read(path):
    (samples,), rate = audio.read(path)
    return samples, rate


def test_stems_and_residual_sum_to_the_song(separate, tmp_path):
    tone = song(tmp_path / "my song.wav")
    status, out, err = separate(f"input={tmp_path}/my song.wav", "residual=true", "accompaniment=true", "bits=32")
    assert status == 0, err
    names = ["accompaniment", "bass", "drums", "other", "residual", "vocals"]
    assert files_below(tmp_path / "work") == ["separated", "separated/my song", *(f"separated/my song/{n}.wav" for n in names)]
    assert "separated/my song: vocals.wav, drums.wav" in out
    stems = {name: read(tmp_path / f"work/separated/my song/{name}.wav")[0] for name in names}
    assert all(stem.shape == tone.shape for stem in stems.values())
    assert np.abs(stems["vocals"] + stems["accompaniment"] + stems["residual"] - tone).max() < 1e-4
    assert np.abs(stems["accompaniment"] - stems["bass"] - stems["drums"] - stems["other"]).max() < 1e-4
    assert np.abs(stems["vocals"]).max() > 0.01


def versions(folder, stem_file):
    """Write a real stem file, and the same song in other formats."""
    (mixture,), rate = audio.read(stem_file)
    soundfile.write(folder / "a.mp3", mixture.T, rate)
    soundfile.write(folder / "b.ogg", mixture.T, rate)
    soundfile.write(folder / "c.wav", audio.resample(audio.to_channels(mixture, 1), rate, 8000).T, 8000, subtype="PCM_U8")
    soundfile.write(folder / "d.wav", np.tile(mixture, (3, 1)).T, rate, subtype="PCM_24")
    soundfile.write(folder / "e.flac", mixture.T, rate)
    soundfile.write(folder / "f.wav", mixture.T, rate, subtype="DOUBLE")
    with av.open(str(folder / "g.m4a"), "w") as file:
        stream = file.add_stream("aac", rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(mixture, format="fltp", layout="stereo")
        frame.sample_rate = rate
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    shutil.copy(stem_file, folder / "h.stem.mp4")
    for name, wanted in (("i", 1000), ("j", 192_000)):
        soundfile.write(folder / f"{name}.wav", audio.resample(mixture[:, :rate], rate, wanted).T, wanted)


@pytest.mark.slow
def test_every_format_keeps_rate_and_length(separate, tmp_path, stem_file):
    (tmp_path / "songs").mkdir()
    versions(tmp_path / "songs", stem_file)
    status, out, err = separate(f"input={tmp_path / 'songs'}", "output=out", "bits=32", "residual=true")
    assert status == 0, err
    for path in sorted((tmp_path / "songs").iterdir()):
        with audio.open_audio(path) as blocks:
            rate, channels, samples = blocks.rate, min(blocks.channels, 2), sum(block.shape[1] for block in blocks)
        stems = [soundfile.info(stem) for stem in (tmp_path / "work/out" / path.name.split(".")[0]).iterdir()]
        assert len(stems) == 5
        assert {(stem.samplerate, stem.channels, stem.frames) for stem in stems} == {(rate, channels, samples)}, path.name
    assert has_names(out, "d.wav FL FR FC LFE BL BR BS.775")


@pytest.mark.parametrize("output_format", ["wav", "flac", "mp3", "ogg"])
def test_every_format_is_written_with_tags(separate, tmp_path, output_format):
    tone = song(tmp_path / "song.wav")
    with soundfile.SoundFile(tmp_path / "song.flac", "w", RATE, 2) as file:
        file.title, file.artist = "Song", "Künstlerin"
        file.write(tone.T)
    status, _, err = separate(f"input={tmp_path / 'song.flac'}", f"format={output_format}", "name=%target of %track")
    assert status == 0, err
    path = tmp_path / f"work/separated/vocals of song.{output_format}"
    with audio.open_audio(path) as blocks:
        assert blocks.tags["title"] == "Song (vocals)" and blocks.tags["artist"] == "Künstlerin"
        assert sum(block.shape[1] for block in blocks) == tone.shape[1]
    assert separate(f"input={tmp_path / 'song.flac'}", "output=bare", "tags=false")[0] == 0
    with audio.open_audio(tmp_path / "work/bare/song/vocals.wav") as blocks:
        assert "artist" not in blocks.tags


@pytest.mark.parametrize(
    ("output_format", "bits", "subtype"), [("wav", 16, "PCM_16"), ("wav", 24, "PCM_24"), ("flac", 16, "PCM_16")]
)
def test_samples_have_the_requested_bits(separate, tmp_path, output_format, bits, subtype):
    song(tmp_path / "song.wav")
    assert separate(f"input={tmp_path / 'song.wav'}", f"format={output_format}", f"bits={bits}")[0] == 0
    assert soundfile.info(tmp_path / f"work/separated/song/bass.{output_format}").subtype == subtype


@pytest.mark.slow
def test_a_stem_file_has_mixture_and_stems_in_order(separate, tmp_path, stem_file):
    status, _, err = separate(f"input={stem_file}", "format=stem.mp4", "name=x")
    assert status == 0, err
    assert files_below(tmp_path / "work") == ["separated", "separated/x.stem.mp4"]
    streams, rate = audio.read(tmp_path / "work/separated/x.stem.mp4", range(5))
    (mixture,), _ = audio.read(stem_file)
    samples = mixture.shape[1]
    assert rate == RATE and all(0 <= stream.shape[1] - samples < 1024 for stream in streams)
    gain = np.vdot(streams[0][:, :samples], mixture) / np.vdot(mixture, mixture)
    assert np.abs(streams[0][:, 5000:-5000] - gain * mixture[:, 5000 : streams[0].shape[1] - 5000]).std() < 0.01
    with av.open(str(tmp_path / "work/separated/x.stem.mp4")) as file:
        assert [stream.metadata["handler_name"] for stream in file.streams] == ["mixture", "drums", "bass", "other", "vocals"]


def test_silence_in_gives_silence_out(separate, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros((50_001, 2)), RATE)
    assert separate(f"input={tmp_path / 'silence.wav'}")[0] == 0
    for path in (tmp_path / "work/separated/silence").iterdir():
        samples, _ = read(path)
        assert samples.shape == (2, 50_001) and not samples.any()


def test_loud_stems_are_scaled_by_one_gain(separate, tmp_path):
    tone = 3 * song(tmp_path / "song.wav") / 0.2
    tone[:, RATE // 2 :] /= 10  # the loudest sample is not in the last chunk
    soundfile.write(tmp_path / "loud.wav", tone.T, RATE, subtype="FLOAT")
    words = [f"input={tmp_path / 'loud.wav'}", "residual=true"]
    status, out, _ = separate(*words, "output=scaled")
    assert status == 0 and " dB" in out
    assert " dB" not in separate(*words, "output=clipped", "peaks=clip")[1]
    assert " dB" not in separate(*words, "output=floats", "bits=32")[1]
    folders = {name: tmp_path / f"work/{name}/loud" for name in ("scaled", "clipped", "floats")}
    loudest = {name: max(np.abs(read(path)[0]).max() for path in folder.iterdir()) for name, folder in folders.items()}
    assert loudest["floats"] > 1.2 and 0.99 < loudest["scaled"] <= 1
    for path in folders["floats"].iterdir():
        exact, scaled, clipped = (
            read(folder / path.name)[0] for folder in (path.parent, folders["scaled"], folders["clipped"])
        )
        assert np.abs(scaled - exact / loudest["floats"]).max() < 1e-6
        assert np.abs(clipped - exact.clip(-1, 1)).max() < 1e-6


def test_standard_input(separate, tmp_path, monkeypatch):
    tone = song(tmp_path / "song.flac")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "song.flac").read_bytes())))
    status, _, err = separate("input=-")
    assert status == 0, err
    assert read(tmp_path / "work/separated/stdin/vocals.wav")[0].shape == tone.shape


def test_files_folders_and_patterns(separate, tmp_path):
    for name in ("a/x.wav", "a/b/x.wav", "c1.wav", "c2.wav", "[d].wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        song(tmp_path / name, 0.2)
    inputs = f"input=['{tmp_path}/a','{tmp_path}/c*.wav','{tmp_path}/[d].wav']"
    status, _, err = separate(inputs, "name=%track-%target")
    assert status == 0, err
    names = [name for name in files_below(tmp_path / "work/separated") if "vocals" in name]
    assert names == ["[d]-vocals.wav", "b - x-vocals.wav", "c1-vocals.wav", "c2-vocals.wav", "x-vocals.wav"]
    assert f"{tmp_path}/a/x.wav: " in separate(f"input=['{tmp_path}/a','{tmp_path}/a/x.wav']", "output=o")[2]
    assert f"{tmp_path}/z*.wav" in separate(f"input={tmp_path}/z*.wav")[2]
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in separate(f"input={tmp_path}/empty")[2]


def test_a_damaged_input_does_not_stop_others(separate, tmp_path):
    for name in "ac":
        song(tmp_path / f"songs {name}.wav", 0.3)
    (tmp_path / "songs b.wav").write_text("no sound")
    status, _, err = separate(f"input={tmp_path}/songs *.wav")
    assert status == 1
    assert "songs b.wav: " in err and has_names(err.splitlines()[-1], "error: 1 of 3 songs b")
    assert sorted(path.name for path in (tmp_path / "work/separated").iterdir()) == ["songs a", "songs c"]


def test_existing_files_are_not_changed(separate, tmp_path):
    song(tmp_path / "song.wav", 0.3)
    place = tmp_path / "work/separated/song"
    place.mkdir(parents=True)
    (place / "drums.wav").write_text("mine")
    status, _, err = separate(f"input={tmp_path / 'song.wav'}")
    assert status == 1 and has_names(err, "drums.wav: overwrite=true")
    assert files_below(place) == ["drums.wav"] and (place / "drums.wav").read_text() == "mine"
    assert separate(f"input={tmp_path / 'song.wav'}", "overwrite=true")[0] == 0
    assert soundfile.info(place / "drums.wav").frames == round(0.3 * RATE)


def test_songs_with_stems_are_skipped(separate, tmp_path):
    (tmp_path / "songs").mkdir()
    for name in "ab":
        song(tmp_path / f"songs/{name}.wav", 0.3)
    words = (f"input={tmp_path / 'songs'}", "overwrite=skip")
    assert separate(f"input={tmp_path / 'songs/a.wav'}")[0] == 0
    stems = {path: path.stat().st_mtime_ns for path in (tmp_path / "work/separated/a").iterdir()}
    status, out, _ = separate(*words)
    assert status == 0 and sum(line.startswith("skipped ") and "a.wav" in line for line in out.splitlines()) == 1
    assert stems == {path: path.stat().st_mtime_ns for path in (tmp_path / "work/separated/a").iterdir()}
    next(iter(stems)).unlink()  # an incomplete song is separated again
    assert sum(line.startswith("skipped ") for line in separate(*words)[1].splitlines()) == 1
    assert all(path.exists() for path in stems)


def test_the_progress_bar_has_seconds_and_speed(tmp_path, monkeypatch):
    song(tmp_path / "x.wav", 3.0)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    with progress("x", tmp_path / "x.wav") as advance:
        for _ in range(4):
            time.sleep(0.11)
            advance(RATE, RATE // 2)
    assert re.search(r"x \|.*\| 2 of 3 s, +\d+\.\d+ s/s", terminal.getvalue())


@pytest.mark.parametrize(
    "kind",
    [
        "text.wav", "empty.wav", "none.wav", "cut.wav", "cut.mp4", "nan.wav", "huge.wav", "missing.wav", "picture.png",
        "still.mp4", "slow.wav",
    ],
)  # fmt: skip
def test_an_input_without_sound_is_named(refused, run, tmp_path, stem_file, kind):
    path = tmp_path / kind
    match kind:
        case "text.wav":
            path.write_text("no sound")
        case "empty.wav":
            path.touch()
        case "none.wav":
            soundfile.write(path, np.zeros((0, 2)), RATE)
        case "cut.wav":
            song(path)
            path.write_bytes(path.read_bytes()[:90_000])
        case "cut.mp4":
            path.write_bytes(stem_file.read_bytes()[:400_000])
        case "nan.wav":
            soundfile.write(path, np.r_[np.zeros(99_999), np.nan], RATE, subtype="FLOAT")
        case "huge.wav":
            soundfile.write(path, np.full(1000, 1e30), RATE, subtype="FLOAT")
        case "picture.png":
            path.write_bytes(b"\x89PNG\r\n\x1a\n")
        case "still.mp4":
            with av.open(str(path), "w") as file:
                stream = file.add_stream("mpeg4", rate=1, width=16, height=16, pix_fmt="yuv420p")
                file.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
                file.mux(stream.encode(None))
        case "slow.wav":
            soundfile.write(path, np.zeros(50), 10)
    assert refused(f"run={run}", f"input={path}", script=SCRIPT).startswith(f"error: {path}: ")
    assert files_below(tmp_path / "work") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all files")
def test_a_file_without_permission_is_named(separate, tmp_path):
    song(tmp_path / "song.wav")
    (tmp_path / "song.wav").chmod(0)
    assert str(tmp_path / "song.wav") in separate(f"input={tmp_path / 'song.wav'}")[2]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], "input input=FILE"),
        (["input=x.wav", "run=null"], "run run=FOLDER"),
        (["input=x.wav", "run=nowhere"], "run=nowhere"),
        (["input=x.wav", "format=aiff"], "format aiff wav flac mp3 ogg stem.mp4"),
        (["input=x.wav", "format=flac", "bits=32"], "bits 32 16 24"),
        (["input=x.wav", "bits=8"], "bits 8"),
        (["input=x.wav", "overlap=abc"], "overlap 'abc'"),
        (["input=x.wav", "overlap=1.0"], "overlap 1.0"),
        (["input=x.wav", "join=mean"], "join 'mean'"),
        (["input=x.wav", "precision=16"], "precision 16"),
        (["input=x.wav", "device=abacus"], "device abacus"),
        (["input=x.wav", "name=%track"], "separated/x.wav %track %target"),
        (["input=x.wav", "name=%trakc-%target"], "name %trakc 'track'"),
        (["input=x.wav", "name=100%"], "name 100% %%"),
        (["input=x.wav", "format=stem.mp4", "name=%target"], "name %target"),
        (["input=[]"], "input"),
        (["input=x.wav", "name=../%target"], "name ../"),
        (["input=x.wav", "name=/%target"], "name /"),
    ],
)
def test_invalid_keys_are_named(error_of, run, tmp_path, words, names):
    song(tmp_path / "work/x.wav", 0.1)
    assert has_names(str(error_of("separate", f"run={run}", *words)), names)
    assert files_below(tmp_path / "work") == ["x.wav"]


def test_separate_exits_with_status_1(refused, run):
    assert "chunk" in refused(f"run={run}", "chunk=3", script=SCRIPT)


def test_an_input_is_never_replaced(cli, tmp_path):
    song(tmp_path / "work/vocals.wav", 0.1)
    before, run = (tmp_path / "work/vocals.wav").read_bytes(), make_run(tmp_path / "run", *SMALL)
    status, _, err = cli(f"run={run}", "input=vocals.wav", "output=.", "name=%target", "overwrite=true", script=SCRIPT)
    assert status == 1 and "vocals.wav: " in err
    assert (tmp_path / "work/vocals.wav").read_bytes() == before


def test_a_file_named_by_dots_stays_in_the_output(error_of, run, tmp_path):
    (tmp_path / "work/in").mkdir()
    song(tmp_path / "work/in/a.wav", 0.1)
    (tmp_path / "work/in/a.wav").rename(tmp_path / "work/in/...wav")
    assert error_of("separate", f"run={run}", "input=in/...wav", "output=out/deep").where == "name"
    assert files_below(tmp_path / "work") == ["in", "in/...wav"]


def test_estimates_with_nan_are_refused(error_of, tmp_path):
    song(tmp_path / "x.wav", 0.1)
    run = make_run(tmp_path / "run", *SMALL)
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["state_dict"]["separator.nets.0.decoder.2.0.bias"] += torch.nan
    torch.save(checkpoint, run / "checkpoints/best.ckpt")
    error = error_of("separate", f"run={run}", f"input={tmp_path / 'x.wav'}")
    assert error.where.endswith("best.ckpt") and error.found == "nets.0.decoder.2.0.bias"
    assert files_below(tmp_path / "work") == []


def test_accompaniment_needs_other_targets(error_of, tmp_path):
    song(tmp_path / "x.wav", 0.1)
    run = make_run(tmp_path / "run", *SMALL, "targets=vocals_accompaniment")
    words = [f"run={run}", f"input={tmp_path / 'x.wav'}", "accompaniment=true"]
    assert "accompaniment" in str(error_of("separate", *words))
    other = make_run(tmp_path / "other", *SMALL, "+targets.rhythm=[drums,bass]", "~targets.vocals", "~targets.drums")
    words = [f"run={other}", f"input={tmp_path / 'x.wav'}", "accompaniment=true"]
    assert has_names(str(error_of("separate", *words)), "accompaniment vocals rhythm")


def test_a_rate_that_a_format_lacks_is_named(separate, tmp_path):
    song(tmp_path / "x.wav", 0.3, rate=1000)
    status, _, err = separate(f"input={tmp_path / 'x.wav'}", "format=mp3")
    assert status == 1 and has_names(err, "mp3 1000")
    assert files_below(tmp_path / "work") == []
    song(tmp_path / "x.wav", 0.3, rate=192_000)
    status, _, err = separate(f"input={tmp_path / 'x.wav'}", "format=stem.mp4")
    assert status == 1 and "192000" in err
    assert files_below(tmp_path / "work") == []


def started(run, path, work, **options):
    words = [sys.executable, str(PROJECT / SCRIPT), f"run={run}", f"input={path}", "device=cpu"]
    return subprocess.Popen(words, cwd=work, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.slow
def test_ctrl_c_leaves_no_files(run, tmp_path):
    song(tmp_path / "long.wav", 600.0)
    (tmp_path / "work").mkdir()
    process = started(run, tmp_path / "long.wav", tmp_path / "work", preexec_fn=hear_ctrl_c)
    deadline = time.monotonic() + 120
    while not files_below(tmp_path / "work") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.splitlines()[-1] == "stopped by Ctrl-C"
    assert files_below(tmp_path / "work") == []


@pytest.mark.slow
def test_a_full_disk_leaves_no_files(run, tmp_path):
    song(tmp_path / "song.wav", 5.0)
    (tmp_path / "work").mkdir()

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))  # bytes

    process = started(run, tmp_path / "song.wav", tmp_path / "work", preexec_fn=small_files)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and err.splitlines()[-1].endswith("File too large")
    assert files_below(tmp_path / "work") == []


def damaged(folder, stem_file, seeds):
    """Yield files of many formats with different damage."""
    (mixture,), rate = audio.read(stem_file)
    short = mixture[:, :20_000].T
    whole = {"mp4": stem_file.read_bytes()}
    for name, options in {
        "wav": {}, "f.wav": {"subtype": "FLOAT"}, "flac": {}, "mp3": {}, "ogg": {}, "aiff": {}, "au": {}, "w64": {}, "caf": {},
    }.items():  # fmt: skip
        soundfile.write(folder / f"whole.{name}", short, rate, **options)
        whole[name] = (folder / f"whole.{name}").read_bytes()
        (folder / f"whole.{name}").unlink()
    for seed in seeds:
        random = np.random.default_rng(seed)
        name = [*whole][seed % len(whole)]
        data = bytearray(whole[name])
        match random.integers(5):
            case 0:  # truncated
                data = data[: random.integers(len(data))]
            case 1:  # bits of the header
                for place in random.integers(0, 100, 5):
                    data[place] ^= 1 << random.integers(8)
            case 2:  # bits anywhere
                for place in random.integers(0, len(data), 50):
                    data[place] ^= 1 << random.integers(8)
            case 3:  # suffix and header of another format
                name = [*whole][random.integers(len(whole))]
                data[:40] = whole[name][:40]
            case 4:  # some bytes are missing or replaced
                start = random.integers(len(data))
                data[start : start + 3000] = random.bytes(random.integers(6000))
        path = folder / f"{seed}.{name}"
        path.write_bytes(data)
        yield path


def survives(cli, run, tmp_path, stem_file, seeds):
    """Check that each file gives an error or complete stems; return the number of files with stems."""
    results = 0
    for path in damaged(tmp_path, stem_file, seeds):
        status, _, err = cli(f"run={run}", f"input={path}", "output=out", script=SCRIPT)
        remaining = files_below(tmp_path / "work")
        if status == 0:
            stems = [soundfile.info(stem) for stem in (tmp_path / "work/out").rglob("*.wav")]
            assert len(stems) == 4 and len({stem.frames for stem in stems}) == 1 and stems[0].frames > 0, path.name
            assert not any(".partial" in name for name in remaining)
            shutil.rmtree(tmp_path / "work/out")
            results += 1
        else:
            assert status == 1 and err.splitlines()[-1].startswith(f"error: {path}: "), (path.name, err)
            assert "Traceback" not in err and remaining == [], path.name
        path.unlink()
    return results


@pytest.mark.slow
def test_damaged_files_give_an_error_or_stems(cli, run, tmp_path, stem_file):
    assert 5 < survives(cli, run, tmp_path, stem_file, range(30)) < 25


@pytest.mark.slow
def test_three_hundred_damaged_files_give_an_error_or_stems(cli, run, tmp_path, stem_file):
    assert 50 < survives(cli, run, tmp_path, stem_file, range(1000, 1300)) < 250


def test_folder_with_a_file_in_two_formats_uses_the_lossless_one(separate, tmp_path):
    (tmp_path / "in").mkdir()
    song(tmp_path / "in/song.wav")
    soundfile.write(tmp_path / "in/song.ogg", np.zeros((8000, 2)), 8000)
    status, _, err = separate(f"input={tmp_path / 'in'}")
    assert status == 0 and "song.ogg" in err
    assert soundfile.info(tmp_path / "work/separated/song/vocals.wav").samplerate == RATE
