"""Audio and spectrograms for the listening page."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from tests.reports.sweeps import RATE, leave_audio, leave_run, usual
from unbraid.reports.listening import heard, leave, songs_of
from unbraid.reports.variants import runs_of, variants_of


def players(sweep):
    return heard(variants_of(runs_of(sweep)))


def rows_of(song_data, target="vocals"):
    return {row["name"]: row for row in song_data["targets"][target]}


def test_all_variants_get_one_level(tmp_path):
    """The files of the three variants have gains of 1, 1/2 and 1/3."""
    usual(tmp_path / "sweep", songs=1)
    song_data = leave(players(tmp_path / "sweep"), "song 0", 1, tmp_path / "report")
    rows = rows_of(song_data)
    assert [*rows] == ["mixture", "true vocals", "net0", "net1", "net2"] and song_data["missing"] == []
    sounds = {name: soundfile.read(tmp_path / "report" / row["audio"])[0] for name, row in rows.items()}
    assert song_data["seconds"] == 4 and all(len(samples) == 4 * RATE for samples in sounds.values())
    levels = {name: np.std(samples) for name, samples in sounds.items() if name != "mixture"}
    assert max(levels.values()) / min(levels.values()) < 1.02


def test_estimate_and_residual_sum_to_the_mixture(tmp_path):
    usual(tmp_path / "sweep", songs=1)
    rows = rows_of(leave(players(tmp_path / "sweep"), "song 0", 1, tmp_path))
    read = {name: soundfile.read(tmp_path / rows[name]["audio"])[0] for name in ("mixture", "net2")}
    residual = soundfile.read(tmp_path / rows["net2"]["residual"]["audio"])[0]
    assert np.abs(read["mixture"] - read["net2"] - residual).max() < 1e-3


def test_loud_files_are_not_clipped(tmp_path):
    run = leave_run(tmp_path / "sweep", 0, "net0", 0, [1.0])
    leave_audio(run, "song 0")
    quiet = leave_run(tmp_path / "sweep", 1, "net1", 0, [1.0])
    folder = leave_audio(quiet, "song 0", gain=0.25)
    samples, _ = soundfile.read(folder / "vocals-estimate.flac")
    soundfile.write(folder / "vocals-estimate.flac", 10 * samples, RATE, subtype="PCM_24")  # much louder than the mixture
    rows = rows_of(leave(players(tmp_path / "sweep"), "song 0", 1, tmp_path))
    loud, _ = soundfile.read(tmp_path / rows["net1"]["audio"])
    assert 0.99 < np.abs(loud).max() <= 1 and np.mean(np.abs(loud) > 0.999) < 0.01


def test_runs_at_another_rate_get_the_same_level(tmp_path):
    for number, factor in enumerate((1, 2)):
        run = leave_run(tmp_path / "sweep", number, f"net{number}", 0, [1.0])
        folder = leave_audio(run, "song 0", gain=1 / (1 + number))
        for path in folder.iterdir() if factor == 2 else ():
            samples, _ = soundfile.read(path)
            soundfile.write(path, np.repeat(samples, 2), 2 * RATE, subtype="PCM_24")
    rows = rows_of(leave(players(tmp_path / "sweep"), "song 0", 1, tmp_path))
    (one, rate), (two, other) = (soundfile.read(tmp_path / rows[name]["audio"]) for name in ("net0", "net1"))
    assert (rate, other) == (RATE, 2 * RATE) and rows["net1"]["kHz"] == "8"
    assert np.std(one) == pytest.approx(np.std(two), rel=0.02)


def test_files_are_flac_with_safe_names(tmp_path):
    run = leave_run(tmp_path / "sweep", 0, "net0", 0, [1.0], words=["optim.lr=1e-3 %?#"])
    leave_run(tmp_path / "sweep", 1, "net1", 0, [1.0])
    leave_audio(run, "song 0")
    song_data = leave(players(tmp_path / "sweep"), "song 0", 3, tmp_path)
    path = rows_of(song_data)["model=net0 lr=1e-3 %?#"]["audio"]
    assert path == "audio/3-song_0/0-model_net0_lr_1e-3_-vocals.flac"
    assert soundfile.info(tmp_path / path).subtype == "PCM_16"


def test_spectrogram_shows_the_frequency_of_a_tone(tmp_path):
    usual(tmp_path / "sweep", songs=1)
    rows = rows_of(leave(players(tmp_path / "sweep"), "song 0", 1, tmp_path))
    image = imread(tmp_path / rows["true vocals"]["picture"])[..., :3].sum(axis=-1)
    assert image.shape[0] <= 120 and image.shape[1] <= 1000
    middle = image[:, image.shape[1] // 2]
    assert middle.argmax() == pytest.approx(image.shape[0] * (1 - 440 / (RATE / 2)), abs=2)  # row 0 is the highest frequency


def test_songs_with_audio_follow_the_order_of_scores(tmp_path):
    run = leave_run(tmp_path, 0, "net0", 0, [1.0] * 8)
    for track in ("song 5", "song 2"):
        leave_audio(run, track)
    assert songs_of(players(tmp_path), 5) == ["song 2", "song 5"] and songs_of(players(tmp_path), 1) == ["song 2"]


def test_first_run_with_audio_is_played(tmp_path):
    leave_run(tmp_path, 0, "net0", 0, [1.0])
    leave_audio(leave_run(tmp_path, 1, "net0", 1, [1.0]), "song 0")
    assert [player.run.folder.name for player in players(tmp_path)] == ["1-net0-demo-1"]


def test_missing_and_damaged_files_are_listed(tmp_path):
    sweep = usual(tmp_path / "sweep", songs=1)
    (sweep / "2-net1-demo-0/audio/song 0/vocals-estimate.flac").unlink()
    (sweep / "4-net2-demo-0/audio/song 0/vocals-estimate.flac").write_bytes(b"fLaC")
    song_data = leave(players(sweep), "song 0", 1, tmp_path)
    rows = rows_of(song_data)
    assert rows["net1"]["missing"].startswith("2-net1-demo-0/audio/song 0/vocals-estimate.flac: this path does not exist")
    assert rows["net2"]["missing"].startswith("4-net2-demo-0/audio/song 0/vocals-estimate.flac: ")
    assert song_data["missing"] == sorted([rows["net1"]["missing"], rows["net2"]["missing"]])
    assert "audio" in rows["net0"] and "audio" in rows["net1"]["residual"]
    assert str(tmp_path) not in str(song_data)


def test_run_without_audio_of_a_song_is_listed(tmp_path):
    leave_run(tmp_path / "sweep", 0, "net0", 0, [1.0])
    leave_audio(leave_run(tmp_path / "sweep", 1, "net1", 0, [1.0]), "song 0")
    rows = rows_of(leave(players(tmp_path / "sweep"), "song 0", 1, tmp_path))
    assert [name for name, row in rows.items() if "missing" in row] == ["net0"]


def test_each_target_has_its_rows(tmp_path):
    run = leave_run(tmp_path / "sweep", 0, "net0", 0, [1.0], targets=("vocals", "drums"))
    leave_audio(run, "song 0", targets=("vocals", "drums"))
    song_data = leave(players(tmp_path / "sweep"), "song 0", 1, tmp_path)
    assert [row["name"] for row in song_data["targets"]["drums"]] == ["mixture", "true drums", "net0"]
    assert rows_of(song_data)["net0"]["residual"] == rows_of(song_data, "drums")["net0"]["residual"]


def test_level_without_mixture_is_unknown(tmp_path):
    """The true target then comes from a variant with a known level."""
    sweep = usual(tmp_path / "sweep", songs=1)
    (sweep / "0-net0-demo-0/audio/song 0/mixture.flac").unlink()
    rows = rows_of(leave(players(sweep), "song 0", 1, tmp_path))
    assert {name: row["levelled"] for name, row in rows.items() if row["kind"] == "estimate"} == {
        "net0": False, "net1": True, "net2": True,
    }  # fmt: skip
    levels = {name: np.std(soundfile.read(tmp_path / row["audio"])[0]) for name, row in rows.items()}
    assert levels["true vocals"] == pytest.approx(levels["net1"], rel=0.02)


def test_without_any_mixture_all_levels_are_unknown(tmp_path):
    sweep = usual(tmp_path / "sweep", variants=2, songs=1)
    for path in sweep.glob("*/audio/*/mixture.flac"):
        path.unlink()
    rows = rows_of(leave(players(sweep), "song 0", 1, tmp_path))
    assert "audio" in rows["true vocals"] and not rows["net0"]["levelled"] and not rows["net1"]["levelled"]


def test_targets_of_all_variants_are_written(tmp_path):
    leave_audio(leave_run(tmp_path / "sweep", 0, "net0", 0, [1.0]), "song 0")
    both = ("vocals", "drums")
    leave_audio(leave_run(tmp_path / "sweep", 1, "net1", 0, [1.0], targets=both), "song 0", targets=both)
    rows = rows_of(leave(players(tmp_path / "sweep"), "song 0", 1, tmp_path), "drums")
    assert "audio" in rows["true drums"] and "audio" in rows["net1"]
    assert rows["net0"]["missing"].startswith("0-net0-demo-0/audio/song 0/drums-estimate.flac: this path does not exist")


def test_run_in_the_working_directory_is_read(tmp_path, monkeypatch):
    run = leave_run(tmp_path / "sweep", 0, "net0", 0, [1.0])
    (leave_audio(run, "song 0") / "residual.flac").unlink()
    monkeypatch.chdir(run)
    song_data = leave(heard(variants_of([Path()])), "song 0", 1, tmp_path)
    assert song_data["missing"] == ["0-net0-demo-0/audio/song 0/residual.flac: this path does not exist"]
