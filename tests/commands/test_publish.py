"""scripts/publish.py writes a folder that loads like the run, contains no paths, and has a card of the hub."""

import json
import shutil

import pytest
import torch
from huggingface_hub import ModelCard
from omegaconf import OmegaConf

import unbraid
from tests.commands.conftest import has_names
from tests.conftest import NARROW, files_below, make_run
from tests.interop.test_averages import save
from unbraid.runs.errors import InputError

SCRIPT = "scripts/publish.py"


@pytest.fixture
def run(tmp_path):
    folder = make_run(tmp_path / "run", NARROW, "data=musdb", f"data.root={tmp_path}", f"init={tmp_path}/weights")
    config = OmegaConf.load(folder / "config.yaml")
    OmegaConf.save({**config, "reference": f"{tmp_path}/secret"}, folder / "config.yaml")
    record = {"identity": "", "overrides": [], "choices": {"model": "unet", "data": "musdb"}, "state": "done"}
    (folder / "run.json").write_text(json.dumps(record))
    summary = {"vocals": {"uSDR": {"mean": 1.5, "median": 1.25, "std": 0.5, "n": 3}, "SI-SDR": {"mean": None, "median": None}}}
    scores = {
        "protocol": {"name": "energy_ratios", "tracks": "median"}, "checkpoint": f"{tmp_path}/run/checkpoints/best.ckpt",
        "summary": summary,
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def test_the_published_folder_is_the_run(cli, run, tmp_path):
    status, out, err = cli(f"run={run}", "output=there", "license=cc-by-nc-4.0", script=SCRIPT)
    assert status == 0 and "published  there" in out, err
    there = tmp_path / "work/there"
    assert files_below(tmp_path / "work") == [
        "there", "there/README.md", "there/config.yaml", "there/model.safetensors", "there/scores.json",
    ]  # fmt: skip
    waveform = torch.randn(1, 60_000)
    assert torch.equal(*(unbraid.load(path).separate(waveform, 8192)["vocals"] for path in (run, there)))
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in there.iterdir())
    assert OmegaConf.load(there / "config.yaml").init.path == "weights"
    assert (there / "model.safetensors").stat().st_mode & 0o777 == 0o644
    status, _, err = cli(f"run={there}", script=SCRIPT)
    assert status == 1 and f"run={there}" in err


@pytest.mark.parametrize("checkpoint", ["last", "ema"])
def test_scores_of_other_weights_are_not_published(cli, run, tmp_path, checkpoint):
    (average,) = save(run, {"ema_0.9_step": 1.0}, {}).values()
    assert cli(f"run={run}", f"checkpoint={checkpoint}", "output=there", script=SCRIPT)[0] == 0
    there = tmp_path / "work/there"
    assert not (there / "scores.json").exists()
    published = unbraid.load(there, device="cpu").model.state_dict()
    trained = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    state = {"last": trained, "ema": average}[checkpoint]
    assert all(torch.equal(tensor, state[f"separator.{name}"]) for name, tensor in published.items())


def test_the_card_is_valid_for_the_hub(cli, run, tmp_path):
    assert cli(f"run={run}", "output=there", "license=cc-by-nc-4.0", script=SCRIPT)[0] == 0
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
    assert cli(f"run={run}", script=SCRIPT)[0] == 0
    card = (run / "published/README.md").read_text()
    assert "## Scores" in card and "| target |" not in card and "licence" in card
    unbraid.load(run / "published")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], "run run=FOLDER"),
        (["run=nowhere"], "run=nowhere"),
        (["run={run}", "license='a b'"], "license a b cc-by-nc-4.0"),
        (["run={run}", "checkpoint=last"], "checkpoint last"),
        (["run={run}", "output={run}"], "output={run}"),
    ],
)
def test_invalid_keys_are_named(error_of, run, tmp_path, words, names):
    error = error_of("publish", *(word.format(run=run) for word in words))
    assert has_names(str(error), names.format(run=run))
    assert files_below(tmp_path / "work") == [] and not (run / "published").exists()


@pytest.mark.parametrize("text", ["no json", "{}"])
def test_invalid_scores_are_named(refused, run, tmp_path, text):
    (run / "scores.json").write_text(text)
    assert "scores.json" in refused(f"run={run}", "output=there", script=SCRIPT)
    assert files_below(tmp_path / "work") == []


def test_damaged_published_weights_are_named(cli, run, tmp_path):
    assert cli(f"run={run}", script=SCRIPT)[0] == 0
    weights = run / "published/model.safetensors"
    whole = weights.read_bytes()
    for data in (b"", whole[:1000], b"\xff" * 100):
        weights.write_bytes(data)
        with pytest.raises(InputError) as error:
            unbraid.load(run / "published")
        assert error.value.where == str(weights)
    weights.write_bytes(whole)
    other = make_run(tmp_path / "other", "model=unet_small")
    shutil.copy(other / "config.yaml", run / "published")
    with pytest.raises(InputError) as error:
        unbraid.load(run / "published")
    assert "published" in error.value.where
