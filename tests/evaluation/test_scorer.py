"""Test the scoring of whole tracks: evaluation mode, stored scores, silent references and invalid estimates."""

import os
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import soundfile
import torch
from torch import nn

from tests.models.test_separators import Constant, masking
from tests.scoring.test_protocols import protocol
from unbraid.data.layouts.musdb import MUSDB18
from unbraid.data.store import Store
from unbraid.dsp.stft import STFT
from unbraid.evaluation.methods import MIXED, baselines, mixtures_for
from unbraid.evaluation.score_report import report
from unbraid.evaluation.scorer import ESTIMATE, Evaluation, Scorer, write_scores
from unbraid.inference.chunked import InferenceOptions, streamed
from unbraid.runs.errors import InputError
from unbraid.runs.locks import FileLock
from unbraid.scoring.measures import usdr

VOCALS = torch.tensor([[0.0, 0.0, 0.0, 1.0]])


def opened(root, tmp_path, rate, channels):
    tracks = [track for track in MUSDB18().tracks(root).tracks if track.split == "test"]
    return Store(tmp_path / "store", rate, channels).open(tracks, progress=False)


def scorer_of(scored_as, tracks, folder):
    source_group = scored_as.source_group(["vocals"], VOCALS)
    return Scorer(scored_as, source_group, VOCALS, tracks, folder / "out", folder / "shared", torch.device("cpu"))


@pytest.fixture
def scorer(songs, tmp_path):
    """Return the scorer of the test songs at 8192 Hz, mono."""
    return scorer_of(replace(protocol("energy_ratios"), sample_rate=8192), opened(songs, tmp_path, 8192, 1), tmp_path)


def rows(scorer, net, evaluation=None):
    evaluation = evaluation or Evaluation(InferenceOptions(), 0)
    method = evaluation.of(masking(net), "weights", scorer.tracks, scorer.protocol)
    return {ESTIMATE: method} | baselines(STFT(1024, 768), scorer.protocol)


def test_dropout_is_off_while_scoring(scorer):
    def dropping() -> nn.Module:
        return nn.Sequential(Constant(0.5), nn.Dropout(0.5))

    values = []
    for number, net in enumerate((dropping, partial(Constant, 0.5))):
        mine = replace(scorer, folder=scorer.folder / str(number))
        methods = rows(mine, net)
        assert mine.score(methods, mine.tracks[0], wait=True)
        values.append(mine.scores(methods, "weights")["tracks"])
    assert values[0] == values[1]


def test_estimates_with_nan_are_not_scored(scorer):
    with pytest.raises(InputError) as error:
        scorer.score(rows(scorer, partial(Constant, float("nan"))), scorer.tracks[0], wait=True)
    assert error.value.where == "song 3"
    assert not scorer.folder.exists()


def test_track_is_scored_again_if_estimates_change(scorer):
    methods, track = rows(scorer, partial(Constant, 0.5)), scorer.tracks[0]
    path = scorer.folder / "estimate/test/song 3.json"
    scorer.score(methods, track, wait=True)
    os.utime(path, (0, 0))
    scorer.score(methods, track, wait=True)
    assert path.stat().st_mtime == 0
    estimate = methods[ESTIMATE]
    for changed in (replace(estimate, weights="others"), replace(estimate, options=InferenceOptions(overlap=0.1))):
        scorer.score(methods | {ESTIMATE: changed}, track, wait=True)
        assert path.stat().st_mtime > 0
        os.utime(path, (0, 0))
    other = replace(scorer, protocol=replace(scorer.protocol, tracks="mean"))
    assert other.filed(ESTIMATE, methods[ESTIMATE], track) is None


def test_clip_reuses_the_scored_estimates(scorer, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("unbraid.evaluation.methods.streamed", lambda *arguments: calls.append(1) or streamed(*arguments))
    evaluation = Evaluation(InferenceOptions(), 1)
    scored = rows(scorer, partial(Constant, 0.5), evaluation)
    scorer.score(scored, scorer.tracks[0], wait=True)
    evaluation.leave_clips(scored[ESTIMATE], VOCALS, tmp_path / "run")
    assert len(calls) == 1
    assert (tmp_path / "run/audio/song 3/vocals-estimate.flac").is_file()
    assert (tmp_path / "run/pictures/song 3-vocals.png").is_file()


def test_runs_share_scores_of_mixture_and_oracles(scorer):
    methods = rows(scorer, partial(Constant, 0.5))
    scorer.score(methods, scorer.tracks[0], wait=True)
    another = replace(scorer, folder=scorer.folder / "another")
    assert another.filed(MIXED, methods[MIXED], scorer.tracks[0]) is not None
    assert another.filed(ESTIMATE, methods[ESTIMATE], scorer.tracks[0]) is None


def test_baselines_missing_in_this_cache_are_scored(scorer):
    methods = rows(scorer, partial(Constant, 0.5))
    scorer.score(methods, scorer.tracks[0], wait=True)
    elsewhere = replace(scorer, shared=scorer.shared / "elsewhere")
    assert elsewhere.scores(methods, "weights") == scorer.scores(methods, "weights")


def test_locked_track_is_not_scored(scorer):
    methods, track = rows(scorer, partial(Constant, 0.5)), scorer.tracks[0]
    scorer.score(methods, track, wait=True)
    (lock,) = (scorer.shared / "locks").iterdir()
    with FileLock(lock):
        assert not scorer.score(methods, track, wait=False)
    assert scorer.score(methods, track, wait=False)


def test_scores_in_another_audio_format(songs, tmp_path):
    """Score a mono separator of 8192 Hz at 44.1 kHz in stereo. A mask of 1 returns the mean of both channels, low-passed."""
    scored_as = protocol("musdb18_mdx")
    tracks = opened(songs, tmp_path, 44100, 2)
    scorer = scorer_of(scored_as, tracks, tmp_path)
    method = rows(scorer, partial(Constant, 1.0))[ESTIMATE]
    mixture = tracks[0].tensor(["mixture"])[0]
    (estimate,) = method(tracks[0], scorer.source_group, mixture, mixture[None])
    assert estimate.shape == mixture.shape
    low = torch.fft.rfft(mixture.mean(dim=0))
    low[int(3500 / 44100 * mixture.shape[1]) :] = 0
    made = torch.fft.rfft(estimate[1])
    made[int(3500 / 44100 * mixture.shape[1]) :] = 0
    assert usdr(torch.fft.irfft(low)[None], torch.fft.irfft(made)[None]) > 25
    assert torch.equal(estimate[0], estimate[1])


def test_silent_reference_is_reported(own_songs, tmp_path):
    path = own_songs / "test/song 3/vocals.wav"
    samples, rate = soundfile.read(path)
    soundfile.write(path, 0 * samples, rate)
    scored_as = replace(protocol("musdb18"), sample_rate=8192, channels=1)
    tracks = opened(own_songs, tmp_path, 8192, 1)
    scorer = scorer_of(scored_as, tracks, tmp_path)
    methods = rows(scorer, partial(Constant, 0.5))
    scorer.score(methods, tracks[0], wait=True)
    scores = scorer.scores(methods, "weights")
    assert scores["silent"] == {"song 3": ["vocals"]}
    assert scores["tracks"]["song 3"]["vocals"]["SDR"] is None
    assert scores["summary"]["vocals"]["SDR"]["n"] == 0 and scores["summary"]["vocals"]["SDR"]["undefined"] == 1
    (line,) = (line for line in report(scores, "mine").splitlines() if line.startswith("undefined: "))
    assert "song 3" in line and "vocals" in line


def test_silent_estimates_are_named(scorer):
    methods = rows(scorer, partial(Constant, 0.0))
    scores = scorer.scores(methods, "weights")
    assert scores["silent_estimates"] == {"song 3": ["vocals"]}
    summary = scores["summary"]["vocals"]
    assert summary["uSDR"]["median"] == 0 and summary["SI-SDR"]["undefined"] == 1
    assert scores["silence"]["vocals"] == summary
    text = report(scores, "mine")
    assert any(line.startswith("warning: mine: ") and "vocals" in line for line in text.splitlines())
    lines = [line.split() for line in text.splitlines()]
    mine, mixture = (next(line for line in lines if line[0] == name) for name in ("mine", "mixture"))
    assert (mine[1], mine[3:], len(mixture)) == ("0.00", ["-", "-"], 5)
    assert not any(line[0] == "undefined" for line in lines)  # the uSDR of silence is defined


def test_estimates_like_the_mixture_are_named(scorer):
    text = report(scorer.scores(rows(scorer, partial(Constant, 0.5)), "weights"), "mine")
    assert any(line.startswith("warning: mine: SI-SDRi of vocals") for line in text.splitlines())


def test_other_protocol_does_not_overwrite_scores(scorer):
    methods = rows(scorer, partial(Constant, 0.5))
    scorer.score(methods, scorer.tracks[0], wait=True)
    write_scores(scorer.folder, scorer.scores(methods, "weights"))
    scorer.check_folder()
    with pytest.raises(InputError) as error:
        replace(scorer, protocol=replace(scorer.protocol, tracks="mean")).check_folder()
    assert error.value.where == f"protocol {scorer.protocol.name}" and "protocol.name" in error.value.hint


def test_negative_number_of_clips_is_refused():
    with pytest.raises(InputError) as error:
        Evaluation(InferenceOptions(), -1)
    assert (error.value.where, error.value.found) == ("clips", -1)


@pytest.mark.parametrize(("channels", "scored", "formats"), [(1, 1, []), (1, 2, []), (2, 2, []), (2, 1, [(44100, 2)])])
def test_stereo_separator_reads_stereo_mixtures(channels, scored, formats):
    opened_as = []
    scored_as = replace(protocol("musdb18_mdx"), channels=scored)
    separator = SimpleNamespace(channels=channels)
    tracks = mixtures_for(separator, scored_as, ["scored"], lambda *key: opened_as.append(key) or ["stereo"])
    assert tracks == (["stereo"] if formats else ["scored"]) and opened_as == formats
