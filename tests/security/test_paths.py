"""Tests of names and links in runs, scores and sweeps that lead out of their folder."""

import json
import os

import pytest
from omegaconf import OmegaConf

from tests.conftest import files_below
from tests.reports.sweeps import leave_audio, leave_run, usual
from unbraid.commands import anomaly
from unbraid.commands.trained_run import InputAudio
from unbraid.reports.listening import heard, leave, songs_of
from unbraid.reports.making import report_after_sweep, report_of
from unbraid.reports.variants import read, runs_of, variants_of
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write, below, file_name, is_name
from unbraid.runs.locks import LOCK, is_held
from unbraid.runs.records import Run
from unbraid.scoring.track_records import record_path
from unbraid.sweeps.launchers import ray
from unbraid.sweeps.ledger import Ledger

OUTSIDE = ["x/../../../Music/song", "/etc/passwd", "..", ".", ".hidden", "", "a\nb", "a\0b", "a/b", "\x1b[2J", "x" * 300]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_from_data_are_names_of_files(tmp_path, name):
    assert not is_name(name) and is_name(file_name(name)) and "/" not in file_name(name)
    with pytest.raises(InputError):
        below(tmp_path, "audio", name)
    with pytest.raises(InputError):
        record_path(tmp_path, "estimate", name)


def test_two_names_never_share_a_file():
    names = ["a/b", "a_b", "a b", "a*b", "ab" * 100, "ab" * 101, "AC\\DC", "é"]
    assert len({file_name(name, distinct=True) for name in names}) == len(names)


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["target", "track"])
def test_a_report_skips_scores_with_such_names(tmp_path, name, kind):
    leave_run(tmp_path, 0, "a", 0, [1.0])
    targets = (name,) if kind == "target" else ("vocals",)
    path = leave_run(tmp_path, 1, "b", 0, [1.0], targets=targets) / "scores.json"
    scores = json.loads(path.read_text())
    if kind == "track":
        path.write_text(json.dumps(scores | {"tracks": {name: next(iter(scores["tracks"].values()))}}))
    good, bad = variants_of(runs_of(tmp_path))
    assert good.runs and not bad.runs and "scores.json" in bad.without[0].missing


def test_two_such_targets_get_two_files(tmp_path):
    run = leave_run(tmp_path / "sweep", 0, "a", 0, [1.0], targets=("a*b", "a?b"))
    leave_audio(run, "song 0", targets=("a*b", "a?b"))
    players = heard(variants_of(runs_of(tmp_path / "sweep")))
    found = leave(players, "song 0", 1, tmp_path / "report")
    files = {row["audio"] for rows in found["targets"].values() for row in rows if row["kind"] == "estimate"}
    assert len(files) == 2 and {*files} <= {*files_below(tmp_path / "report")}


@pytest.mark.parametrize("place", ["audio", "audio/song 0", "audio/song 0/vocals-estimate.flac"])
def test_a_report_skips_links_out_of_a_run(tmp_path, place):
    private = leave_audio(tmp_path / "private", "song 0")
    run = leave_run(tmp_path / "sweep", 0, "a", 0, [1.0])
    (run / place).parent.mkdir(parents=True, exist_ok=True)
    (run / place).symlink_to(private / "vocals-estimate.flac" if place.endswith("flac") else private.parents[place == "audio"])
    players = heard(variants_of(runs_of(tmp_path / "sweep")))
    for track in songs_of(players, 1):
        found = leave(players, track, 1, tmp_path / "report")
        assert all("missing" in row for rows in found["targets"].values() for row in rows)
    assert not [name for name in files_below(tmp_path) if name.startswith("report") and name.endswith("flac")]


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "scores.json", "metrics.csv"])
def test_files_of_a_run_are_not_links_out_of_it(tmp_path, name):
    run = leave_run(tmp_path / "sweep", 0, "a", 0, [1.0])
    (run / name).rename(tmp_path / name)
    (run / name).symlink_to(tmp_path / name)
    with pytest.raises(InputError) as raised:
        read(run)
    assert raised.value.where == str(run / name)


@pytest.mark.parametrize("target", ["elsewhere", "dangling", "circle"])
def test_a_report_that_is_a_link_is_not_written(tmp_path, target):
    sweep = usual(tmp_path / "sweep", variants=1, songs=0)
    (tmp_path / "elsewhere").mkdir()
    (sweep / "report").symlink_to(sweep / "report" if target == "circle" else tmp_path / target)
    for write in (report_of, report_after_sweep):
        with pytest.raises(InputError) as raised:
            write(sweep)
        assert raised.value.where == str(sweep / "report")
    assert not files_below(tmp_path / "elsewhere") and not (tmp_path / "dangling").exists()


@pytest.mark.parametrize("place", ["estimate", "estimate/test", "estimate/test/song.json"])
def test_scores_are_not_written_through_links(tmp_path, place):
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "run/scores" / place
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError):
        record_path(tmp_path / "run/scores", "estimate", "song")


def test_a_link_to_a_missing_file_is_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / f".partial-{os.getpid()}-scores.json").symlink_to(tmp_path / "mine.txt")
    with atomic_write(tmp_path / "scores.json") as partial:
        partial.write_text("{}")
    assert (tmp_path / "mine.txt").read_text() == "mine" and (tmp_path / "scores.json").read_text() == "{}"


@pytest.mark.parametrize("label", ["x/../../victim", "/../victim", "x\n", "x" * 300, "link"])
def test_anomalies_are_written_to_their_folder(tmp_path, label):
    folder = tmp_path / "run/anomalies"
    (folder / "song-x").mkdir(parents=True)
    (folder / "song-").mkdir()
    for ending in (".csv", "-planted.csv", ".png"):
        (folder / f"song-link{ending}").symlink_to(tmp_path / "victim")
    sound = InputAudio("song", label, None)
    with pytest.raises(InputError):
        anomaly._write(folder, sound, [(0.0, 1.0, 2.0)])
    with pytest.raises(InputError):
        anomaly._file(folder, sound, ".png")
    assert not [name for name in files_below(tmp_path) if "victim" in name]


@pytest.mark.parametrize("kind", ["link to a file", "link to nothing", "pipe"])
def test_files_that_a_run_appends_to_are_its_own(tmp_path, monkeypatch, kind):
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    folder.mkdir()
    if kind == "link to a file":
        elsewhere.write_text("mine")
    for name in (LOCK, "log.txt"):
        os.mkfifo(folder / name) if kind == "pipe" and name == LOCK else (folder / name).symlink_to(elsewhere)
    with pytest.raises(OSError), Run(folder, OmegaConf.create(), [], {}).held():
        pass
    monkeypatch.setattr(ray, "start", None)
    with pytest.raises(InputError):
        ray.run_here(str(folder), str(tmp_path), 1)
    if kind == "pipe":
        with pytest.raises(InputError):
            is_held(folder)
    assert elsewhere.exists() == (kind == "link to a file") and (kind != "link to a file" or elsewhere.read_text() == "mine")


@pytest.mark.parametrize("target", ["nothing", "ledger.jsonl", "/nowhere/nothing"])
def test_a_ledger_is_not_made_through_a_link(tmp_path, target):
    (tmp_path / "ledger.jsonl").symlink_to(target)
    with pytest.raises((InputError, OSError)):
        Ledger(tmp_path, "s").open()
    assert files_below(tmp_path) == ["ledger.jsonl"]
