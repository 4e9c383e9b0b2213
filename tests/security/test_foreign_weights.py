"""Hostile checkpoints and configs of other tools: one error each, nothing is executed, and the memory is bounded."""

import pickle
import time

import pytest
import torch
import yaml

import unbraid
from tests.conftest import NARROW, make_run
from tests.interop.test_msst import CONFIG, theirs
from unbraid.inference.description import describe
from unbraid.nets.adapters import HDemucs
from unbraid.runs.errors import InputError
from unbraid.runs.weights import merged, tensors_of

TOOK_PART = []


class Attack:
    """Run code when it is unpickled."""

    def __reduce__(self):
        return TOOK_PART.append, (1,)


class HTDemucs:
    """Stand for the class that a .th file of demucs names."""


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(3)
    return theirs(HDemucs(2, channels=4))


@pytest.fixture
def pair(state, tmp_path):
    torch.save({"state": state}, tmp_path / "model.ckpt")
    (tmp_path / "model.yaml").write_text(CONFIG)
    return tmp_path / "model.ckpt", tmp_path / "model.yaml"


def refused(path, config=None):
    """Return the error of loading, which must be the error of describing the file too."""
    with pytest.raises(InputError) as error:
        unbraid.load(path, config=config, device="cpu")
    with pytest.raises(InputError) as described:
        describe(path, config=None if config is None else str(config))
    assert described.value.where == error.value.where
    return error.value


def test_pickled_classes_are_never_loaded(tmp_path):
    path = tmp_path / "htdemucs.th"
    torch.save({"klass": HTDemucs, "args": (), "kwargs": {}, "state": {}}, path)
    error = refused(path)
    assert error.where == str(path) and "htdemucs.th" in error.hint and "converted.ckpt" in error.hint
    torch.save({"state": {"a": torch.zeros(1)}, "more": Attack()}, path)
    assert "converted.ckpt" in refused(path).hint
    path.write_bytes(pickle.dumps(Attack()))
    refused(path)
    assert TOOK_PART == []


@pytest.mark.parametrize("key", ["state", "state_dict"])
def test_the_hint_converts_a_file_with_classes(tmp_path, monkeypatch, state, key):
    path = tmp_path / "model.th"
    torch.save({"klass": HTDemucs, key: state}, path)
    command = refused(path).hint.partition('python -c "')[2].removesuffix('"')
    monkeypatch.chdir(tmp_path)
    exec(command)
    (tmp_path / "converted.yaml").write_text(CONFIG)
    assert unbraid.load("converted.yaml", device="cpu").targets == ["drums", "vocals"]


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system", "!!python/name:os.system", "!!python/object/new:os.system", "!!python/module:os", "!x"],
)
def test_python_tags_are_refused(pair, tag):
    pair[1].write_text(CONFIG + f"evil: {tag} [echo]\n")
    error = refused(*pair)
    assert error.where == f"{pair[1]}, line {len(CONFIG.splitlines()) + 1}"


@pytest.mark.parametrize("value", ["!!python/tuple 3", "!!python/tuple {a: 1}", "&a [*a]", "[" * 60 + "]" * 60])
def test_other_forms_of_tuples_are_refused(pair, value):
    pair[1].write_text(CONFIG + f"evil: {value}\n")
    assert refused(*pair).where.startswith(str(pair[1]))


@pytest.mark.parametrize(
    "options",
    [{"depth": 10**9}, {"channels": 10**9}, {"channels": 10**5}, {"depth": 6, "dconv_depth": 10**9}, {"kernel_size": 10**9},
     {"depth": -1}, {"channels": 1.5}, {"growth": 10**6}, {"nfft": 2**40}],
)  # fmt: skip
def test_huge_networks_are_refused_early(pair, options):
    tree = yaml.safe_load(CONFIG.replace("!!python/tuple ", ""))
    tree["hdemucs"] |= options
    pair[1].write_text(yaml.safe_dump(tree))
    start = time.monotonic()
    refused(*pair)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_not_a_number_is_refused(pair, state, value):
    broken = {name: tensor.clone() for name, tensor in state.items()}
    broken["encoder.0.conv.bias"][0] = value
    torch.save(broken, pair[0])
    error = refused(*pair)
    assert (error.where, error.found) == (str(pair[0]), "encoder.0.conv.bias")


def test_missing_tensors_and_other_values_are_refused(pair, state):
    torch.save({name: tensor for name, tensor in state.items() if "dconv.layers.0.3" in name or "0.conv" in name}, pair[0])
    assert "tensors: " in str(refused(*pair).found)
    torch.save({**state, "epoch": 3}, pair[0])
    assert refused(*pair).found == "epoch"
    for content in ({}, {"state": {}}, {"a": "b"}, [1], 3):
        torch.save(content, pair[0])
        assert refused(*pair).where == str(pair[0])


def test_too_many_tensors_are_refused(pair, monkeypatch):
    monkeypatch.setattr("unbraid.interop.msst.checkpoint.MOST_PARTS", 20)
    torch.save({f"encoder.{number}": torch.zeros(()) for number in range(21)}, pair[0])
    assert refused(*pair).found == 21


def test_names_of_targets_stay_file_names(pair):
    pair[1].write_text(CONFIG.replace("[drums, vocals]", "['../../x', vocals]"))
    assert refused(*pair).where == f"{pair[1]}, training.instruments"


def test_stored_configs_of_safetensors_are_checked(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    hostile = '{"model": {"separator": {"_target_": "os.system", "command": "true"}}}'
    for text, where in ((hostile, "model.separator._target_"), ("{", f"{path}, unbraid_config"), ("[1]", str(path))):
        save_file({"a": torch.zeros(1)}, path, {"unbraid_config": text})
        assert refused(path).where == where
    for content in (b"", b"\xff" * 9, (2**40).to_bytes(8, "little"), (3).to_bytes(8, "little") + b"[1]"):
        path.write_bytes(content)
        assert refused(path).where.startswith(str(path))


def test_matrices_of_lora_must_fit_their_layer(tmp_path):
    run = make_run(tmp_path / "run", NARROW)
    path = run / "checkpoints/best.ckpt"
    plain = torch.load(path, weights_only=True)["state_dict"]
    layer = "separator.nets.0.encoder.0.0"
    base = {name.replace(f"{layer}.", f"{layer}.base_layer."): tensor for name, tensor in plain.items()}
    down, up = torch.ones(1, 1, 5, 5), torch.ones(2, 1, 1, 1)
    for a, b in ((down[..., :3], up), (down, up[:1]), (down, torch.ones(2, 1, 2, 1)), (down[0, 0], up)):
        names = {f"{layer}.lora_A.default.weight": a, f"{layer}.lora_B.default.weight": b}
        torch.save({"state_dict": base | names, "task": {"lora": {"rank": 1.0, "alpha": 2.0}}}, path)
        with pytest.raises(InputError) as error:
            tensors_of(path)
        assert error.value.where == str(path) and error.value.found == layer
    names = {f"{layer}.lora_A.default.weight": down, f"{layer}.lora_B.default.weight": up}
    for task in (None, {"lora": None}, {"lora": {"rank": 0.0, "alpha": 1.0}}, {"lora": {"rank": "x", "alpha": 1.0}}):
        torch.save({"state_dict": base | names, "task": task}, path)
        with pytest.raises(InputError):
            tensors_of(path)
    fitting = merged(base | names, 2.0, path)
    assert torch.equal(fitting[f"{layer}.weight"], plain[f"{layer}.weight"] + 2.0)
    assert {*fitting} == {*plain}
