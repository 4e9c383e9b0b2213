"""Tests of configs with huge models: they are refused before memory is allocated."""

import json
from functools import partial

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import unbraid
from tests.conftest import make_run
from unbraid.interop import published as pretrained
from unbraid.nets.open_unmix import OpenUnmix
from unbraid.runs import weights
from unbraid.runs.errors import InputError
from unbraid.runs.weights import SPARE, limited_size

PARTS = 100  # instead of the real limit, to save time
NET = "model.separator.net"
HOSTILE = [
    {f"{NET}.channels": [200_000] * 6},
    {f"{NET}.channels": [16, 32, 64, 128, 256, 200_000]},
    {"model.separator.stft.n_fft": 1 << 40, "model.separator.stft.hop_length": 768},
    {"model.separator.targets": {f"target {number}": ["vocals"] for number in range(500)}},
]
LOAD = """
import resource, sys, unbraid
from unbraid.runs import weights
from unbraid.runs.errors import InputError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for run in sys.argv[1:]:
    try:
        unbraid.load(run)
        print("loaded")
    except InputError:
        print("refused")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_runs_of_absurd_sizes_are_refused(limited, tmp_path):
    run = make_run(tmp_path / "run", "model=unet_small")
    own, folders = OmegaConf.load(run / "config.yaml"), []
    for number, changes in enumerate(HOSTILE):
        config = OmegaConf.create(OmegaConf.to_container(own))
        for key, value in changes.items():
            OmegaConf.update(config, key, value)
        folders.append(folder := tmp_path / str(number))
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints/best.ckpt").symlink_to(run / "checkpoints/best.ckpt")
        OmegaConf.save(config, folder / "config.yaml")
    result = limited("-c", LOAD, *folders, megabytes=16_000)
    *words, kilobytes = result.stdout.split()
    assert words == ["refused"] * len(HOSTILE), result.stderr
    assert int(kilobytes) < 2_500_000


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(1 << 20, 1 << 20),
        lambda: nn.LSTM(1 << 18, 1 << 18),
        lambda: nn.Conv2d(1 << 16, 1 << 16, 5),
        lambda: nn.Parameter(torch.ones(1 << 40)),
        lambda: nn.Parameter(torch.randn(size=(1 << 20, 1 << 20))),
        lambda: torch.arange(1 << 40),
        lambda: torch.full([1 << 40], 1.0),
        lambda: torch.hann_window(1 << 40),
        lambda: [torch.empty(1 << 26) for _ in range(100)],
    ],
)
def test_memory_is_counted_before_its_allocation(make):
    with pytest.raises(InputError) as error, limited_size("model", 1 << 20):
        make()
    assert error.value.where == "model" and error.value.expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LSTM(1, 1, PARTS),
        lambda: nn.Sequential(*(nn.ReLU() for _ in range(PARTS + 1))),
        lambda: [nn.BatchNorm1d(1) for _ in range(PARTS)],
    ],
)
def test_parts_of_a_model_are_counted(make, monkeypatch):
    monkeypatch.setattr(weights, "MOST_PARTS", PARTS)
    with pytest.raises(InputError), limited_size("model", SPARE):
        make()
    nn.LSTM(1, 1)  # not counted


def test_a_file_with_few_tensors_has_few_parts():
    allowed = weights.MOST_PARTS_PER_TENSOR * 3 + weights.SPARE_PARTS
    with limited_size("model", SPARE, tensors=3):
        nn.Sequential(*(nn.ReLU() for _ in range(allowed)))
    with pytest.raises(InputError) as error, limited_size("model", SPARE, tensors=3):
        nn.Sequential(*(nn.ReLU() for _ in range(allowed + 1)))
    assert (error.value.where, error.value.expected) == ("model", f"at most {allowed}")


@pytest.mark.parametrize("name", ["Transformer", "TransformerEncoder", "modules.transformer.TransformerDecoder"])
def test_classes_that_copy_layers_are_not_built(tmp_path, name):
    run = make_run(tmp_path / "run", "model=unet_small")
    config = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(config, NET, {"_target_": f"torch.nn.{name}", "num_layers": 10**9}, merge=False)
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(InputError) as error:
        unbraid.load(run)
    assert error.value.where == f"{NET}._target_"


def openunmix_folder(folder, **wrong):
    small = {"bins": 33, "audio_channels": 1, "max_bin": 20, "hidden": 8, "layers": 1, "causal": False}
    folder.mkdir()
    torch.save(OpenUnmix(**small).state_dict() | wrong, folder / "vocals.pth")
    (folder / "vocals.json").write_text("{}")
    (folder / "separator.json").write_text('{"sample_rate": 8000, "nfft": 64, "nhop": 16, "nb_channels": 1}')
    return folder


def test_layers_and_sizes_by_name_are_limited(tmp_path):
    one = torch.ones(1)
    unbraid.load(openunmix_folder(tmp_path / "good"))
    for number, wrong in enumerate((
        {f"lstm.weight_ih_l{number}": one for number in range(10_000)},
        {"bn1.weight": torch.ones(1 << 17)},
        {"output_mean": torch.ones(1 << 17), "bn3.weight": torch.ones(1 << 17), "bn1.weight": torch.ones(1 << 16)},
    )):  # fmt: skip
        with pytest.raises(InputError):
            unbraid.load(openunmix_folder(tmp_path / str(number), **wrong))


@pytest.mark.parametrize("value", [torch.tensor(1.0), torch.ones(0), torch.ones(1, 1)])
@pytest.mark.parametrize("name", ["output_mean", "input_mean", "bn1.weight", "bn3.weight"])
def test_tensors_of_other_shapes_are_one_error(tmp_path, name, value):
    with pytest.raises(InputError):
        unbraid.load(openunmix_folder(tmp_path / "model", **{name: value}))
    assert value.numel() == 1 or pretrained._rate_of(tmp_path, {"sample_rate": value}) is None


@pytest.mark.parametrize("key", ["sample_rate", "nfft", "nhop", "nb_channels"])
@pytest.mark.parametrize("value", [0, -1, 1 << 40, 10**299, 1e100])
def test_numbers_of_another_size_are_one_error(tmp_path, key, value):
    folder = openunmix_folder(tmp_path / "model")
    settings = {"sample_rate": 8000, "nfft": 64, "nhop": 16, "nb_channels": 1} | {key: value}
    (folder / "separator.json").write_text(json.dumps(settings))
    with pytest.raises(InputError):
        unbraid.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in ("sample_rate", "chunk_seconds", "channels") for value in (-1, 1 << 40, 10**299, 1e308)),
        ("sample_rate", 3),  # soxr crashes between this rate and 768 kHz
    ],
)
def test_numbers_of_a_run_are_limited(tmp_path, key, value):
    run = make_run(tmp_path / "run", "model=unet_small")
    config = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(config, f"model.separator.{key}", value)
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(InputError):
        unbraid.load(run)


def test_a_training_larger_than_the_machine_ends_at_once(cli):
    status, _, err = cli("data=demo", "model=unet", f"{NET}.channels=[200000,200000,200000,200000,200000,200000]")
    assert status == 1 and len(err.splitlines()) == 1 and err.startswith("error: model")


def test_a_run_whose_shapes_differ_names_the_tensor(tmp_path):
    run = make_run(tmp_path / "run", "model=unet_small")
    config = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(config, f"{NET}.channels", [8, 16, 32, 64, 128, 300])
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(InputError) as error:
        unbraid.load(run)
    assert error.value.where.endswith("best.ckpt") and "[256, 128, 5, 5] instead of [300, 128, 5, 5]" in error.value.found


def test_counting_does_not_change_weights():
    made = []
    for limit in (None, 1 << 30):
        torch.manual_seed(1)
        make = partial(nn.Linear, 3, 4)
        if limit is None:
            made.append(make().weight)
        else:
            with limited_size("model", limit):
                made.append(make().weight)
    assert torch.equal(*made)
