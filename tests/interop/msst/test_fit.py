"""Config files that describe another network than the one in the checkpoint."""

import pytest
import yaml

import unbraid
from tests.interop.msst.pairs import CONFIGS, write_pair
from unbraid.interop.msst.fit import MOST_NAMES
from unbraid.runs.errors import InputError

# Families whose network a config file of another family describes, too: the options of SCNet are also those of its variants.
ALSO = {"scnet": {"scnet_masked"}, "scnet_masked": {"scnet"}, "scnet_tran": {"scnet", "scnet_masked"}}


def error_of(path, config):
    with pytest.raises(InputError) as error:
        unbraid.load(path, config=config, device="cpu")
    return error.value


@pytest.mark.parametrize("tensors", CONFIGS)
def test_a_config_of_another_family_is_one_error(tmp_path, tensors):
    checkpoint = write_pair(tmp_path, tensors).with_suffix(".ckpt")
    for config in CONFIGS.keys() - {tensors} - ALSO.get(tensors, set()):
        path = tmp_path / "other.yaml"
        path.write_text(yaml.safe_dump(CONFIGS[config]))
        error = error_of(checkpoint, path)
        described, _, found = error.problem.removeprefix(f"the config file {path} describes ").partition(", but")
        assert error.where == str(checkpoint) and config in described and tensors in found, (config, error)
        listed = error.found.partition(": ")[2].split("; ")
        assert len(listed) == MOST_NAMES + 1 and listed[-1].endswith(" more") and " instead of " in listed[0]


@pytest.mark.parametrize(
    ("family", "section", "option", "tensor"),
    [
        (
            "bs_roformer",
            "model",
            {"mlp_expansion_factor": 2},
            "net.mask_estimators.0.bands.0.0.weight [32, 8] instead of [16, 8]",
        ),
        ("mel_band_roformer", "model", {"depth": 1}, "instead of missing"),
        ("scnet", "model", {"dims": [4, 8, 32]}, "net.encoder.1.compress.0.bias [16] instead of [32]"),
        ("mdx23c", "model", {"growth": 8}, "net.encoder.1.0.tfc1.0.weight [12] instead of [16]"),
        ("htdemucs", "htdemucs", {"t_layers": 4}, "missing instead of"),
    ],
)
def test_options_that_do_not_fit_the_tensors_are_one_error(tmp_path, family, section, option, tensor):
    path = write_pair(tmp_path, family)
    tree = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(tree | {section: tree[section] | option}))
    error = error_of(path.with_suffix(".ckpt"), path)
    assert error.where == str(path.with_suffix(".ckpt")) and family in error.problem and tensor in error.found, error
    assert len(error.found.split("; ")) <= MOST_NAMES + 1 and "config file" in error.hint
