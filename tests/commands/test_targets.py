"""Every source of the data is a choice of the group `targets`, in addition to the yaml files."""

import json

import pytest
from hydra import compose, initialize_config_dir

from tests.commands.conftest import has_names
from tests.conftest import SHORT, only_run
from tests.data import twins
from unbraid.commands.cli import CONF
from unbraid.runs.errors import InputError


def targets(*words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [*words])
    assert config.data.targets == config.targets
    return config.targets


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["targets=piano"], {"piano": ["piano"]}),
        (["targets=synth_lead"], {"synth_lead": ["synth_lead"]}),
        (["targets='Lead Guitar'"], {"Lead Guitar": ["Lead Guitar"]}),
        (["targets=[piano,guitar]"], {"piano": ["piano"], "guitar": ["guitar"]}),
        (["targets=[accompaniment,piano]"], {"accompaniment": ["-vocals"], "piano": ["piano"]}),
        (["targets=vocals_accompaniment"], {"vocals": ["vocals"], "accompaniment": ["-vocals"]}),
        (["data=demo_leads"], {"reed": ["reed"]}),
        (["data=demo_leads", "targets=string"], {"string": ["string"]}),
        (["targets=piano", "+targets.rest=[-piano]"], {"piano": ["piano"], "rest": ["-piano"]}),
    ],
)
def test_a_choice_is_a_yaml_or_a_source(words, expected):
    assert targets(*words) == expected


@pytest.mark.parametrize("name", ["-vocals", "'*'"])
def test_a_term_of_a_sum_is_not_a_name(name):
    with pytest.raises(InputError) as caught:
        targets(f"targets={name}")
    assert caught.value.where == f"targets={name}".replace("'", "")


@pytest.mark.slow
def test_a_sweep_over_sources_and_choices(cli, tmp_path):
    root = twins.stems(tmp_path / "root")
    words = ["data=stems", f"data.root={root}", *SHORT, "hydra.sweep.dir=sweep"]
    status, _, err = cli("-m", *words, "targets=voice,mixture")
    assert status == 0, err
    for number, name in enumerate(["voice", "mixture"]):
        run = tmp_path / "work/sweep" / f"{number}-unet-stems-0"
        assert f"targets={name}" in json.loads((run / "run.json").read_text())["overrides"]
        assert name in json.loads((run / "scores.json").read_text())["summary"]


@pytest.mark.parametrize(("name", "meant"), [("voise", "'voice'"), ("acompaniment", "targets=accompaniment")])
def test_an_unknown_source_is_named_with_the_nearest(refused, tmp_path, name, meant):
    root = twins.stems(tmp_path / "root")
    assert has_names(refused("data=stems", f"data.root={root}", *SHORT, f"targets={name}"), f"targets.{name} {meant}")
    assert [*(tmp_path / "work").iterdir()] == []


@pytest.mark.slow
def test_a_list_of_sources_is_trained(cli, tmp_path):
    root = twins.stems(tmp_path / "root")
    status, _, err = cli("data=stems", f"data.root={root}", *SHORT, "targets=[voice,mixture]")
    assert status == 0, err
    record = json.loads((only_run(tmp_path / "work") / "run.json").read_text())
    assert "targets=[voice,mixture]" in record["overrides"]
