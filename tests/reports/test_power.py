"""Numbers of seeds and songs that detect a difference, estimated from the scores of a sweep."""

import re

import numpy as np
import pytest

from tests.reports.sweeps import leave_run, usual
from unbraid.reports.power import SEEDS, deviations_of, power_text
from unbraid.runs.errors import InputError
from unbraid.scoring.power import DEMO, Deviations, smallest_difference, tracks_needed


def test_deviations_come_from_the_given_sweep(tmp_path):
    ((name, deviations),) = deviations_of(str(usual(tmp_path / "sweep"))).items()
    assert name == f"NSDR of vocals in {tmp_path / 'sweep'}"
    assert deviations.rest == pytest.approx(0.3, rel=0.3) and deviations.tracks < 0.2 and deviations.seeds < 0.2
    assert [*deviations_of(None).values()] == [DEMO]


def test_each_target_has_deviations_of_its_own(tmp_path):
    for number in range(4):
        scores = np.random.default_rng(number).normal(0, 1, 4).tolist()
        leave_run(tmp_path, number, f"net{number // 2}", number % 2, scores, targets=("vocals", "drums"))
    assert [name.split(" in ")[0] for name in deviations_of(str(tmp_path))] == ["NSDR of vocals", "NSDR of drums"]


@pytest.mark.parametrize(("variants", "seeds", "songs"), [(1, 2, 3), (2, 1, 3), (2, 2, 1)])
def test_a_sweep_with_too_few_scores_is_refused(tmp_path, variants, seeds, songs):
    for number in range(variants * seeds):
        leave_run(tmp_path, number, f"net{number // seeds}", number % seeds, [1.0 + number, 2.0, 4.0][:songs])
    with pytest.raises(InputError) as error:
        deviations_of(str(tmp_path))
    assert error.value.where == f"power_from={tmp_path}" and "two songs" in error.value.expected


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError) as error:
        deviations_of(str(tmp_path / "none"))
    assert error.value.where == f"power_from={tmp_path / 'none'}"


def test_text_lists_songs_for_each_number_of_seeds():
    deviations = Deviations(1.0, 0.1, 0.3)
    text = power_text(0.6, "the songs", deviations, 3, 10)
    rows = {line.split("  ")[1]: re.findall(r">?\d+(?= |$)", line) for line in text.splitlines()[1:3]}
    assert rows["seeds per variant"] == [str(seeds) for seeds in SEEDS] and rows["songs needed"][0] == ">1000"
    assert rows["songs needed"][1:] == [str(tracks_needed(0.6, deviations, seeds)) for seeds in SEEDS[1:]]
    assert f"3 seeds per variant and 10 test songs detect {smallest_difference(deviations, 3, 10):.2f} dB" in text
    assert "type seed=0,1,2" in power_text(0.6, "the songs", deviations, 1, 10)
    assert "these runs" not in power_text(0.6, "the songs", deviations, 3, None)


def test_text_advises_more_seeds_and_own_deviations():
    ((name, demo),) = deviations_of(None).items()
    lines = power_text(1, name, demo, 3, 3).splitlines()
    assert (
        lines[4] == "  >1000: 1000 songs do not suffice; train at least 20 seeds per variant" and "power_from=SWEEP" in lines[5]
    )
    steady = power_text(1, name, Deviations(0.5, 0.05, 0.2), 3, 3)
    assert ">1000" not in steady and "power_from" not in steady
    assert f"{SEEDS[-1]} seeds do not suffice either" in power_text(0.001, name, demo, 3, 3)
