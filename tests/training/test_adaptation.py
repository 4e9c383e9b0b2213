"""Frozen parameters and low-rank adaptation: trained parameters, unchanged parameters, and contents of checkpoints."""

import math

import pytest
import torch
from omegaconf import OmegaConf

from tests.conftest import NARROW
from tests.test_configs import compose
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.runs.weights import merged
from unbraid.tasks.lora import Lora, without_adapters
from unbraid.training.adaptation import choose_parameters

ENCODER = "freeze=[nets.0.encoder]"


def chosen(*words):
    """Return the task of a model after its parameters were chosen, and the text about them."""
    config = compose(*words)
    torch.manual_seed(0)
    task = build(config.model)
    return task, choose_parameters(config, task)


def step(task, seconds=12):
    """Train one step on noise."""
    torch.manual_seed(1)
    task.train()
    optimizer = task.configure_optimizers()
    mixture = torch.randn(2, task.separator.channels, seconds * task.separator.sample_rate)
    estimate = task.separator(mixture)
    target = task.separator.training_target(mixture, mixture[:, None] / 2, estimate)
    task.loss(estimate, target).backward()
    optimizer.step()


def test_a_frozen_part_stays_bit_equal():
    task, text = chosen(NARROW, ENCODER)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    step(task)
    same = {name: torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items()}
    assert all(equal for name, equal in same.items() if ".encoder." in name)
    assert not any(same[name] for name in same if ".decoder." in name and name.endswith(("weight", "running_mean")))
    assert "nets.0.encoder" in text and f"{2733:,}" in text


def test_batch_norm_of_a_frozen_part_stays_in_evaluation():
    task, _ = chosen(NARROW, ENCODER)
    task.train()
    modes = {name: module.training for name, module in task.named_modules()}
    assert not any(mode for name, mode in modes.items() if name.startswith("separator.nets.0.encoder"))
    assert modes["separator.nets.0.decoder.0"] and modes[""]


def test_nothing_changes_without_the_keys():
    task, text = chosen(NARROW)
    assert text == "" and task.fixed == [] and all(parameter.requires_grad for parameter in task.parameters())


@pytest.mark.parametrize(
    ("word", "where"), [("freeze=[nets.0.encode]", "freeze=nets.0.encode"), ("freeze=[nets]", "freeze")], ids=str
)
def test_invalid_prefixes_are_refused(word, where):
    with pytest.raises(InputError) as error:
        chosen(NARROW, word)
    assert error.value.where == where


@pytest.mark.parametrize("options", [{"rank": 0}, {"rank": -1}, {"alpha": 0}])
def test_invalid_options_of_lora_are_refused(options):
    with pytest.raises(InputError) as error:
        Lora(**options)
    assert error.value.where == f"lora.{next(iter(options))}"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(InputError) as error:
        Lora().adapt(torch.nn.Linear(3, 3))
    assert "unbraid[lora]" in error.value.hint


LORA = {
    "open_unmix": (["model=open_unmix", "lora.rank=4"], 2),
    "unet": (["model=unet", "model.separator.net.up=nearest"], 6),  # its decoder has plain convolutions
    "scnet_small": (["model=scnet_small", "lora.rank=2"], 52),
}


@pytest.mark.parametrize(("words", "layers"), LORA.values(), ids=LORA)
def test_lora_trains_a_small_share(words, layers):
    pytest.importorskip("peft", reason="peft is not installed")
    task, text = chosen("targets=vocals", "lora=default", *words, "init.path=x")
    base = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    trained = sum(parameter.numel() for parameter in task.parameters() if parameter.requires_grad)
    assert trained <= 0.05 * sum(parameter.numel() for parameter in task.parameters()) and f"LoRA of {layers} layers" in text
    step(task)
    assert all(torch.equal(tensor, base[name]) for name, tensor in task.state_dict().items() if ".lora_" not in name)


SMALL = {
    "open_unmix": 12,
    "scnet_small": 4,
    "htdemucs_small": 2,
    "mdx23c_small": 4,
    "bs_roformer_small": 2,
    "mel_band_roformer_small": 2,
}


@pytest.mark.parametrize(("model", "seconds"), SMALL.items(), ids=SMALL)
def test_every_adapted_layer_is_used_and_merged_exactly(model, seconds):
    pytest.importorskip("peft", reason="peft is not installed")
    task, _ = chosen(f"model={model}", "targets=vocals", "lora=default", "lora.rank=2", "init.path=x")
    torch.manual_seed(0)
    matrices = {name: parameter for name, parameter in task.named_parameters() if ".lora_B." in name}
    for parameter in matrices.values():  # zero at the start of a training
        torch.nn.init.normal_(parameter, std=0.02)
    step(task, seconds)
    assert [name for name, parameter in matrices.items() if parameter.grad is None or not parameter.grad.any()] == []
    mixture = torch.randn(1, task.separator.channels, seconds * task.separator.sample_rate)
    task.eval()
    with torch.inference_mode():
        adapted = task.separator(mixture).sources
        plain = merged(task.state_dict(), task.lora["alpha"] / task.lora["rank"], "x")
        without_adapters(task)
        unchanged = task.separator(mixture).sources
        task.load_state_dict(plain)
        found = task.separator(mixture).sources
    assert (found - adapted).abs().max() < 1e-5 * adapted.abs().max() < (unchanged - adapted).abs().max()


def test_an_autoencoder_has_no_layers_for_lora():
    pytest.importorskip("peft", reason="peft is not installed")
    with pytest.raises(InputError) as error:  # its decoder reads the weights of its layers directly
        chosen("model=ae", "data=digits", "lora=default", "init.path=x")
    assert error.value.where == "lora"


def test_layers_of_lora_are_chosen_by_prefix():
    pytest.importorskip("peft", reason="peft is not installed")
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Conv1d(4, 4, 3), torch.nn.LSTM(4, 4))
    assert Lora(layers=["1"]).adapt(net) == ["1"]
    assert {name for name, parameter in net.named_parameters() if parameter.requires_grad} == {
        "1.lora_A.default.weight", "1.lora_B.default.weight",
    }  # fmt: skip
    with pytest.raises(InputError) as error:
        Lora(layers=["7"]).adapt(torch.nn.Linear(4, 4))
    assert error.value.where == "lora.layers=7"
    with pytest.raises(InputError) as error:
        Lora().adapt(torch.nn.LSTM(4, 4))
    assert error.value.where == "lora"


def test_testing_without_training_has_no_adapters():
    config = compose(NARROW, "lora=default", "init.path=x", "train=false")
    task = build(config.model)
    assert choose_parameters(config, task) == "" and task.lora is None
    assert math.isclose(OmegaConf.select(config, "lora.alpha"), 16)
