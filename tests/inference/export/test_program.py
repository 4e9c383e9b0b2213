"""Programs of torch.export: they return the same sources as the separator."""

import json

import pytest
import torch

from tests.inference.export.conftest import SMALL, SPECTRAL, made
from unbraid.inference.export.program import FACTS, write_program
from unbraid.runs.errors import InputError

KINDS = {"unet": SMALL["consistent"], "htdemucs": SPECTRAL["htdemucs"], "scnet_tran": SPECTRAL["scnet_tran"]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_program_and_separator_agree_on_music(kind, music, tmp_path):
    separator = made(*KINDS[kind])
    write_program(separator, tmp_path / "model.pt2", kind)
    extra = {FACTS: ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=extra).module(check_guards=False)
    for batch, samples in ((2, separator.chunk_samples), (1, separator.chunk_samples * 4 // 3 + 7)):
        mixture = music(separator.sample_rate, separator.channels, samples)[:batch]
        assert (program(mixture=mixture) - separator(mixture).sources).abs().max() < 1e-4
    assert json.loads(extra[FACTS])["targets"] == separator.targets


@pytest.mark.slow
def test_recurrent_networks_are_refused(tmp_path):
    with pytest.raises(InputError) as error:
        write_program(made(*SMALL["chimera"]), tmp_path / "model.pt2", "chimera")
    assert error.value.where == "format=torch_export" and "format=onnx" in error.value.hint
    assert not (tmp_path / "model.pt2").exists()
