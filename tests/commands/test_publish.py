"""scripts/publish.py: one folder that loads as the run does, tells no places, and is what the hub expects."""

import json
import shutil

import pytest
import torch
from huggingface_hub import ModelCard
from omegaconf import OmegaConf

import unbraid
from tests.conftest import NARROW, files_below, make_run
from unbraid.runs.errors import InputError

DOOR = "scripts/publish.py"


@pytest.fixture
def run(tmp_path):
    folder = make_run(tmp_path / "run", NARROW, "data=musdb", f"data.root={tmp_path}", f"init={tmp_path}/weights")
    config = OmegaConf.load(folder / "config.yaml")
    OmegaConf.save({**config, "reference": f"{tmp_path}/secret"}, folder / "config.yaml")
    record = {"choices": {"model": "unet", "data": "musdb"}}
    (folder / "run.json").write_text(json.dumps(record))
    summary = {"vocals": {"uSDR": {"mean": 1.5, "median": 1.25, "std": 0.5, "n": 3}, "SI-SDR": {"mean": None, "median": None}}}
    scores = {
        "protocol": {"name": "energy_ratios", "tracks": "median"}, "checkpoint": f"{tmp_path}/run/checkpoints/best.ckpt",
        "summary": summary,
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def test_what_is_published_is_the_run(cli, run, tmp_path):
    status, out, err = cli(f"run={run}", "output=there", "license=cc-by-nc-4.0", script=DOOR)
    assert status == 0 and "published  there" in out, err
    there = tmp_path / "work/there"
    assert files_below(tmp_path / "work") == [
        "there", "there/README.md", "there/config.yaml", "there/model.safetensors", "there/scores.json",
    ]  # fmt: skip
    waveform = torch.randn(1, 60_000)
    assert torch.equal(*(unbraid.load(one).separate(waveform, 8192)["vocals"] for one in (run, there)))
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in there.iterdir())
    assert OmegaConf.load(there / "config.yaml").init == "weights"
    assert (there / "model.safetensors").stat().st_mode & 0o777 == 0o644
    status, _, err = cli(f"run={there}", script=DOOR)
    assert status == 1 and "is published already, expected the folder of a run" in err


def test_the_card_is_one_of_the_hub_and_says_what_the_figures_are(cli, run, tmp_path):
    assert cli(f"run={run}", "output=there", "license=cc-by-nc-4.0", script=DOOR)[0] == 0
    card = ModelCard.load(tmp_path / "work/there/README.md")
    assert card.data.license == "cc-by-nc-4.0" and card.data.library_name == "unbraid" and "unet" in card.data.tags
    for words in (
        "# unet, trained on musdb", "8192 Hz mono", "MUSDB18, for academic use", "| vocals | uSDR | 1.25 dB |",
        "| vocals | SI-SDR | undefined |", "Protocol: name energy\\_ratios, tracks median.",
    ):  # fmt: skip
        assert words in card.text


def test_a_run_without_scores_or_records_too(cli, run, tmp_path):
    (run / "scores.json").unlink()
    (run / "run.json").unlink()
    assert cli(f"run={run}", script=DOOR)[0] == 0
    card = (run / "published/README.md").read_text()
    assert "It has not been scored." in card and "their licence is not recorded" in card
    unbraid.load(run / "published")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "run has no default and must be given: run=FOLDER"),
        (["run=nowhere"], "run=nowhere: no such folder"),
        (["run={run}", "license='a b'"], "expected the hub's name of one"),
        (["run={run}", "checkpoint=last"], "checkpoint=last:"),
        (["run={run}", "output={run}"], "is there already"),
    ],
)
def test_what_cannot_be_published_is_said(cli, run, tmp_path, words, sentence):
    status, _, err = cli(*(word.format(run=run) for word in words), script=DOOR)
    assert status == 1 and sentence in err and err.count("\n") == 1
    assert files_below(tmp_path / "work") == [] and not (run / "published").exists()


@pytest.mark.parametrize("text", ["no json", "{}"])
def test_scores_that_are_none_are_said_and_leave_nothing(cli, run, tmp_path, text):
    (run / "scores.json").write_text(text)
    status, _, err = cli(f"run={run}", "output=there", script=DOOR)
    assert status == 1 and "scores.json" in err
    assert files_below(tmp_path / "work") == []


def test_published_weights_that_are_damaged_are_said(cli, run, tmp_path):
    assert cli(f"run={run}", script=DOOR)[0] == 0
    weights = run / "published/model.safetensors"
    whole = weights.read_bytes()
    for data in (b"", whole[:1000], b"\xff" * 100):
        weights.write_bytes(data)
        with pytest.raises(InputError, match=r"model.safetensors: is damaged"):
            unbraid.load(run / "published")
    weights.write_bytes(whole)
    other = make_run(tmp_path / "other", "model=unet_small")
    shutil.copy(other / "config.yaml", run / "published")
    with pytest.raises(InputError, match="do not fit the model"):
        unbraid.load(run / "published")
