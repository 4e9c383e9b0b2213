"""Averages of windows and tracks by hand and by museval, files of scores, and tables of one protocol."""

import json
import math
import shutil

import pytest

from unbraid.runs.errors import InputError
from unbraid.runs.files import write_json
from unbraid.scoring.protocols import Protocol, SourceGroup
from unbraid.scoring.tables import intervals_of_mean, of_track, refuse_mixed, summarise, table
from unbraid.scoring.track_records import TrackScores, read_track, record_path, write_track

VERSIONS = {"torch": "2.11.0"}
BSS = ("SDR", "ISR", "SIR", "SAR")


def protocol(frames="median", tracks="median") -> Protocol:
    return Protocol("mine", "bss_eval", "v4", None, 100, 1, 1.0, 1.0, 512, frames, tracks, "any")


def scores(*values: float | None, samples: int = 400) -> TrackScores:
    """Return a track with one source; each measure is the previous one plus 1 dB."""
    frames = {m: [None if v is None else v + shift for v in values] for shift, m in enumerate(BSS)}
    return TrackScores({"vocals": frames}, samples, ())


def record(of: Protocol) -> dict:
    return json.loads(json.dumps(of.record(SourceGroup(("vocals",), None, False))))


TRACKS = {
    "a song": scores(1.0, None, 4.0, 9.0),
    "another": scores(-2.0, 6.0, samples=200),
    "third": scores(None, None, samples=50),
}


def test_windows_are_averaged_without_undefined_ones():
    track = TRACKS["a song"].frames
    assert of_track(track, protocol("median"))["vocals"]["SDR"] == 4.0
    assert of_track(track, protocol("mean"))["vocals"]["SDR"] == pytest.approx(14 / 3)
    assert of_track(TRACKS["third"].frames, protocol())["vocals"]["SDR"] is None


def test_statistics_over_tracks():
    sdr = summarise([*TRACKS.values()], protocol())["vocals"]["SDR"]
    assert (sdr.pop("low"), sdr.pop("high")) == (2.0, 4.0)  # of two tracks
    assert sdr == pytest.approx(
        {
            "mean": 3.0,
            "median": 3.0,
            "std": 1.0,
            "length_weighted": (4 * 400 + 2 * 200) / 600,
            "n": 2,
            "undefined": 3 / 8,
            "infinite": 0,
            "negative_infinite": 0,
        }
    )
    undefined = summarise([TRACKS["third"]], protocol())["vocals"]["SDR"]
    assert undefined == {
        "mean": None,
        "median": None,
        "std": None,
        "length_weighted": None,
        "n": 0,
        "undefined": 1.0,
        "infinite": 0,
        "negative_infinite": 0,
        "low": None,
        "high": None,
    }


@pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="museval cannot be imported without ffmpeg"
)
@pytest.mark.parametrize("frames", ["median", "mean"])
@pytest.mark.parametrize("tracks", ["median", "mean"])
def test_museval_reads_and_averages_our_files(tmp_path, frames, tracks):
    import museval
    from jsonschema import validate

    chosen = protocol(frames, tracks)
    for name, track in TRACKS.items():
        write_track(record_path(tmp_path, "estimate", name), track, record(chosen), "origin", VERSIONS)
    store = museval.EvalStore(frames_agg=frames, tracks_agg=tracks)
    store.add_eval_dir(tmp_path / "estimate")
    theirs = store.agg_frames_tracks_scores()
    ours = summarise([*TRACKS.values()], chosen)["vocals"]
    assert len(store.df["track"].unique()) == 3
    for measure in BSS:
        assert theirs["vocals", measure] == pytest.approx(ours[measure][tracks])

    track = museval.TrackStore("a song", frames_agg=frames)
    written = json.loads(record_path(tmp_path, "estimate", "a song").read_text())
    validate(written, track.schema)
    track.scores = written
    assert f"{of_track(TRACKS['a song'].frames, chosen)['vocals']['SDR']:.3f}" in repr(track)


def test_written_scores_are_read_back(tmp_path):
    path = record_path(tmp_path, "estimate", "a song")
    write_track(path, TRACKS["a song"], record(protocol()), "origin", VERSIONS)
    assert read_track(path, record(protocol()), "origin", BSS) == TRACKS["a song"]
    assert json.loads(path.read_text())["versions"] == VERSIONS
    frame = json.loads(path.read_text())["targets"][0]["frames"][3]
    assert (frame["time"], frame["duration"]) == (3.0, 1.0)
    perfect = scores(math.inf, None, -math.inf, 2.0)
    write_track(path, perfect, record(protocol()), "origin", VERSIONS)
    assert read_track(path, record(protocol()), "origin", BSS) == perfect
    assert math.isnan(json.loads(path.read_text())["targets"][0]["frames"][0]["metrics"]["SDR"])  # as museval expects


def test_stored_and_summarised_scores_are_not_rounded(tmp_path):
    value = 10 * math.pi + 1e-12
    track, path = scores(value, value), record_path(tmp_path, "estimate", "a song")
    write_track(path, track, record(protocol()), "origin", VERSIONS)
    stored = read_track(path, record(protocol()), "origin", BSS)
    assert stored == track and summarise([stored], protocol())["vocals"]["SDR"]["median"] == value
    write_json(tmp_path / "scores.json", summarise([stored], protocol()))
    assert json.loads((tmp_path / "scores.json").read_text())["vocals"]["SDR"]["mean"] == value


def test_scores_of_other_estimates_are_ignored(tmp_path):
    path = record_path(tmp_path, "estimate", "a song")
    assert read_track(path, record(protocol()), "origin", BSS) is None
    write_track(path, TRACKS["a song"], record(protocol()), "origin", VERSIONS)
    assert read_track(path, record(protocol("mean")), "origin", BSS) is None
    assert read_track(path, record(protocol()), "another", BSS) is None
    assert read_track(path, record(protocol()), "origin", (*BSS, "PESQ")) is None
    changed = json.loads(path.read_text()) | {"code": "other code"}
    path.write_text(json.dumps(changed))
    assert read_track(path, record(protocol()), "origin", BSS) is None
    write_track(path, TRACKS["a song"], record(protocol()), "origin", VERSIONS)
    path.write_text(path.read_text()[:-50])
    assert read_track(path, record(protocol()), "origin", BSS) is None
    path.write_text("[]")
    assert read_track(path, record(protocol()), "origin", BSS) is None


@pytest.mark.parametrize("name", ["../song", "a/b", ".hidden"])
def test_track_names_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(InputError) as error:
        record_path(tmp_path, "estimate", name)
    assert name in error.value.where


def test_different_protocols_are_refused():
    refuse_mixed({"a": record(protocol()), "b": record(protocol())})
    first, second = (record(protocol()) | {"together": names} for names in (["bass", "vocals"], ["vocals", "bass"]))
    refuse_mixed({"a": first, "b": second})
    for other, where, found in (
        (record(protocol("mean")), "protocol.frames", "median for a and mean for b"),
        (record(protocol()) | {"novel": 1}, "protocol.novel", "None for a and 1 for b"),
        (
            record(protocol()) | {"together": ["b"]},
            "protocol.together",
            f"{record(protocol())['together']} for a and ['b'] for b",
        ),
    ):
        with pytest.raises(InputError) as error:
            refuse_mixed({"a": record(protocol()), "b": other})
        assert (error.value.where, error.value.found) == (where, found)


def test_table_of_two_rows():
    rows = {"mine": summarise([*TRACKS.values()], protocol()), "nothing": summarise([TRACKS["third"]], protocol())}
    assert table(rows, record(protocol()), 3).splitlines() == [
        "vocals (median of 3 test tracks, median of windows, dB)        SDR      ISR      SIR      SAR",
        "  mine                                                        3.00     4.00     5.00     6.00",
        "    undefined                                                37.5%    37.5%    37.5%    37.5%",
        "       tracks                                                    2        2        2        2",
        "  nothing                                                        -        -        -        -",
    ]


def cells(*tracks, unit="dB", **more):
    """Return the words of each line of a table, without the heading of the first block."""
    rows = {"mine": summarise(tracks, protocol(**more))}
    return [line.split() for line in table(rows, record(protocol(**more)) | {"unit": unit}, len(tracks)).splitlines()]


def test_undefined_shares_belong_to_one_measure():
    track = TrackScores({"vocals": {"uSDR": [1.0, 3.0], "SI-SDR": [None, 2.0], "LSD": [None, None]}}, 9, ())
    head, *lines = cells(track)
    assert head[-2:] == ["uSDR", "SI-SDR"] and lines == [["mine", "2.00", "2.00"], ["undefined", "50.0%"]]
    text = table({"mine": summarise([track], protocol())}, record(protocol()), 1).splitlines()
    assert text[2].endswith(f"{'50.0%':>9}") and len(text[2]) == len(text[1])  # below SI-SDR


def test_infinite_scores_are_shown_with_their_sign():
    values = {"a": [math.inf, None], "b": [-math.inf, None], "c": [math.inf, -math.inf], "d": [math.inf, -math.inf, 5.0, None]}
    assert cells(TrackScores({"vocals": values}, 9, ()))[1:] == [
        ["mine", "inf", "-inf", "5.00"], ["undefined", "25.0%"], ["+inf", "25.0%"], ["-inf", "25.0%"]
    ]  # fmt: skip


def test_averages_of_fewer_tracks_name_their_number():
    tracks = [TrackScores({"vocals": {"SDR": [sdr], "SAR": [1.0]}}, 9, ()) for sdr in (2.0, math.inf, None)]
    assert cells(*tracks)[1:] == [["mine", "2.00", "1.00"], ["undefined", "33.3%"], ["+inf", "33.3%"], ["tracks", "1"]]


def test_ratios_beyond_the_rounding_limit():
    track = TrackScores({"vocals": {"SAR": [247.86], "SIR": [-247.86], "SDR": [200.0]}}, 9, ())
    assert cells(track)[1] == ["mine", ">", "200", "<", "-200", "200.00"]
    assert cells(track, unit="ms")[1] == ["mine", "247.86", "-247.86", "200.00"]
    rows = {"mine": summarise([track, track], protocol())}
    lines = table(rows, record(protocol()), 2, ["mine"]).splitlines()
    assert lines[2].split() == ["95", "%", "from", ">", "200", "<", "-200", "200.00"]


def test_columns_come_from_all_rows():
    undefined, perfect = summarise([TRACKS["third"]], protocol()), summarise([scores(math.inf, math.inf)], protocol())
    rows = {"silent": undefined, "perfect": perfect, "mixture": summarise([TRACKS["a song"]], protocol())}
    head, *lines = table(rows, record(protocol()), 1).splitlines()
    assert head.split()[-4:] == [*BSS]
    assert [line.split() for line in lines] == [
        ["silent", "-", "-", "-", "-"],
        ["perfect", "inf", "inf", "inf", "inf"],
        ["mixture", "4.00", "5.00", "6.00", "7.00"],
        ["undefined", "25.0%", "25.0%", "25.0%", "25.0%"],
    ]


def test_models_have_two_lines_with_intervals():
    rows = {"mine": summarise([*TRACKS.values()], protocol()), "mixture": summarise([TRACKS["another"]], protocol())}
    assert [line.split() for line in table(rows, record(protocol()), 1, ["mine"]).splitlines()[1:]] == [
        ["mine", "3.00", "4.00", "5.00", "6.00"],
        ["95", "%", "from", "2.00", "3.00", "4.00", "5.00"],
        ["to", "4.00", "5.00", "6.00", "7.00"],
        ["undefined", "37.5%", "37.5%", "37.5%", "37.5%"],
        ["mixture", "2.00", "3.00", "4.00", "5.00"],
    ]
    single = {"mine": summarise([TRACKS["another"]], protocol())}
    assert len(table(single, record(protocol()), 1, ["mine"]).splitlines()) == 2


def test_several_targets_have_a_row_for_their_mean():
    track = scores(1.0, 3.0)
    both = TrackScores(
        {"vocals": track.frames["vocals"], "bass": {m: [7.0] for m in BSS}, "rest": {m: [99.0] for m in BSS}}, 9, ()
    )
    lines = table({"mine": summarise([both], protocol())}, record(protocol()) | {"rest": "rest"}, 1).splitlines()
    assert lines[-2].split()[:4] == ["mean", "of", "2", "targets"]
    assert lines[-1].split() == ["mine", "4.50", "5.00", "5.50", "6.00"]


@pytest.mark.parametrize(
    ("first", "second", "mean"),
    [
        (math.inf, math.inf, "inf"),
        (-math.inf, -math.inf, "-inf"),
        (math.inf, 1.0, "inf"),
        (math.inf, -math.inf, "-"),
        (math.inf, None, "-"),
        (1.0, None, "-"),
    ],
)
def test_mean_of_targets_keeps_infinity(first, second, mean):
    track = TrackScores({"vocals": {"SDR": [first], "SAR": [1.0]}, "bass": {"SDR": [second], "SAR": [1.0]}}, 9, ())
    head, row = cells(track)[-2:]
    columns = dict(zip(head[4:], row[1:], strict=True))
    assert columns.get("SDR", "-") == mean and columns["SAR"] == "1.00"


def test_mean_over_targets_has_an_interval():
    def track(*values):
        return TrackScores({name: {"SDR": [v]} for name, v in zip(("vocals", "bass", "rest"), values, strict=True)}, 9, ())

    tracks = [track(1.0, 7.0, 99.0), track(3.0, 9.0, 0.0)]
    means = intervals_of_mean(tracks, protocol(), "rest")
    assert means == {"SDR": {"low": 4.0, "high": 6.0}}
    rows, rest = {"mine": summarise(tracks, protocol())}, record(protocol()) | {"rest": "rest"}
    lines = [line.split() for line in table(rows, rest, 2, ["mine"], {"mine": means}).splitlines()[-3:]]
    assert lines == [["mine", "5.00"], ["95", "%", "from", "4.00"], ["to", "6.00"]]
    assert not intervals_of_mean([*tracks, track(None, 1.0, 1.0)], protocol(), "rest")
    assert not intervals_of_mean(tracks[:1], protocol(), "rest") and not intervals_of_mean([], protocol(), None)


def test_table_of_length_weighted_means():
    weighted = protocol(tracks="length_weighted")
    text = table({"mine": summarise([*TRACKS.values()], weighted)}, record(weighted), 3)
    assert "mean weighted by length of 3 test tracks" in text and "GSDR" in text and "3.33" in text
