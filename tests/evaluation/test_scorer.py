"""Scoring whole tracks: in evaluation mode, each track once, and never from numbers that are none."""

import os
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import soundfile
import torch
from filelock import FileLock
from torch import nn

from tests.models.test_separators import Constant, masking
from tests.scoring.test_protocols import protocol
from unbraid.data.layouts.musdb import MUSDB18
from unbraid.data.store import Store
from unbraid.dsp.stft import STFT
from unbraid.evaluation.methods import mixtures_for
from unbraid.evaluation.scorer import ESTIMATE, MIXED, Evaluation, Scorer, baselines, report, write_scores
from unbraid.inference.chunked import InferenceOptions, streamed
from unbraid.runs.errors import InputError
from unbraid.scoring.measures import usdr

VOCALS = torch.tensor([[0.0, 0.0, 0.0, 1.0]])


def opened(root, tmp_path, rate, channels):
    tracks = [track for track in MUSDB18().tracks(root).tracks if track.split == "test"]
    return Store(tmp_path / "store", rate, channels).open(tracks, progress=False)


@pytest.fixture
def scorer(songs, tmp_path):
    """Of the test songs at 8192 Hz, mono."""
    one = replace(protocol("energy_ratios"), sample_rate=8192)
    source_group = one.source_group(["vocals"], VOCALS)
    tracks = opened(songs, tmp_path, 8192, 1)
    return Scorer(one, source_group, VOCALS, tracks, tmp_path / "out", tmp_path / "shared", torch.device("cpu"))


def rows(scorer, net, evaluation=None):
    evaluation = evaluation or Evaluation(InferenceOptions(), 0)
    method = evaluation.of(masking(net), "weights", scorer.tracks, scorer.protocol)
    return {ESTIMATE: method} | baselines(STFT(1024, 768))


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


def test_numbers_that_are_none_are_not_scored(scorer):
    with pytest.raises(InputError, match="song 3: the estimates are not numbers; training diverged"):
        scorer.score(rows(scorer, partial(Constant, float("nan"))), scorer.tracks[0], wait=True)
    assert not scorer.folder.exists()


def test_a_track_is_scored_once_and_again_where_its_estimate_changes(scorer):
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


def test_mixture_and_oracles_are_scored_once_for_all_runs(scorer):
    methods = rows(scorer, partial(Constant, 0.5))
    scorer.score(methods, scorer.tracks[0], wait=True)
    another = replace(scorer, folder=scorer.folder / "another")
    assert another.filed(MIXED, methods[MIXED], scorer.tracks[0]) is not None
    assert another.filed(ESTIMATE, methods[ESTIMATE], scorer.tracks[0]) is None


def test_what_lies_in_the_cache_of_another_machine_is_scored_here(scorer):
    methods = rows(scorer, partial(Constant, 0.5))
    scorer.score(methods, scorer.tracks[0], wait=True)
    elsewhere = replace(scorer, shared=scorer.shared / "elsewhere")
    assert elsewhere.scores(methods, "weights") == scorer.scores(methods, "weights")


def test_a_track_that_another_process_is_at_is_left_to_it(scorer):
    methods, track = rows(scorer, partial(Constant, 0.5)), scorer.tracks[0]
    scorer.score(methods, track, wait=True)
    (lock,) = (scorer.shared / "locks").iterdir()
    with FileLock(lock):
        assert not scorer.score(methods, track, wait=False)
    assert scorer.score(methods, track, wait=False)


def test_another_rate_and_more_channels_than_the_networks(songs, tmp_path):
    """Scored at 44.1 kHz in stereo what was heard at 8192 Hz in mono: a mask of one gives back the mixture's mean, dull."""
    one = replace(protocol("musdb18_mdx"))
    tracks = opened(songs, tmp_path, 44100, 2)
    scorer = Scorer(
        one, one.source_group(["vocals"], VOCALS), VOCALS, tracks, tmp_path / "out", tmp_path / "sh", torch.device("cpu")
    )
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


def test_a_silent_reference_is_named_and_counted(own_songs, tmp_path):
    path = own_songs / "test/song 3/vocals.wav"
    samples, rate = soundfile.read(path)
    soundfile.write(path, 0 * samples, rate)
    one = replace(protocol("musdb18"), sample_rate=8192, channels=1)
    tracks = opened(own_songs, tmp_path, 8192, 1)
    scorer = Scorer(
        one, one.source_group(["vocals"], VOCALS), VOCALS, tracks, tmp_path / "o", tmp_path / "s", torch.device("cpu")
    )
    methods = rows(scorer, partial(Constant, 0.5))
    scorer.score(methods, tracks[0], wait=True)
    scores = scorer.scores(methods, "weights")
    assert scores["silent"] == {"song 3": ["vocals"]}
    assert scores["tracks"]["song 3"]["vocals"]["SDR"] is None
    assert scores["summary"]["vocals"]["SDR"]["n"] == 0 and scores["summary"]["vocals"]["SDR"]["undefined"] == 1
    assert "undefined: song 3, where vocals is silent throughout" in report(scores, "mine")


def test_another_protocol_of_the_same_name_does_not_overwrite_scores(scorer):
    methods = rows(scorer, partial(Constant, 0.5))
    scorer.score(methods, scorer.tracks[0], wait=True)
    write_scores(scorer.folder, scorer.scores(methods, "weights"))
    scorer.check_folder()
    with pytest.raises(InputError, match=r"tracks is median for .*scores.json and mean for .*protocol.name=…"):
        replace(scorer, protocol=replace(scorer.protocol, tracks="mean")).check_folder()


def test_a_negative_number_of_clips_is_refused():
    with pytest.raises(InputError, match="clips must be at least 0, found -1"):
        Evaluation(InferenceOptions(), -1)


@pytest.mark.parametrize(("heard", "scored", "asked"), [(1, 1, []), (1, 2, []), (2, 2, []), (2, 1, [(44100, 2)])])
def test_a_stereo_separator_has_stereo_mixtures_also_if_scores_are_mono(heard, scored, asked):
    found, one = [], replace(protocol("musdb18_mdx"), channels=scored)
    tracks = mixtures_for(SimpleNamespace(channels=heard), one, ["scored"], lambda *form: found.append(form) or ["stereo"])
    assert tracks == (["stereo"] if asked else ["scored"]) and found == asked
