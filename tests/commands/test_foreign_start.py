"""Runs that start from a checkpoint of another tool: mixed weights, paired tests, and targets in another order."""

from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from tests.conftest import make_run
from tests.interop.msst.pairs import CONFIGS, tensors, write_pair
from unbraid.inference.loading import load_separator
from unbraid.interop.interpolation import GIVE, interpolated
from unbraid.interop.origins import find_origin, sha256_of
from unbraid.runs.errors import InputError
from unbraid.runs.scores import read_scores

SCRIPT = "scripts/evaluate.py"
TARGETS = ["vocals", "drums"]


def run_from(pair: Path, folder: Path) -> Path:
    """Make a run with the network and initial weights of a config file of MSST, but with its two targets in the other order."""
    format_ = ("sample_rate=44100", "channels=2", "chunk_seconds=0.5")
    run = make_run(folder, "model=scnet_small", "data=musdb", *(f"model.separator.{word}" for word in format_))
    origin = find_origin(pair)
    own = OmegaConf.load(run / "config.yaml")
    own.targets = own.data.targets = {target: [target] for target in TARGETS}
    own.model.separator = OmegaConf.merge(origin.config.model.separator, {"targets": None})
    own.model.separator.targets = own.targets
    own.init = {"path": str(origin.file), "config": str(pair), "sha256": sha256_of(origin.file)}
    OmegaConf.save(own, run / "config.yaml")
    state = load_separator(pair, device="cpu").model.state_dict()
    state = {f"separator.{name}": torch.randn_like(tensor) * 0.1 for name, tensor in state.items()}
    torch.save({"state_dict": state}, run / "checkpoints/best.ckpt")
    return run


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return the config file of a small SCNet with the targets drums and vocals; tests only read it."""
    path = tmp_path_factory.mktemp("start") / "model.yaml"
    torch.save(tensors("scnet"), path.with_suffix(".ckpt"))
    path.write_text(yaml.safe_dump(CONFIGS["scnet"] | {"audio": CONFIGS["scnet"]["audio"] | {"chunk_size": 22050}}))
    return path


@pytest.fixture(scope="module")
def run(start, tmp_path_factory):
    return run_from(start, tmp_path_factory.mktemp("run") / "tuned")


@pytest.mark.parametrize("family", ["scnet", "hdemucs"])
@pytest.mark.parametrize("suffix", [".yaml", ".ckpt"])
def test_mixed_weights_keep_the_names_of_targets(tmp_path, family, suffix):
    pair = write_pair(tmp_path, family)
    run = run_from(pair, tmp_path / "run")
    before, after = load_separator(pair, device="cpu"), load_separator(run, device="cpu")
    signal = 0.1 * torch.randn(2, 44100, generator=torch.Generator().manual_seed(0))
    theirs, tuned = before.separate(signal, 44100), after.separate(signal, 44100, before.options)
    interpolated(after.model, after.config, str(pair.with_suffix(suffix)), 0.0)
    ours = after.separate(signal, 44100, before.options)
    for target in TARGETS:
        torch.testing.assert_close(ours[target], theirs[target], rtol=0, atol=1e-5)
        assert (ours[target] - tuned[target]).abs().max() > 1e-3
    assert (theirs["vocals"] - theirs["drums"]).abs().max() > 1e-3


def test_a_start_without_a_config_or_with_other_targets_is_an_error(run, start, tmp_path):
    loaded = load_separator(run, device="cpu")
    with pytest.raises(InputError) as error:
        interpolated(loaded.model, None, str(start.with_suffix(".ckpt")), 0.5)
    assert (error.value.where, error.value.hint) == (f"start={start.with_suffix('.ckpt')}", GIVE)
    pair = write_pair(tmp_path, "scnet")
    pair.write_text(pair.read_text().replace("- vocals", "- bass"))
    with pytest.raises(InputError) as error:
        interpolated(loaded.model, None, str(pair), 0.5)
    assert (error.value.found, error.value.expected) == ("drums, bass", "vocals, drums")


def test_a_run_is_compared_with_its_foreign_start(cli, run, start, songs, tmp_path):
    words = [f"data.root={songs}", "trainer.accelerator=cpu"]
    for name in (start, start.with_suffix(".ckpt")):
        status, _, error = cli(f"run={run}", *words, f"compare_with=[{name}]", f"output={tmp_path / 'x'}", script=SCRIPT)
        assert status == 1 and f"compare_with={name}" in error and f"run={name}" in error and f"data.root={songs}" in error
    status, _, error = cli(f"run={start}", "data=musdb", *words, script=SCRIPT)
    assert status == 0, error
    for name in (start, start.with_suffix(".ckpt")):
        status, out, error = cli(f"run={run}", *words, f"compare_with=[{name}]", f"output={tmp_path / 'x'}", script=SCRIPT)
        assert status == 0, error
        lines = [line for line in out.splitlines() if line.startswith(f"{name.name} ")]
        assert len(lines) == 2 and " tuned in vocals SI-SDRi" in lines[0] and " tuned in drums SI-SDRi" in lines[1]
    assert cli(f"run={run}", *words, "compare_with=[nothing.yaml]", script=SCRIPT)[0] == 1


def test_targets_on_the_command_line_keep_the_order_of_outputs(cli, error_of, start, songs, tmp_path):
    summaries = []
    for number, targets in enumerate(([], ["+targets.drums=[drums]"])):  # after the default target, vocals
        words = [f"run={start}", "data=musdb", f"data.root={songs}", "trainer.accelerator=cpu", *targets]
        status, _, error = cli(*words, f"output={tmp_path / str(number)}", script=SCRIPT)
        assert status == 0, error
        summaries.append(read_scores(tmp_path / str(number) / "scores.json", whole=True)["summary"])
    assert summaries[0] == summaries[1] and {*summaries[0]} == {*TARGETS}
    wrong = error_of("evaluate", f"run={start}", "data=musdb", f"data.root={songs}", "targets=all")
    assert (wrong.where, wrong.expected) == ("targets", "drums, vocals")


def test_a_start_without_its_config_file_names_the_missing_key(error_of, start):
    error = error_of("train", "model=scnet_small", f"init={start.with_suffix('.ckpt')}")
    assert error.where == str(start.with_suffix(".ckpt")) and "init.config=FILE" in error.hint
