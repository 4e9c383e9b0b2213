"""The commands join chunks as the config of a checkpoint of another tool requires, unless the user chooses another method."""

import numpy as np
import pytest
import soundfile
import torch
import yaml
from omegaconf import OmegaConf

import unbraid
from tests.interop.msst.state import formula_mixture, formula_state, listing
from tests.interop.msst.test_songs import CONFIG
from unbraid.commands.choices import choices
from unbraid.commands.compose import compose
from unbraid.commands.inspect import _network_of, training_words
from unbraid.commands.run_config import with_run
from unbraid.inference.chunked import InferenceOptions
from unbraid.inference.description import Description, describe
from unbraid.interop.msst.checkpoint import FAMILIES
from unbraid.interop.origins import find_origin
from unbraid.runs.config import build


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("msst")
    torch.save(formula_state(listing("scnet")), folder / "model.ckpt")
    (folder / "model.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder / "model.ckpt", folder / "model.yaml"


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], None),
        (["join=crossfade"], InferenceOptions(overlap=0.75, join="crossfade")),
        (["overlap=0.5"], InferenceOptions(overlap=0.5, join="weighted")),
    ],
)
def test_separate_joins_chunks_as_the_config_requires(cli, pair, tmp_path, words, options):
    mixture = formula_mixture(9000)[0].numpy()
    soundfile.write(tmp_path / "song.wav", mixture.T, 44100, subtype="FLOAT")
    status, _, err = cli(
        f"run={pair[0]}", f"config={pair[1]}", f"input={tmp_path}/song.wav", f"output={tmp_path}/stems", "bits=32",
        "device=cpu", *words, script="scripts/separate.py",
    )  # fmt: skip
    assert status == 0, err
    found, _ = soundfile.read(tmp_path / "stems/song/a.wav", dtype="float32")
    expected = unbraid.load(pair[0], config=pair[1], device="cpu").separate(mixture, 44100, options)["a"]
    assert np.abs(found.T - expected.numpy()).max() < 1e-6


@pytest.mark.parametrize(
    ("typed", "expected"), [([], (0.75, "weighted")), (["join"], (0.75, None)), (["overlap"], (None, "weighted"))]
)
def test_evaluate_joins_chunks_as_the_config_requires(pair, typed, expected):
    inference = {"overlap": None, "join": None}
    config = OmegaConf.create(
        {"run": str(pair[0]), "config": str(pair[1]), "targets": {}, "evaluation": {"inference": inference}}
    )
    found = with_run(config, [f"evaluation.inference.{name}" for name in typed]).evaluation.inference
    assert (found.overlap, found.join) == expected


def test_inspect_prints_the_words_that_build_the_network(pair):
    words = training_words(describe(pair[1]))
    assert words[:2] == ["model=scnet", "targets=[a,b]"] and "model.separator.net.channels=[8,16]" in words
    tensors = {name: tuple(tensor.shape) for name, tensor in find_origin(pair[1]).tensors("separator").items()}
    separator = build(compose(*words, "data=demo").model).separator
    assert {name: tuple(tensor.shape) for name, tensor in separator.state_dict().items()} == tensors


def test_each_network_of_another_tool_has_a_model():
    networks = {_network_of(name) for name in choices("model")}
    assert {f"{family.network.__module__}.{family.network.__name__}" for family in FAMILIES} <= networks


def test_inspect_names_the_model_of_a_run():
    assert training_words(Description("run", "separator", (), choice="unet_small")) == ["model=unet_small"]
    assert training_words(Description("ONNX file", "separator", ())) == ["model=…"]
