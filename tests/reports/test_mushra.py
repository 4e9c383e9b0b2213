"""Folder of a MUSHRA test, files of listeners, and the results of simulated listeners."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from tests.conftest import files_below
from tests.reports.sweeps import RATE, TRACKS, leave_audio, leave_run, usual
from unbraid.reports.mushra import loudest, low_pass, make_test
from unbraid.reports.mushra_results import MOST_BYTES, read_key, read_listeners, scores_of_items
from unbraid.reports.mushra_summary import summarise_test
from unbraid.reports.variants import runs_of, variants_of
from unbraid.runs.errors import InputError


def make(sweep, songs=5, seconds=1.0, target=None):
    make_test(variants_of(runs_of(sweep)), sweep / "listening", songs, seconds, target)
    return sweep / "listening"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a test of eight items in the folder of its sweep."""
    return make(usual(tmp_path_factory.mktemp("sweeps") / "sweep", songs=8), songs=8)


@pytest.fixture
def test(made, tmp_path):
    """Return a copy of the test and of its sweep, without the audio files of the runs."""
    shutil.copytree(made.parent, tmp_path / "sweep", ignore=lambda folder, _: ["audio"] if folder.endswith("-0") else [])
    return tmp_path / "sweep/listening"


def ratings_of(folder, name, rule, place):
    """Write the file of a listener to the folder `place`. `rule` returns the ratings of an item from the number of the item."""
    key = json.loads((folder / "key.json").read_text())
    items = [
        {"item": item["item"], "seconds": 9.5, "ratings": dict(zip(item["stimuli"], rule(number), strict=True))}
        for number, item in enumerate(key["items"])
    ]
    content = {"made_by": "unbraid listening", "test": key["test"], "session": name, "listener": name, "items": items}
    path = place / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def test_the_page_does_not_name_the_systems(made):
    key = json.loads((made / "key.json").read_text())
    names = [entry["name"] for entry in key["conditions"]]
    assert names == ["hidden reference", "net0", "net1", "net2", "anchor: mixture", "anchor: 3.5 kHz"]
    assert [entry.get("run") for entry in key["conditions"]][1:4] == [f"../{n}-demo-0" for n in ("0-net0", "2-net1", "4-net2")]
    pages = [path.read_text() for path in (made / "page").iterdir() if path.is_file()]
    assert not any("net0" in text or "song 0" in text for text in pages)
    files = [name for name in files_below(made / "page") if name.endswith(".flac")]
    assert {*files} == {
        f"audio/{item['item']}/{name}.flac" for item in key["items"] for name in ["reference", *item["stimuli"]]
    }
    data = (made / "page/mushra-data.js").read_text()
    shown = json.loads(json.loads(data.partition("(")[2].rpartition(")")[0]))
    assert shown["test"] == key["test"] and all(item["stimuli"] == sorted(item["stimuli"]) for item in shown["items"])


def test_stimuli_have_one_gain_and_one_excerpt(made):
    key = json.loads((made / "key.json").read_text())
    folder = made / "page/audio/1"
    reference, *systems, mixture, anchor = [soundfile.read(folder / f"{name}.flac")[0] for name in key["items"][0]["stimuli"]]
    assert all(len(samples) == RATE for samples in (reference, *systems, mixture, anchor))
    assert np.array_equal(reference, soundfile.read(folder / "reference.flac")[0])
    middle = slice(RATE // 10, -RATE // 10)
    noise = [np.std((samples - reference)[middle]) for samples in systems]
    assert noise == pytest.approx([0.01, 0.02, 0.03], rel=0.1)  # the runs had the gains 1, 1/2 and 1/3
    assert np.std((mixture - reference)[middle]) == pytest.approx(0.3 / np.sqrt(2), rel=0.02)
    assert np.abs((anchor - reference)[middle]).max() < 0.005  # the tones are below 3.5 kHz
    assert reference[0] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_the_low_anchor_has_the_filter_of_the_standard(rate):
    impulse = np.zeros((1, rate))
    impulse[0, rate // 2] = 1
    decibel = 20 * np.log10(np.abs(np.fft.rfft(low_pass(impulse, rate)[0])) + 1e-12)  # one bin per Hz
    assert np.abs(decibel[:3501]).max() < 0.1
    assert decibel[4000:].max() < -25 and decibel[4500:].max() < -50
    assert np.argmax(low_pass(impulse, rate)) == rate // 2


def test_the_loudest_excerpt_is_taken():
    samples = np.full((2, 100), 0.1)
    samples[:, 40:60] = 0.5
    assert loudest(samples, 20) == 40 and loudest(samples, 100) == 0


def test_tracks_without_all_files_are_left_out(tmp_path):
    usual(tmp_path / "sweep", songs=4)
    (tmp_path / "sweep/2-net1-demo-0/audio/song 0/vocals-estimate.flac").unlink()
    (tmp_path / "sweep/4-net2-demo-0/audio/song 1/mixture.flac").unlink()
    items, missing = make_test(variants_of(runs_of(tmp_path / "sweep")), tmp_path / "test", 2, 1.0)
    assert items == 2 and [reason.split(":")[0] for reason in missing] == ["song 0, vocals", "song 1, vocals"]
    assert [item["track"] for item in json.loads((tmp_path / "test/key.json").read_text())["items"]] == ["song 2", "song 3"]


def test_every_target_is_an_item(tmp_path):
    for number in range(2):
        run = leave_run(tmp_path / "sweep", number, f"net{number}", 0, [1.0, 2.0], targets=("vocals", "bass"))
        leave_audio(run, TRACKS[0], targets=("vocals", "bass"))
    items = json.loads((make(tmp_path / "sweep") / "key.json").read_text())["items"]
    assert [(item["item"], item["target"]) for item in items] == [(1, "vocals"), (2, "bass")]
    shutil.rmtree(tmp_path / "sweep/listening")
    items = json.loads((make(tmp_path / "sweep", target="bass") / "key.json").read_text())["items"]
    assert [(item["item"], item["target"]) for item in items] == [(1, "bass")]


@pytest.mark.parametrize(
    ("variants", "songs", "target", "where", "found"),
    [(1, 1, None, "runs", 1), (9, 1, None, "runs", 9), (2, 0, None, "runs", None), (2, 1, "vocal", "target=vocal", None)],
)
def test_a_test_that_cannot_be_made(tmp_path, variants, songs, target, where, found):
    usual(tmp_path / "sweep", variants=variants, songs=songs, tracks=2)
    with pytest.raises(InputError) as raised:
        make(tmp_path / "sweep", target=target)
    assert (raised.value.where, raised.value.found) == (where, found) and raised.value.hint
    assert not (tmp_path / "sweep/listening").exists() and not [*(tmp_path / "sweep").glob(".partial*")]


def test_a_low_sample_rate_has_no_anchor(made, monkeypatch, tmp_path):
    monkeypatch.setattr("unbraid.reports.mushra.STOP_HZ", 5000)
    with pytest.raises(InputError) as raised:
        make_test(variants_of(runs_of(made.parent)), tmp_path / "other", 1, 1.0)
    assert raised.value.where == "runs" and "8000 Hz" in raised.value.problem


def simulate(test, measure="SIR"):
    """Give the runs two measures of random order, and write the files of four listeners who follow one of the measures."""
    generator = np.random.default_rng(3)
    scores = generator.normal(8, 4, (2, 3, 8))
    for variant, number in enumerate((0, 2, 4)):
        path = test.parent / f"{number}-net{variant}-demo-0/scores.json"
        content = json.loads(path.read_text())
        for track, name in enumerate(TRACKS):
            content["tracks"][name]["vocals"] = {"NSDR": scores[0, variant, track], "SIR": scores[1, variant, track]}
        path.write_text(json.dumps(content))
    rule = scores[["NSDR", "SIR"].index(measure)]

    def rate(number):
        systems = (50 + 3 * rule[:, number] + generator.normal(0, 3, 3)).clip(0, 100)
        return [generator.uniform(92, 100), *systems, 15.0, 30]

    files = [ratings_of(test, name, rate, test.parent) for name in ("anna", "ben", "eva", "ida")]
    return [*files, ratings_of(test, "random", lambda _: generator.uniform(0, 100, 6).tolist(), test.parent)]


@pytest.mark.parametrize(("measure", "other"), [("SIR", "NSDR"), ("NSDR", "SIR")])
def test_simulated_listeners_give_the_right_measure(test, capsys, measure, other):
    summarise_test(test, simulate(test, measure))
    out = capsys.readouterr().out
    assert "4 of 5 kept, 8 items" in out and "random.json (random): hidden reference below 90 in" in out
    assert f"by {measure} (ikala_nsdr) agrees best" in out and "All other measures agree less" in out
    summary = json.loads((test / "summary.json").read_text())
    best, second = summary["measures"]
    assert (best["measure"], second["measure"]) == (f"{measure} (ikala_nsdr)", f"{other} (ikala_nsdr)")
    assert best["items"] > 0.8 and best["low"] > 0.3 and second["worse"] and summary["listeners"] == 4
    assert list(summary["excluded"]) == ["random.json (random)"]
    reference = summary["ratings"]["hidden reference"]
    assert 92 < reference["low"] < reference["mean"] < reference["high"] <= 100
    assert summary["ratings"]["anchor: mixture"] == {"mean": 15, "low": 15, "high": 15}


def test_no_measure_agrees_if_all_scores_are_equal(test, capsys):
    files = simulate(test)
    for run in test.parent.glob("*-demo-0"):
        content = json.loads((run / "scores.json").read_text())
        for track in content["tracks"].values():
            track["vocals"] = {"NSDR": 8.0, "SIR": 8.0}
        (run / "scores.json").write_text(json.dumps(content))
    summarise_test(test, files)
    out = capsys.readouterr().out
    assert "No measure is shown to rank the systems" in out and "agrees best" not in out
    assert [result["items"] for result in json.loads((test / "summary.json").read_text())["measures"]] == [0, 0]


def test_random_listeners_only(test):
    with pytest.raises(InputError) as raised:
        summarise_test(test, simulate(test)[-1:])
    assert raised.value.where == "results" and not (test / "summary.json").exists()


def test_scores_of_all_protocols_are_compared(test):
    for run in test.parent.glob("*-demo-0"):
        content = json.loads((run / "scores.json").read_text())
        content["protocol"] = content["protocol"] | {"name": "other"}
        (run / "scores/other").mkdir(parents=True)
        (run / "scores/other/scores.json").write_text(json.dumps(content))
        content["protocol"] = content["protocol"] | {"name": "mixed", "frames": run.name}  # differs between the runs
        (run / "scores/mixed").mkdir(parents=True)
        (run / "scores/mixed/scores.json").write_text(json.dumps(content))
    tables = scores_of_items(read_key(test))
    assert [*tables] == ["NSDR (ikala_nsdr)", "SIR (ikala_nsdr)", "NSDR (other)", "SIR (other)"]
    assert tables["NSDR (other)"].shape == (8, 3)
    shutil.rmtree(test.parent / "2-net1-demo-0")
    with pytest.raises(InputError) as raised:
        scores_of_items(read_key(test))
    assert raised.value.where.endswith("2-net1-demo-0")


def test_runs_without_common_scores_are_not_compared(test, capsys):
    files = simulate(test)
    for run in test.parent.glob("*-demo-0"):
        (run / "scores.json").unlink()
    summarise_test(test, files)
    assert "No measure is compared" in capsys.readouterr().out


def broken(content, change):
    content = json.loads(json.dumps(content))
    change(content)
    return content


def rated(value):
    """Return a function that changes a rating in the content of a file."""
    return lambda content: content["items"][0]["ratings"].update({min(content["items"][0]["ratings"]): value})


CHANGES = {
    "made_by": (lambda c: c.pop("made_by"), ", made_by"),
    "another test": (lambda c: c.update(test="0"), ", test"),
    "test is a number": (lambda c: c.update(test=1), ", test"),
    "long name": (lambda c: c.update(listener="x" * 201), ", listener"),
    "no session": (lambda c: c.pop("session"), ", session"),
    "items is a text": (lambda c: c.update(items="x"), ", items"),
    "an item too many": (lambda c: c["items"].append(c["items"][0]), ", items"),
    "an item is missing": (lambda c: c["items"].pop(), ", items"),
    "an item is a list": (lambda c: c["items"].insert(0, c["items"].pop() and []), ", items.0"),
    "an item is listed twice": (lambda c: c["items"][1].update(item=1), ", items.1.item"),
    "an unknown item": (lambda c: c["items"][1].update(item=9), ", items.1.item"),
    "a true item": (lambda c: c["items"][0].update(item=True), ", items.0.item"),
    "ratings is a list": (lambda c: c["items"][0].update(ratings=[]), ", items.0.ratings"),
    "a rating is missing": (lambda c: c["items"][0]["ratings"].popitem(), ", items.0.ratings"),
    "another stimulus": (lambda c: c["items"][0]["ratings"].update(x=1), ", items.0.ratings"),
    "a negative rating": (rated(-1), ", items.0.ratings."),
    "a rating above 100": (rated(101), ", items.0.ratings."),
    "a true rating": (rated(True), ", items.0.ratings."),
    "a rating is a text": (rated("9"), ", items.0.ratings."),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_damaged_file_is_one_error(made, tmp_path, name):
    path = ratings_of(made, "anna", lambda _: [100, 50, 50, 50, 0, 0], tmp_path)
    change, where = CHANGES[name]
    path.write_text(json.dumps(broken(json.loads(path.read_text()), change)))
    with pytest.raises(InputError) as raised:
        read_listeners([path], read_key(made))
    assert raised.value.where.startswith(f"{path}{where}") and len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("text", ["", "[]", "[" * 100, '{"made_by": NaN}', "1" * 400])
def test_a_file_that_is_not_from_the_page(made, tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError) as raised:
        read_listeners([tmp_path / "x.json"], read_key(made))
    assert raised.value.where.startswith(str(tmp_path / "x.json"))


def test_a_file_that_is_too_large(made, tmp_path):
    path = ratings_of(made, "anna", lambda _: [100, 50, 50, 50, 0, 0], tmp_path)
    path.write_text(path.read_text().ljust(MOST_BYTES + 1))
    with pytest.raises(InputError) as raised:
        read_listeners([path], read_key(made))
    assert raised.value.where == str(path) and raised.value.found == f"more than {MOST_BYTES} bytes"


def test_missing_and_repeated_files(made, tmp_path):
    key, path = read_key(made), ratings_of(made, "anna", lambda _: [100, 50, 50, 50, 0, 0], tmp_path)
    with pytest.raises(InputError) as raised:
        read_listeners([path, tmp_path / "none.json"], key)
    assert raised.value.where == f"results={tmp_path / 'none.json'}"
    with pytest.raises(InputError) as raised:
        read_listeners([path, path], key)
    assert (raised.value.where, raised.value.found) == (str(path), str(path))
    with pytest.raises(InputError) as raised:
        read_listeners([path] * 1001, key)
    assert (raised.value.where, raised.value.found) == ("results", 1001)


KEY_CHANGES = {
    "no key": (None, ""),
    "conditions": (lambda c: c.update(conditions=[]), ", conditions"),
    "kind": (lambda c: c["conditions"][1].update(kind="reference"), ", conditions.1.kind"),
    "first kind": (lambda c: c["conditions"][0].update(kind="anchor"), ", conditions.0.kind"),
    "run": (lambda c: c["conditions"][1].update(run=1), ", conditions.1.run"),
    "stimuli": (lambda c: c["items"][0]["stimuli"].pop(), ", items.0.stimuli"),
    "stimulus": (lambda c: c["items"][0].update(stimuli=[1]), ", items.0"),
    "track": (lambda c: c["items"][0].update(track=None), ", items.0"),
    "number": (lambda c: c["items"][0].update(item=2), ", items.0.item"),
}


@pytest.mark.parametrize("name", KEY_CHANGES)
def test_a_damaged_key_is_one_error(made, tmp_path, name):
    change, where = KEY_CHANGES[name]
    path = tmp_path / "key.json"
    if change is not None:
        path.write_text(json.dumps(broken(json.loads((made / "key.json").read_text()), change)))
    with pytest.raises(InputError) as raised:
        read_key(tmp_path)
    assert raised.value.where == f"{path}{where}"
