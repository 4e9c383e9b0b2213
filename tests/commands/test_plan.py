"""The dry run prints the seeds and songs that detect a difference."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.reports.sweeps import usual
from unbraid.commands import plan as module
from unbraid.reports.power import deviations_of
from unbraid.runs.errors import InputError
from unbraid.runs.records import Run
from unbraid.scoring.power import smallest_difference

PROBED = {
    "parameters": 2e6, "macs": 3e9, "memory": 1e9, "device": "of RAM",
    "steps_per_second": 2.0, "steps": 10, "disk": 1e6, "songs": 8, "start": 4.0,
}  # fmt: skip


@pytest.fixture
def planned(monkeypatch, capsys):
    def run(power, power_from=None, seeds=(0, 1, 2)):
        monkeypatch.setattr(module, "trial", lambda _: PROBED)
        configs = [OmegaConf.create({"seed": seed, "power": power, "power_from": power_from}) for seed in seeds]
        module.plan([Run(Path(f"{number}-net"), config, [], {}) for number, config in enumerate(configs)])
        return capsys.readouterr().out

    return run


def test_a_plan_has_the_seeds_and_songs_of_a_difference(planned, tmp_path):
    sweep = str(usual(tmp_path / "sweep"))
    (deviations,) = deviations_of(sweep).values()
    out = planned(0.5, sweep)
    for text in ("0.5 dB", f"NSDR of vocals in {sweep}", f"{smallest_difference(deviations, 3, 8):.2f} dB"):
        assert text in out
    assert "demo songs" in planned(0.5) and "seed=0,1,2" in planned(0.5, seeds=(4, 4))


def test_a_variant_is_measured_once(monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(module, "trial", lambda run: measured.append(run.folder.name) or PROBED)
    pairs = [(seed, size) for size in (2, 3) for seed in (0, 1, 2)]
    same = {"power": None, "power_from": None, "data": {"seed": "${seed}", "layout": {"seed": 0}}}
    configs = [OmegaConf.create({"seed": seed, "size": size, **same}) for seed, size in pairs]
    module.plan([Run(Path(f"{number}-net"), config, [], {}) for number, config in enumerate(configs)])
    captured = capsys.readouterr()
    assert measured == ["0-net", "3-net"] and len(captured.err.splitlines()) == 2
    assert sum("-net" in line for line in captured.out.splitlines()) == 6
    assert "30 s of training" in captured.out and "24 s for the starts" in captured.out  # six runs of 5 s, and starts of 4 s


def test_a_plan_without_power_prints_no_difference(planned):
    assert "dB" not in planned(None)


def test_a_wrong_sweep_is_refused(planned, tmp_path):
    with pytest.raises(InputError) as raised:
        planned(0.5, str(tmp_path))
    assert raised.value.where == f"power_from={tmp_path}"
