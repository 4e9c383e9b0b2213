"""Training from the weights of a run, frozen parts and LoRA; comparing and mixing weights before and after."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.conftest import NARROW, SHORT, load_script, make_run
from tests.test_configs import compose
from unbraid.inference.loading import load_separator
from unbraid.interop.interpolation import check_interpolation, interpolated
from unbraid.interop.origins import sha256_of
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.runs.weights import tensors_of

SCRIPT = "scripts/evaluate.py"
TUNED = ["model=unet", "data=musdb", "targets=vocals_accompaniment", *SHORT, "evaluation.clips=0"]


def state_of(run, name="best", raw=False):
    return tensors_of(run / f"checkpoints/{name}.ckpt", merge=not raw)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def tuned(trained, songs, tmp_path_factory):
    """Return a run that starts from `trained` with a frozen encoder; tests only read it."""
    folder = tmp_path_factory.mktemp("tuned") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        words = [*TUNED, f"data.root={songs}", f"init={trained}", "freeze=[nets.*.encoder]", f"hydra.run.dir={folder}"]
        patch.setattr(sys, "argv", ["train.py", *words])
        load_script("train.py")()
    return folder


def test_the_origin_is_recorded_and_frozen_parts_stay_equal(trained, tuned):
    record, config = json.loads((tuned / "run.json").read_text()), OmegaConf.load(tuned / "config.yaml")
    digest = sha256_of(trained / "checkpoints/best.ckpt")
    before, after = state_of(trained), state_of(tuned)
    assert record["init"] == {"name": "run", "kind": "run", "sha256": digest, "loaded": len(before), "random": []}
    assert (config.init.path, config.init.sha256) == (str(trained), digest)
    equal = {name: torch.equal(after[name], tensor) for name, tensor in before.items()}
    assert all(value for name, value in equal.items() if ".encoder." in name)
    assert not any(value for name, value in equal.items() if ".decoder." in name and name.endswith("0.weight"))


@pytest.mark.parametrize("words", [["freeze=[nets.0.encoder]"], ["lora=default", "lora.rank=2"]], ids=["freeze", "lora"])
def test_a_continued_run_equals_an_undisturbed_one(cli, songs, tmp_path, words):
    if "lora=default" in words:
        pytest.importorskip("peft", reason="peft is not installed")
    nearest = "model.separator.net.up=nearest"  # its decoder has plain convolutions
    start = make_run(tmp_path / "start", NARROW, nearest)
    typed = ["model=unet", "data=musdb", f"data.root={songs}", *SHORT[1:], nearest, f"init={start}", "test=false", *words]
    for folder, counts in (("whole", [2]), ("parts", [1, 2])):
        for count in counts:
            status, _, error = cli(*typed, f"trainer.max_epochs={count}", f"hydra.run.dir={tmp_path / folder}")
            assert status == 0, error
    for name in ("last", "best"):
        whole, parts = (state_of(tmp_path / folder, name, raw=True) for folder in ("whole", "parts"))
        assert same(whole, parts)
    if "lora=default" in words:
        assert any(".lora_A." in name for name in whole) and not any("lora" in name for name in state_of(tmp_path / "whole"))
        assert {*state_of(tmp_path / "whole")} == {*state_of(start)}
        assert load_separator(tmp_path / "whole", device="cpu").targets == ["vocals"]


def test_lora_needs_initial_weights(error_of):
    assert error_of("train", "lora=default").where == "lora"
    assert error_of("train", "init=nowhere").where == "init=nowhere"
    assert error_of("train", "init=x", "ckpt_path=y").where == "ckpt_path, init"


def test_a_run_is_compared_with_its_start(cli, trained, tuned, songs, monkeypatch, tmp_path):
    monkeypatch.setenv("UNBRAID_CACHE", str(tmp_path.parent / "cache"))
    run = Path(shutil.copytree(tuned, tmp_path / "tuned"))
    words = [f"run={run}", f"data.root={songs}", "trainer.accelerator=cpu"]
    status, out, error = cli(*words, f"compare_with=[{trained}]", script=SCRIPT)
    assert status == 0, error
    lines = [line for line in out.splitlines() if line.startswith(f"{trained.name} ")]
    assert [" tuned in vocals SI-SDRi" in lines[0], " tuned in accompaniment SI-SDRi" in lines[1]] == [True, True]
    status, out, error = cli(*words, f"start={trained}", "interpolate=0.5", script=SCRIPT)
    assert status == 0 and (run / "scores/energy_ratios-interpolate-0.5/scores.json").is_file(), error
    lacking = Path(shutil.copytree(trained, tmp_path / "lacking"))
    (lacking / "scores.json").unlink()
    status, out, error = cli(*words, f"compare_with=[{lacking}]", script=SCRIPT)
    assert status == 1 and f"python scripts/evaluate.py run={lacking} protocol=energy_ratios" in error.replace("'", "")


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_weights_are_mixed(trained, tuned, share):
    loaded = load_separator(tuned, device="cpu")
    interpolated(loaded.model, loaded.config, str(trained), share)
    before, after = state_of(trained), state_of(tuned)
    for name, tensor in loaded.model.state_dict().items():
        if tensor.is_floating_point():
            expected = torch.lerp(before[f"separator.{name}"], after[f"separator.{name}"], share)
            torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-7)


def test_only_weights_of_the_same_origin_are_mixed(tuned, tmp_path):
    loaded = load_separator(tuned, device="cpu")
    other = make_run(tmp_path / "other", NARROW, "targets=vocals_accompaniment", "data=musdb")
    with pytest.raises(InputError) as error:
        interpolated(loaded.model, loaded.config, str(other), 0.5)
    assert error.value.expected == loaded.config.init.sha256
    wider = build(compose("model.separator.net.channels=[3,2,4,4,4,4]", "targets=vocals_accompaniment").model).separator
    with pytest.raises(InputError) as error:
        interpolated(wider, None, str(other), 0.5)
    assert "nets.0.encoder.0.0.weight" in error.value.found
    for share, start, where in (
        (0.5, None, "start"),
        (None, "x", "interpolate"),
        (2.0, "x", "interpolate"),
        (-1.0, "x", "interpolate"),
    ):
        with pytest.raises(InputError) as error:
            check_interpolation(share, start)
        assert error.value.where == where
