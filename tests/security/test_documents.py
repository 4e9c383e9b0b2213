"""Tests of files of runs, sweeps and data sets that use much memory or time, or cause a traceback."""

import json
import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.reports.sweeps import leave_audio, leave_run
from unbraid.data.layouts.metadata import read_metadata
from unbraid.data.training_tracks import tracks_trained_on
from unbraid.evaluation.anomalies import read_labels
from unbraid.reports.listening import heard, leave
from unbraid.reports.variants import read, runs_of, variants_of
from unbraid.runs.config import config_tree, read_config
from unbraid.runs.documents import MAX_DEPTH, MAX_JSON_BYTES, MAX_YAML_BYTES, read_json, read_regular, read_yaml
from unbraid.runs.errors import InputError
from unbraid.runs.metrics_reader import epochs
from unbraid.runs.records import read_record
from unbraid.runs.resume import records_of
from unbraid.runs.scores import read_scores
from unbraid.scoring.track_records import read_track
from unbraid.sweeps import ledger
from unbraid.sweeps.progress import main_score, progress

ALIASES = "\n".join(["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]).encode()
HOSTILE_YAML = {
    "aliases": ALIASES,
    "an alias of itself": b"a: &a [*a]",
    "200000 brackets": b"[" * 200_000,
    "brackets in lines": b"[\n" * 50_000,
    "50000 mappings": b"{a: " * 50_000,
    "dashes": b"- " * 200_000,
    "question marks": b"? " * 200_000,
    "indents": b"\n".join(b" " * n + b"a:" for n in range(MAX_DEPTH + 1)),
    "base 60": b"1" + b":59" * 100_000,
    "hexadecimal": b"a: 0x" + b"f" * 10_000,
    "too large": b"#" * (MAX_YAML_BYTES + 1),
    "a key twice": b"a: 1\na: 2",
    "infinity": b"a: .inf",
    "an overflow": b"a: 1e999",
    "not a number": b"a: .nan",
    "an object": b"!!python/object/apply:os.getcwd []",
    "a set": b"!!set {a}",
    "a time": b"!!timestamp 3",
    "an empty number": b"!!int ''",
    "half a pair": b'a: "\\ud800"',
    "two documents": b"a: 1\n---\nb: 2",
    "no text": b"\xff\xfe\x00",
    "an end": b"a: [",
}
HOSTILE_JSON = {
    "200000 brackets": b"[" * 200_000,
    "braces": b'{"a":' * 50_000,
    "closed first": b"]" * 1000 + b"[" * 1100,
    "after a string": b'["\\"[", ' + b"[" * 60,
    "a text without an end": b'"' + b'\\"' * 2_000_000,
    "too large": b" " * (MAX_JSON_BYTES + 1),
    "digits": b"1" * 100_000,
    "not a number": b"[NaN]",
    "infinity": b"[-Infinity]",
    "an overflow": b"[1e999]",
    "a key twice": b'{"a": 1, "a": 2}',
    "half a pair": b'["\\ud800"]',
    "no text": b"\xff",
    "an end": b'{"a": ',
    "nothing": b"",
}
# Valid JSON that is not a valid run.json, scores.json or first line of a ledger.
STRANGE = [b"3", b"null", b"[]", b'{"state": 1}', b'"text"']
RECORD = b'{"identity": "i", "overrides": %b, "choices": %b, "state": %b}'


@pytest.mark.parametrize("name", HOSTILE_YAML)
def test_hostile_yaml_is_one_error(tmp_path, name):
    path = tmp_path / "config.yaml"
    path.write_bytes(HOSTILE_YAML[name])
    readers = [read_yaml, config_tree, read_config]
    if name not in ("infinity", "an overflow", "not a number"):  # data sets may contain them
        readers.append(read_metadata)
    for reader in readers:
        with pytest.raises(InputError) as raised:
            reader(path)
        assert raised.value.where.startswith(str(path)) and len(str(raised.value)) < 500


@pytest.mark.parametrize("text", ["<<: {a: 1}", "<<: [{a: 1}, {a: 2}]", "<<: {<<: {a: 1}}"])
def test_keys_are_not_merged(tmp_path, text):
    (tmp_path / "config.yaml").write_text(f"{text}\na: 3\n")
    tree = read_yaml(tmp_path / "config.yaml")
    assert tree.pop("a") == 3 and [*tree] == ["<<"]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux only")  # noqa: PTH110
def test_a_file_that_states_no_size_is_read():
    assert len(read_regular(Path("/proc/self/status"))) > 100
    with pytest.raises(InputError) as caught:
        read_regular(Path("/proc/self/status"), most=100)
    assert caught.value.expected == "at most 100 bytes"


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_json_is_one_error(tmp_path, name):
    for path, reader in {"run.json": lambda path: read_record(path.parent), "scores.json": read_scores, "x": read_json}.items():
        (tmp_path / path).write_bytes(HOSTILE_JSON[name])
        with pytest.raises(InputError) as raised:
            reader(tmp_path / path)
        assert raised.value.where.startswith(str(tmp_path / path)) and len(str(raised.value)) < 500


@pytest.mark.slow
def test_hostile_files_take_little_memory_and_time(limited, tmp_path):
    """Many small values need the most memory."""
    files = {f"{number}.yaml": data for number, data in enumerate(HOSTILE_YAML.values())}
    files |= {f"{number}.json": data for number, data in enumerate(HOSTILE_JSON.values())}
    files |= {"small.json": b"[" + b"[]," * (MAX_JSON_BYTES // 3 - 1) + b"1]", "small.yaml": b"[" + b"a," * 100_000 + b"a]"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    code = """
import sys
from pathlib import Path
from unbraid.runs.documents import InputError, read_json, read_yaml
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        (read_yaml if path.suffix == ".yaml" else read_json)(path)
        print(path.name)
    except InputError:
        pass
"""
    done = limited("-c", code, tmp_path, seconds=90, megabytes=1500)
    assert (done.returncode, done.stdout.split()) == (0, ["small.json", "small.yaml"]), done.stderr[-500:]


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder", "link to a device"])
def test_only_regular_files_are_opened(tmp_path, kind):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("run.json", "config.yaml", "scores.json", "metrics.csv", "ledger.jsonl", "tracks.json"):
        path = folder / name
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            path.symlink_to(tmp_path / "link")
    (tmp_path / "link").symlink_to("/dev/full")
    readers = {
        "run.json": read_record, "config.yaml": lambda run: config_tree(run / "config.yaml"), "metrics.csv": epochs,
        "scores.json": lambda run: read_scores(run / "scores.json"), "ledger.jsonl": ledger.read,
        "tracks.json": lambda run: tracks_trained_on(run, []),
    }  # fmt: skip
    for name, reader in readers.items():
        with pytest.raises(InputError) as raised:
            reader(folder)
        assert raised.value.where == str(folder / name)


@pytest.mark.parametrize(
    "line", [*HOSTILE_JSON.values(), *STRANGE, b'{"run": [], "state": {}}', b'{"run": "1", "state": null}']
)
def test_damaged_lines_of_a_ledger_are_skipped(tmp_path, line):
    if len(line) > 1_000_000:
        line = line[:1_000_000]
    first, good = b'{"version": 1, "sweep": "s"}', b'{"run": "0-a", "state": "done"}'
    (tmp_path / ledger.LEDGER).write_bytes(b"\n".join([first, line, good, b""]))
    assert [one.get("run") for one in ledger.read(tmp_path)] == [None, "0-a"] and ledger.sweep_of(tmp_path) == "s"
    (tmp_path / ledger.LEDGER).write_bytes(line)
    assert ledger.sweep_of(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        *STRANGE, *HOSTILE_JSON.values(), RECORD % (b'"words"', b"{}", b'"done"'), RECORD % (b"[[]]", b"{}", b'"done"'),
        RECORD % (b"[]", b'{"model": {}}', b'"done"'), RECORD % (b"[]", b"{}", b"{}"),
    ],
)  # fmt: skip
def test_resuming_skips_damaged_records(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text)
    assert records_of([tmp_path / "run.json"], ["i"]) == []
    with pytest.raises(InputError):
        read_record(tmp_path)


SCORES = [
    ("protocol", 3), ("protocol", {"tracks": []}), ("protocol", {"tracks": "mean"}), ("summary", []), ("summary", {}),
    ("summary", {"a": 1}),
    ("summary", {"vocals": {"SDR": {"mean": "x"}}}), ("summary", {"vocals": {"SDR": {"mean": 1e300}}}), ("tracks", None),
    ("tracks", {"song": {"vocals": {"SDR": True}}}), ("mixture", {}), ("oracle", 1), ("cost", {"device": []}), ("cost", []),
    ("reference", {"distances": {"vocals": 3}}), ("reference", {"distances": {}, "model": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), SCORES)
def test_damaged_scores_exclude_only_their_run(tmp_path, key, value):
    leave_run(tmp_path, 0, "a", 0, [1.0])
    path = leave_run(tmp_path, 1, "b", 0, [2.0]) / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value if key != "mixture" else 3}))
    _, bad = variants_of(runs_of(tmp_path))
    assert not bad.runs and bad.without[0].missing.startswith(f"scores.json, {key}")


def test_scores_without_a_residual_are_valid(tmp_path):
    run = leave_run(tmp_path / "sweep", 0, "a", 0, [1.0])
    leave_audio(run, "song 0")
    scores = json.loads((run / "scores.json").read_text())
    del scores["protocol"]["rest"]
    (run / "scores.json").write_text(json.dumps(scores))
    written = leave(heard(variants_of([run])), "song 0", 1, tmp_path / "report")
    assert [*written["targets"]] == ["vocals"]


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${a}${a}", "a ${b"])
@pytest.mark.parametrize("text", ["a: '{}'", "{{'{}': 1}}", "a: {{b: [x, ['{}']]}}"])
def test_links_in_a_config_are_refused(tmp_path, value, text):
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    (run / "config.yaml").write_text(text.format(value))
    for reader in (read_config, config_tree, lambda path: read(path.parent)):
        with pytest.raises(InputError) as raised:
            reader(run / "config.yaml")
        assert os.environ["HOME"] not in str(raised.value).replace(str(run), "")


EPOCHS = [
    "x",
    "a,b,c,d",
    "-1,-1,-1,-1",
    "1,2,inf,nan",
    "1,1e300,1e308,1e308\n1,1e300,1e308,1e308",
    "\udcff",
    '"' + "x" * 200_000,
]


@pytest.mark.parametrize("rows", EPOCHS)
@pytest.mark.parametrize("columns", ["epoch,step,seconds,valid/loss", "epoch", "", "\ufeffepoch,step,seconds,valid/loss"])
def test_progress_accepts_damaged_metrics(tmp_path, rows, columns):
    run = leave_run(tmp_path, 0, "a", 0, [1.0])
    (run / "metrics.csv").write_text(f"{columns}\n{rows}\n", encoding="utf-8", errors="surrogateescape")
    config = OmegaConf.create({"trainer": {"max_epochs": 2, "max_steps": -1}})
    assert all(isinstance(text, str) and "inf" not in text for text in progress(run, config))
    assert rows.startswith(("\udcff", '"')) or read(run).seconds is None or read(run).seconds < 1e200


@pytest.mark.parametrize("protocol", [{"tracks": []}, {"tracks": {}}, {"tracks": 3}, [], None])
def test_progress_accepts_damaged_scores(tmp_path, protocol):
    path = leave_run(tmp_path, 0, "a", 0, [1.0]) / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"protocol": protocol}))
    assert main_score(path.parent) == {}
    with pytest.raises(InputError):
        read_scores(path)


@pytest.mark.parametrize("text", ["start,stop\n" + "1" * 200_000, "start,stop\n\0,1", "start,stop\nnan,1", "start,stop\n1"])
def test_damaged_labels_are_one_error(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError):
        read_labels(tmp_path / "labels.csv")


@pytest.mark.parametrize("rows", [("a," * 100_000, "1\n" * 100_000), ('"', "x" * 200_000), ("a\n", "\xff")])
def test_tables_of_epochs_are_limited(tmp_path, rows):
    (tmp_path / "metrics.csv").write_text("\n".join(rows), encoding="latin-1")
    with pytest.raises(InputError) as raised:
        epochs(tmp_path)
    assert raised.value.where == str(tmp_path / "metrics.csv")


@pytest.mark.parametrize("samples", ["1", "Infinity", "1e999", "[]"])
@pytest.mark.parametrize(
    "targets",
    [
        "3", "[3]", '[{"name": "a", "frames": [{"metrics": 3}]}]', '[{"name": "a", "frames": []}]',
        '[{"name": "a", "frames": [{"metrics": {"SDR": Infinity}}]}]',
        '[{"name": "a", "frames": [{"metrics": {"SDR": 1e300}}]}]',
    ],
)  # fmt: skip
def test_damaged_scores_of_a_track_are_made_again(tmp_path, targets, samples):
    text = f'{{"protocol": {{}}, "origin": "o", "samples": {samples}, "silent": [], "targets": {targets}}}'
    (tmp_path / "a.json").write_text(text)
    assert read_track(tmp_path / "a.json", {}, "o", ("SDR",)) is None
