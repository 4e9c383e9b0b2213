"""Channels: the gains of ITU-R BS.775, channels by name, and arrays without channel names."""

import av
import numpy as np
import pytest
import soundfile

from unbraid import audio
from unbraid.audio.channels import GAINS, stereo_gains

HALF = 0.5**0.5


def one_each(channels: int) -> np.ndarray:
    """Return a signal [channels, samples] whose channel c is 1 in samples 100 c to 100 c + 99 and 0 elsewhere."""
    return np.kron(np.eye(channels, dtype=np.float32), np.ones(100, np.float32))


@pytest.mark.parametrize("layout", ["3.0", "quad", "4.0", "5.0", "5.1", "5.1(side)", "6.1", "2.1"])
def test_downmix_equals_that_of_ffmpeg(layout):
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    frame = av.AudioFrame.from_ndarray(one_each(len(names)), format="fltp", layout=layout)
    frame.sample_rate = 48000
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48000)
    expected = np.concatenate([part.to_ndarray() for part in resampler.resample(frame)], axis=1)
    gains, message = stereo_gains(names, "downmix")
    assert np.abs(gains @ one_each(len(names)) - expected).max() < 2e-4  # FFmpeg rounds -3 dB to 0.707
    assert "ITU-R BS.775" in message


def test_front_takes_front_channels_by_name():
    names = ["FL", "FC", "FR", "SL", "SR", "LFE"]  # the order of Vorbis
    gains, message = stereo_gains(names, "front")
    assert gains.tolist() == [[1, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]] and "front" in message


@pytest.mark.parametrize(("channels", "centre"), [(3, 2), (5, 2), (6, 2), (7, 2), (8, 2)])
def test_array_without_names_has_its_centre_third(channels, centre):
    mixed = audio.downmix(one_each(channels))
    assert mixed.shape == (2, 100 * channels)
    assert np.allclose(mixed[:, 100 * centre], HALF) and np.allclose(mixed[:, [0, 100]], np.eye(2))


def test_unknown_layout_keeps_the_first_two():
    gains, message = stereo_gains(["NONE"] * 9, "downmix")
    assert gains.tolist() == np.eye(2, 9).tolist() and "unknown" in message


def test_one_and_two_channels_are_unchanged():
    for channels in (1, 2):
        assert np.array_equal(audio.downmix(one_each(channels)), one_each(channels))


def test_mono_is_the_mean_and_stereo_a_copy():
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 100)).astype(np.float32)
    assert np.allclose(audio.to_channels(stereo, 1), stereo.mean(0))
    assert np.array_equal(audio.to_channels(stereo[:1], 2), stereo[[0, 0]])


def surround(path, container: str, codec: str) -> None:
    """Write a second of 5.1 audio with a tone in the centre channel only."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)
    samples = np.zeros((6, 48000), np.float32)
    samples[2] = tone
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=48000, layout="5.1", options={"strict": "-2"})
        for start in range(0, 48000, 960):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, start : start + 960]), format="fltp", layout="5.1"
            )
            frame.sample_rate, frame.pts = 48000, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.mark.parametrize(("container", "codec"), [("ogg", "libopus"), ("mp4", "aac"), ("matroska", "ac3")])
def test_centre_of_a_file_is_on_both_sides(tmp_path, container, codec):
    surround(tmp_path / "film", container, codec)
    level = {}
    for choice in ("downmix", "front"):
        with audio.open_audio(tmp_path / "film", channels=choice) as reader:
            left, right = np.concatenate([*reader], axis=1)[:, 9600:38400]
        assert reader.source_channels == 6 and len(reader.messages) == 1
        level[choice] = [float(np.sqrt(np.mean(side**2))) for side in (left, right)]
    assert np.allclose(level["downmix"], 0.25, atol=0.02)  # 0.5 / sqrt(2), 3 dB quieter
    assert max(level["front"]) < 0.02


def test_wav_without_names_states_the_assumption(tmp_path):
    soundfile.write(tmp_path / "six.wav", one_each(6).T, 48000, subtype="FLOAT")
    messages: list[str] = []
    (samples,), _ = audio.read(tmp_path / "six.wav", messages=messages)
    assert np.allclose(samples, audio.downmix(one_each(6)))
    assert len(messages) == 1 and "assumed" in messages[0]


def test_sum_of_gains_is_bounded():
    assert max(sum(gain) for gain in GAINS.values()) <= 2 * HALF + 1e-9
