"""Table of errors of autoencoders, from run folders that the tests write."""

import csv
import json
from statistics import mean, stdev

import pytest

from tests.reports.sweeps import leave_run
from unbraid.reports.making import kinds_of, report_after_sweep
from unbraid.reports.variants import runs_of
from unbraid.runs.errors import InputError

VALUES = {("ae", 0): (2.0, 10.0), ("ae", 1): (3.0, 11.0), ("vae", 0): (5.0, 7.0)}


def leave_errors(sweep, number, model, seed, error, snr, vectors="pixels of 784 numbers"):
    run = leave_run(sweep, number, model, seed, None)
    table = {"images": {"error": {"mean": error}, "SNR": {"mean": snr}}}
    pca = {"images": {"error": {"mean": 1.0}, "SNR": {"mean": None}}}
    scores = {"protocol": {"name": "reconstruction", "vectors": vectors}, "summary": table, "pca": pca, "tracks": {}}
    (run / "scores.json").write_text(json.dumps(scores))
    return run


@pytest.fixture
def sweep(tmp_path):
    for number, ((model, seed), (error, snr)) in enumerate(VALUES.items()):
        leave_errors(tmp_path / "sweep", number, model, seed, error, snr)
    leave_run(tmp_path / "sweep", 9, "ae", 2, None, state="failed", error="out of memory")
    return tmp_path / "sweep"


def test_a_sweep_of_autoencoders_ends_in_a_table(sweep, capsys):
    assert kinds_of(runs_of(sweep)) == {False}
    report_after_sweep(sweep)
    with (sweep / "errors.csv").open() as file:
        rows = {(row["row"].strip(), row["measure"]): row for row in csv.DictReader(file)}
    ae = [error for (model, _), (error, _) in VALUES.items() if model == "ae"]
    row = rows["ae", "error"]
    assert (float(row["mean"]), float(row["deviation"]), row["seeds"]) == (mean(ae), stdev(ae), "2")
    assert (rows["vae", "SNR"]["mean"], rows["vae", "SNR"]["deviation"]) == ("7.0", "")
    assert float(rows["PCA", "error"]["mean"]) == 1.0 and ("PCA", "SNR") not in rows
    out = capsys.readouterr().out
    assert "2.5 ± 0.71" in out and "10.5 ± 0.71" in out and "out of memory" in out and str(sweep / "errors.csv") in out


def test_errors_of_other_vectors_are_refused(sweep):
    leave_errors(sweep, 5, "vae", 1, 1.0, 1.0, vectors="spectra of 40 numbers")
    with pytest.raises(InputError) as error:
        report_after_sweep(sweep)
    assert "pixels of 784 numbers" in error.value.found and not (sweep / "errors.csv").exists()
