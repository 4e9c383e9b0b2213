"""Reading and writing: written samples are read back, and an error names each file that cannot be read."""

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from unbraid import audio
from unbraid.audio.reader import open_container
from unbraid.runs.errors import InputError


def noise(samples: int = 4000, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (channels, samples)).astype(np.float32)


def test_mixture_of_a_stem_file_differs_from_sum(stem_file):
    (mixture, *stems), rate = audio.read(stem_file, range(5))
    assert rate == 44100
    assert mixture.shape == (2, 268288) and all(stem.shape == mixture.shape for stem in stems)
    residual = mixture - sum(stems)
    assert 0.02 < np.sqrt(np.mean(residual**2)) < 0.04
    assert np.abs(mixture).max() > 1  # peaks over 1 of lossy files must not be clipped


def test_streams_are_in_the_requested_order(stem_file):
    both, _ = audio.read(stem_file, [4, 1])
    (vocals,), _ = audio.read(stem_file, [4])
    assert np.array_equal(both[0], vocals) and not np.array_equal(both[1], vocals)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_written_samples_are_read_back(tmp_path, suffix):
    audio.write(tmp_path / f"a.{suffix}", noise(), 8192)
    (samples,), rate = audio.read(tmp_path / f"a.{suffix}")
    assert rate == 8192
    assert np.abs(samples - noise()).max() <= 2**-23
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{suffix}"]


def test_int16_is_written_as_it_is(tmp_path):
    samples = np.array([[-32768, 0, 1, 32767]], np.int16)
    audio.write(tmp_path / "a.wav", samples, 44100)
    assert np.array_equal(soundfile.read(tmp_path / "a.wav", dtype="int16")[0], samples[0])


def broken_files(folder: Path, stem_file: Path) -> dict[str, tuple[Path, str]]:
    """Return files that are not audio or are incomplete, each with a word of its problem."""
    soundfile.write(folder / "whole.wav", noise(40000).T, 44100)
    soundfile.write(folder / "nan.wav", np.array([0.0, np.nan]), 44100, subtype="FLOAT")
    soundfile.write(folder / "none.wav", np.zeros((0, 2)), 44100)
    (folder / "text.wav").write_text("this is not audio")
    (folder / "empty.wav").touch()
    (folder / "cut.wav").write_bytes((folder / "whole.wav").read_bytes()[:30000])
    (folder / "cut.stem.mp4").write_bytes(stem_file.read_bytes()[:400000])
    return {
        "missing": (folder / "missing.wav", "does not exist"),
        "text": (folder / "text.wav", "damaged"),
        "empty": (folder / "empty.wav", "damaged"),
        "none": (folder / "none.wav", "no samples"),
        "cut wav": (folder / "cut.wav", "truncated"),
        "cut mp4": (folder / "cut.stem.mp4", "truncated"),
        "nan": (folder / "nan.wav", "NaN"),
    }


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "none", "cut wav", "cut mp4", "nan"])
def test_unusable_file_is_named(tmp_path, stem_file, kind):
    path, problem = broken_files(tmp_path, stem_file)[kind]
    with pytest.raises(InputError) as caught:
        audio.read(path)
    assert caught.value.where == str(path) and problem in caught.value.problem


def test_missing_stream_is_named(stem_file):
    with pytest.raises(InputError) as caught:
        audio.read(stem_file, [6])
    assert (caught.value.where, caught.value.found, caught.value.expected) == (str(stem_file), 6, "0 to 4")


def test_chosen_stream_of_several_is_stated(stem_file):
    with audio.open_audio(stem_file, stream=4) as reader:
        vocals = np.concatenate([*reader], axis=1)
    assert "audio stream 4" in reader.messages[0]
    assert np.array_equal(vocals, audio.read(stem_file, [4])[0][0])


def test_written_samples_must_be_finite(tmp_path):
    for samples in (np.array([[0.0, np.nan]]), np.array([[np.inf, 0.0]])):
        with pytest.raises(InputError) as caught:
            audio.write(tmp_path / "a.wav", samples, 44100)
        assert caught.value.where == str(tmp_path / "a.wav")
    assert [*tmp_path.iterdir()] == []


LIVE = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.mp3\n"
PLAYLISTS = {
    "hls_live.m3u8": LIVE,
    "hls.m3u8": LIVE + "#EXT-X-ENDLIST\n",
    "hls.mp3": LIVE + "#EXT-X-ENDLIST\n",
    "concat.mp3": "ffconcat version 1.0\nfile secret.mp3\n",
    "itself.mp3": "ffconcat version 1.0\nfile itself.mp3\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("reader", [audio.read, audio.seconds, lambda path: audio.open_audio(path).__enter__()])
def test_playlist_is_refused(tmp_path, name, reader):
    soundfile.write(tmp_path / "secret.mp3", noise(44100).T, 44100)
    (tmp_path / name).write_text(PLAYLISTS[name])
    with pytest.raises(InputError) as caught:
        reader(tmp_path / name)
    assert caught.value.where == str(tmp_path / name)


def test_name_like_a_protocol_is_a_file(tmp_path, monkeypatch, stem_file):
    monkeypatch.chdir(tmp_path)
    Path("concat:a").write_bytes(stem_file.read_bytes())
    assert len(audio.read(Path("concat:a"))[0]) == 1


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.m4a", "aac"), ("a.mp4", "aac"), ("a.mkv", "aac"), ("a.webm", "libopus"), ("a.opus", "libopus"), ("a.aac", "aac"),
        ("a.mov", "pcm_s16le"), ("a.avi", "mp3"), ("a.ts", "aac"), ("a.wma", "wmav2"), ("a.ac3", "ac3"), ("a.eac3", "eac3"),
        ("a.wv", "wavpack"), ("a.tta", "tta"), ("a.flv", "aac"), ("a.caf", "alac"), ("a.mpg", "mp2"),
    ],
)  # fmt: skip
def test_audio_containers_are_opened(tmp_path, name, codec):
    path = tmp_path / name
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=48000, layout="stereo", options={"strict": "-2"})
        stream.bit_rate = 128_000
        for start in range(0, 48000, 4800):
            frame = av.AudioFrame.from_ndarray(noise(4800), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 48000, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with open_container(path) as container, audio.open_audio(path) as blocks:
        assert container.streams.audio and blocks.rate == 48000
        assert sum(block.shape[1] for block in blocks) > 40000
