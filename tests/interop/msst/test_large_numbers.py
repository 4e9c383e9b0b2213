"""Config files with the number 10**9 or another wrong value in any option: an error within seconds and little memory."""

import copy
import math
import resource
import time

import pytest
import yaml

import unbraid
from tests.interop.msst.pairs import CONFIGS, write_pair
from unbraid.runs.errors import InputError

HUGE = 10**9
WRONG = (0, -1, math.nan, "x", True)  # each option gets one of these values
MOST_SECONDS, MOST_KILOBYTES = 5, 1_000_000
# Numbers that do not change the network: they are not used here, or only in training; more overlap than 0.75 is reduced.
HARMLESS = {
    "inference.num_overlap", "inference.batch_size", "model.num_stems", "hdemucs.dconv_init", "hdemucs: audio.chunk_size",
    "htdemucs: audio.chunk_size", "scnet_tran: model.expand",
}  # fmt: skip


def leaves(tree, path=()):
    """Yield the path of each number in a tree of dictionaries and lists."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list | tuple):
            yield from leaves(value, (*path, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, key)


def changed(tree, path, value):
    """Return a copy of a tree with another value at a path, and whether the value differs."""
    tree = copy.deepcopy(tree)
    node = tree
    for key in path[:-1]:
        node = node[key]
    differs = node[path[-1]] != value
    node[path[-1]] = value
    return tree, differs


@pytest.mark.parametrize("family", CONFIGS)
def test_a_huge_number_is_one_error(tmp_path, family):
    path = write_pair(tmp_path, family)
    tree = yaml.safe_load(path.read_text())
    unbraid.load(path, device="cpu")
    before, found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, set()
    for leaf in leaves(tree):
        name, started = ".".join(map(str, leaf)), time.process_time()
        path.write_text(yaml.safe_dump(changed(tree, leaf, HUGE)[0]))
        try:
            unbraid.load(path, device="cpu")
            assert {name, f"{family}: {name}"} & HARMLESS, name
        except InputError as error:
            found.add(name)
            assert error.where and len(str(error)) < 1000, name
        assert time.process_time() - started < MOST_SECONDS, name
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES, name
    assert len(found) >= 5


@pytest.mark.parametrize("family", CONFIGS)
def test_a_wrong_value_is_one_error(tmp_path, family):
    path = write_pair(tmp_path, family)
    tree = yaml.safe_load(path.read_text())
    for number, leaf in enumerate(leaves(tree)):
        name = ".".join(map(str, leaf))
        content, differs = changed(tree, leaf, WRONG[number % len(WRONG)])
        path.write_text(yaml.safe_dump(content))
        try:
            unbraid.load(path, device="cpu")
            assert not differs or {name, f"{family}: {name}"} & HARMLESS, name
        except InputError as error:
            assert error.where and len(str(error)) < 1000, name


@pytest.mark.parametrize("family", ["bs_roformer", "mel_band_roformer"])
def test_a_huge_mask_estimator_is_one_error(tmp_path, family):
    path = write_pair(tmp_path, family)
    tree = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(tree | {"model": tree["model"] | {"mask_estimator_depth": HUGE}}))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InputError):
        unbraid.load(path, device="cpu")
    assert time.process_time() - started < MOST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES


@pytest.mark.parametrize(
    ("family", "option", "value", "found"),
    [
        ("bs_roformer", "model.stft_hop_length", 0, 0),
        ("bs_roformer", "model.heads", "x", "'x'"),
        ("mel_band_roformer", "model.num_bands", 0, 0),
        ("scnet", "model.num_dplayer", 3, 3),
        ("scnet", "model.hop_size", "x", "'x'"),
        ("scnet_tran", "model.tran_rotary_embedding_dim", 3, 3),
        ("mdx23c", "model.num_scales", "x", "'x'"),
        ("mdx23c", "audio.dim_f", 3, 3),
        ("mdx23c", "audio.num_channels", 0, "0"),
        ("htdemucs", "htdemucs.nfft", "x", "'x'"),
        ("htdemucs", "training.samplerate", 0, "0"),
    ],
)
def test_errors_name_the_option_and_its_file(tmp_path, family, option, value, found):
    path = write_pair(tmp_path, family)
    path.write_text(yaml.safe_dump(changed(yaml.safe_load(path.read_text()), option.split("."), value)[0]))
    with pytest.raises(InputError) as error:
        unbraid.load(path, device="cpu")
    assert (error.value.where, error.value.found) == (f"{path}, {option}", found)
