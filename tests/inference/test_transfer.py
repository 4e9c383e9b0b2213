"""Timbre transfer: analysis of a voice in pieces, and its controls in the range of the training data."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from unbraid.data.controls import Controls, Extraction
from unbraid.inference.transfer import TransferOptions, automatic_shift, check_voice, listen, moved, played
from unbraid.models.instruments import Player
from unbraid.nets.ddsp import Instrument, Training, semitones
from unbraid.runs.errors import InputError

RATE, HOP = 16000, 64
KNOWN = Training(60.0, 66.0, 72.0, -30.0, 6.0)


@dataclass(frozen=True)
class Crossings:
    """Estimate pitch quickly: half the number of sign changes per second in 1024 samples around each point."""

    def __call__(self, waveform: np.ndarray, sample_rate: int, hop_length: int) -> tuple[np.ndarray, np.ndarray]:
        signs = np.signbit(np.pad(waveform, 512))
        changes = np.concatenate([[0], np.cumsum(signs[1:] != signs[:-1])])
        starts = np.arange(len(waveform) // hop_length + 1) * hop_length
        hz = (changes[np.minimum(starts + 1023, len(changes) - 1)] - changes[starts]) * sample_rate / 2046
        return np.maximum(hz, 20).astype(np.float32), np.where(hz > 50, 0.9, 0.1).astype(np.float32)


def player(latent: int = 0) -> Player:
    torch.manual_seed(0)
    instrument = Instrument(RATE, HOP, 8, 1, 20, 9, latent, 0.05).eval()
    instrument.start_from(KNOWN)
    return Player(instrument, Extraction(RATE, 1, 1.0, 250, Crossings(), 0.5), None, OmegaConf.create())


def glide(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    hz = 200 + 40 * np.sin(time)
    return (0.2 * np.sin(2 * math.pi * np.cumsum(hz) / RATE) * (1 + 0.5 * np.sin(0.7 * time))).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.01, 1.0, 9.6, 12.345, 19.3])
def test_length_of_blocks_does_not_change_controls(seconds):
    instrument_player, voice = player(latent=2), glide(seconds)
    heard = listen(instrument_player, (voice[start : start + 5000] for start in range(0, len(voice), 5000)))
    whole = instrument_player.features(torch.from_numpy(voice))
    assert heard.samples == len(voice) and len(heard.controls.f0) == len(voice) // HOP + 1
    for curve, expected in zip(heard.controls, whole, strict=True):
        assert torch.allclose(curve, expected, atol=1e-3)
    coefficients = instrument_player.instrument.coefficients(torch.from_numpy(voice)[None])[0]
    assert torch.allclose(heard.coefficients, coefficients, atol=1e-3)


def test_pieces_join_to_the_whole_sound():
    instrument_player, voice = player(), glide(19.3)
    instrument = instrument_player.instrument
    heard = listen(instrument_player, [voice])
    target = moved(heard.controls, instrument_player.features, KNOWN, options())
    pieces = [sound for sound, _ in played(instrument, target, heard, options())]
    assert len(pieces) > 2 and sum(map(len, pieces)) == len(voice)
    whole = torch.cat([
        sound for sound, _ in instrument.perform(target.f0, target.loudness, gate=target.gate, points=10**6)
    ])[: len(voice)]  # fmt: skip
    assert (torch.cat(pieces) - whole).abs().max() < 1e-4 * whole.abs().max()


def options(**options) -> TransferOptions:
    return TransferOptions(**({"shift": "auto", "loudness": "match", "silence_db": 45, "reverb": True, "seed": 0} | options))


@pytest.mark.parametrize(("median", "shift"), [(66, 0), (61, 0), (55, 12), (80, -12), (42, 24), (90, -24), (30, 36)])
def test_pitch_is_shifted_by_octaves(median, shift):
    assert automatic_shift(median, KNOWN) == shift


@pytest.mark.parametrize(("median", "shift"), [(40, 12), (60, 0), (90, -12)])
def test_shift_is_the_smallest_of_several_octaves(median, shift):
    assert automatic_shift(median, Training(48, 66, 84, -30, 6)) == shift


def test_pitch_is_shifted_by_semitones_if_needed():
    assert automatic_shift(62, Training(65, 66, 68, -30, 6)) == 3
    assert automatic_shift(70, Training(65, 66, 68, -30, 6)) == -2


def voice_controls() -> Controls:
    level = torch.full((400,), -20.0)
    level[:100], level[200:300] = -34.0, -75.0
    return Controls(torch.full((400,), 110.0), level, (level > -50).float())


def test_pitch_and_loudness_match_the_training_data():
    features = player().features
    target = moved(voice_controls(), features, KNOWN, options())
    assert target.shift == 24 and float(semitones(target.f0).median()) == pytest.approx(69, abs=0.01)
    audible = voice_controls().loudness > -50
    assert target.gate[audible][10:-10].min() > 0 and target.gate[210:290].max() == 0
    assert float(target.loudness[audible].max()) > -30 > float(target.loudness[audible].min())
    kept = moved(voice_controls(), features, KNOWN, options(loudness="keep", shift=0.0))
    assert torch.equal(kept.loudness[audible], voice_controls().loudness[audible]) and (kept.f0 == 110).all()
    assert (kept.loudness[200:300] == -100).all()


def test_shift_beyond_playable_pitch_is_refused():
    with pytest.raises(InputError, match="shift=70"):
        moved(voice_controls(), player().features, KNOWN, options(shift=70.0))


def test_silence_and_several_voices_are_refused():
    features, controls = player().features, voice_controls()
    check_voice(controls, features, 0.65, "input=x.wav")
    loud = torch.full((400,), -20.0)
    cases = {
        "silent": controls._replace(loudness=torch.full((400,), -100.0)),
        "no part": controls._replace(loudness=loud, periodicity=torch.zeros(400)),
        "too little": controls._replace(loudness=loud, periodicity=torch.where(torch.arange(400) < 40, 0.9, 0.2)),
    }
    for problem, refused in cases.items():
        with pytest.raises(InputError) as error:
            check_voice(refused, features, 0.65, "input=x.wav")
        assert error.value.where == "input=x.wav" and problem in error.value.problem
    assert error.value.found == "10%" and "65%" in error.value.expected


def test_smallest_share_of_voice_can_be_set():
    features, controls = player().features, voice_controls()
    share = controls._replace(loudness=torch.full((400,), -20.0), periodicity=(torch.arange(400) < 40).float())
    check_voice(share, features, 0.1, "input=x.wav")
    with pytest.raises(InputError):
        check_voice(share._replace(periodicity=torch.zeros(400)), features, 0.0, "input=x.wav")


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("seed", 10**30), ("silence_db", 0.0)])
def test_invalid_options_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        options(**{name: value})


@pytest.mark.parametrize(
    ("f0", "loudness", "more", "name"),
    [
        ([10.0, 10.0], [-20.0, -20.0], {}, "f0"),
        ([100.0, math.nan], [-20.0, -20.0], {}, "f0"),
        ([100.0], [-20.0, -20.0], {}, "loudness"),
        ([100.0], [math.inf], {}, "loudness"),
        ([100.0], [-20.0], {"frames_per_second": 100.0}, "frames_per_second"),
        ([100.0], [-20.0], {"seed": 10**30}, "seed"),
        ([100.0], [-20.0], {"timbre": torch.zeros(64)}, "timbre"),
    ],
)
def test_invalid_controls_are_refused(f0, loudness, more, name):
    with pytest.raises(InputError, match=name):
        player().synthesise(f0, loudness, **more)


def test_player_uses_its_own_sample_rate():
    instrument_player = player()
    sound = instrument_player.synthesise([220.0] * 50, [-20.0] * 50, frames_per_second=250)
    assert sound.shape == (50 * HOP,) and sound.abs().max() > 1e-4
    controls = instrument_player.listen(torch.from_numpy(glide(1.0)), RATE)
    assert float(controls.f0.median()) == pytest.approx(220, rel=0.1)
    with pytest.raises(InputError, match="sample_rate"):
        instrument_player.listen(torch.zeros(100), 44100)
    with pytest.raises(InputError, match="timbre"):
        player(latent=2).synthesise([220.0], [-20.0])
    assert len(player(latent=2).synthesise([220.0] * 9, [-20.0] * 9, timbre=torch.zeros(9 * HOP))) == 9 * HOP
