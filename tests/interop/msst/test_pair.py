"""Checkpoints that are found by the name of their config file: `run=model.yaml` and `init=model.yaml`."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

import unbraid
from tests.interop.msst.pairs import CONFIGS, tensors, write_pair
from unbraid.inference.description import describe
from unbraid.interop.initial import Init
from unbraid.interop.msst.pair import is_msst_config, msst_pair
from unbraid.interop.origins import find_origin
from unbraid.runs.errors import InputError


@pytest.fixture
def pair(tmp_path):
    """Return the path of the config file of a small SCNet, whose checkpoint has the same name."""
    return write_pair(tmp_path, "scnet")


@pytest.mark.parametrize("family", CONFIGS)
def test_a_config_file_alone_loads_its_checkpoint(tmp_path, family):
    path = write_pair(tmp_path, family)
    alone = unbraid.load(path, device="cpu").model.state_dict()
    both = unbraid.load(path.with_suffix(".ckpt"), config=path, device="cpu").model.state_dict()
    assert alone and all(torch.equal(tensor, both[name]) for name, tensor in alone.items())


@pytest.mark.parametrize("suffix", [".th", ".pth", ".pt", ".safetensors"])
def test_each_suffix_of_weights_is_found(pair, suffix):
    checkpoint = pair.with_suffix(".ckpt")
    if suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors("scnet").items()}, pair.with_suffix(suffix))
        checkpoint.unlink()
    else:
        checkpoint.rename(pair.with_suffix(suffix))
    origin = find_origin(pair)
    assert (origin.kind, origin.file, origin.targets) == ("msst", pair.with_suffix(suffix), ["drums", "vocals"])
    assert Init(str(pair)).files() == [origin.file] and describe(pair).files == (origin.file,)


def test_no_checkpoint_or_several_are_one_error(pair):
    shutil.copy(pair.with_suffix(".ckpt"), pair.with_suffix(".th"))
    errors = []
    for found in ("model.ckpt, model.th", "other.ckpt", "no checkpoint in the folder"):
        with pytest.raises(InputError) as error:
            unbraid.load(pair, device="cpu")
        errors.append(error.value)
        assert (error.value.where, error.value.found) == (str(pair), found)
        assert "model.ckpt, model.pt" in error.value.expected and f"config={pair}" in error.value.hint
        if found == "model.ckpt, model.th":
            pair.with_suffix(".ckpt").rename(pair.with_name("other.ckpt"))
            pair.with_suffix(".th").unlink()
        else:
            pair.with_name("other.ckpt").unlink(missing_ok=True)
    assert len(errors) == 3


def test_other_files_are_not_replaced(pair, tmp_path):
    assert msst_pair(str(pair), "other.yaml") == (str(pair), "other.yaml")
    assert msst_pair(str(tmp_path), None) == (str(tmp_path), None)
    for text in ("- 1\n", "weights: a.pth\nnames: {}\ntraining: {}\n", "model: {}\n"):
        (tmp_path / "names.yaml").write_text(text)
        assert not is_msst_config(tmp_path / "names.yaml")


def test_commands_accept_the_config_file_alone(pair, songs, cli, tmp_path):
    song = next(songs.glob("test/*/mixture.wav"))
    status, _, error = cli(f"run={pair}", f"input={song}", f"output={tmp_path / 'stems'}", script="scripts/separate.py")
    assert status == 0 and [*(tmp_path / "stems").glob("*/drums.*")], error
    words = [f"run={pair}", "data=musdb", f"data.root={songs}", "trainer.accelerator=cpu", "evaluation.clips=0"]
    status, _, error = cli(*words, f"output={tmp_path / 'scores'}", script="scripts/evaluate.py")
    assert status == 0 and (tmp_path / "scores/scores.json").is_file(), error
    words = [f"run={pair}", "format=openunmix", f"output={tmp_path / 'folder'}"]
    status, _, error = cli(*words, script="scripts/export.py")  # the model is loaded, but is not an Open-Unmix
    assert status == 1 and f"error: run={pair.with_suffix('.ckpt')}" in error and "SCNet" in error
