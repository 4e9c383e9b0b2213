"""scripts/listening.py: make a MUSHRA test, and compute its results."""

import json

import pytest

from tests.conftest import files_below
from tests.reports.sweeps import usual

SCRIPT = "scripts/listening.py"


def fill(test, folder, names):
    """Write a file of ratings for each name, and return the files as the value of `results`."""
    key = json.loads((test / "key.json").read_text())
    items = [
        {"item": item["item"], "ratings": dict(zip(item["stimuli"], [100, 80, 60, 40, 20, 10], strict=True))}
        for item in key["items"]
    ]
    for name in names:
        content = {"made_by": key["made_by"], "test": key["test"], "session": name, "listener": name, "items": items}
        (folder / f"{name} 1.json").write_text(json.dumps(content))
    return f"results=[{','.join(f'{name} 1.json' for name in names)}]"


def test_a_sweep_gets_its_test_and_results(cli, tmp_path):
    sweep = usual(tmp_path / "sweep")
    status, out, err = cli(f"sweep={sweep}", "seconds=2", script=SCRIPT)
    assert (status, err) == (0, "") and out.splitlines()[0] == "items      2"
    assert (sweep / "listening/page/index.html").is_file() and files_below(tmp_path / "work") == []
    results = fill(sweep / "listening", tmp_path / "work", ["anna", "ben"])
    status, out, err = cli(f"sweep={sweep}", results, script=SCRIPT)
    assert (status, err) == (0, "") and out.startswith("listeners  2 of 2 kept, 2 items\n")
    assert "net0 80.0 80.0 to 80.0" in " ".join(out.split()) and "NSDR (ikala_nsdr)" in out
    assert out.endswith(f"summary    {sweep / 'listening/summary.json'}\n")
    status, _, err = cli(f"sweep={sweep}", script=SCRIPT)
    assert status == 1 and err.startswith(f"error: output={sweep / 'listening'}: ") and len(err.splitlines()) == 1


def test_single_runs_with_names(cli, tmp_path):
    usual(tmp_path / "sweep")
    runs = ",".join(str(path) for path in sorted((tmp_path / "sweep").glob("*-demo-0")))
    status, _, err = cli(f"runs=[{runs}]", "songs=1", "labels=[A,B,C]", "target=vocals", script=SCRIPT)
    key = json.loads((tmp_path / "work/listening/key.json").read_text())
    assert (status, err) == (0, "") and [entry["name"] for entry in key["conditions"]][1:4] == ["A", "B", "C"]
    assert len(key["items"]) == 1
    results = fill(tmp_path / "work/listening", tmp_path / "work", ["anna"])
    status, out, err = cli(results, script=SCRIPT)
    assert (status, err) == (0, "") and "No measure is shown to rank the systems" in out and "agrees best" not in out


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ([], "sweep, runs, results"),
        (["sweep=.", "runs=[.]"], "sweep, runs"),
        (["sweep=.", "songs=0"], "songs"),
        (["sweep=.", "seconds=0.5"], "seconds"),
        (["sweep=a", "songs=0"], "sweep=a"),
        (["results=[a.json]"], "listening/key.json"),
    ],
)
def test_invalid_keys_are_one_error(cli, words, where):
    status, out, err = cli(*words, script=SCRIPT)
    assert (status, out) == (1, "") and err.startswith(f"error: {where}: ") and len(err.splitlines()) == 1
