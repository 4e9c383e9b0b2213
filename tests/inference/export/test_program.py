"""Programs of torch.export: they return the same sources as the separator."""

import json
import logging

import pytest
import torch

from tests.inference.export.conftest import SMALL, SPECTRAL, made
from unbraid.inference.export.program import FACTS, write_program, written_program
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


def test_writing_and_loading_print_nothing(tmp_path, recwarn, caplog):
    """The file may have any name."""
    separator = made(*KINDS["unet"])
    write_program(separator, tmp_path / "model", "unet")
    assert (
        written_program(tmp_path / "model")(mixture=torch.zeros(1, separator.channels, separator.chunk_samples))
        .isfinite()
        .all()
    )
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING] and not [*recwarn]


@pytest.mark.slow
def test_recurrent_networks_are_refused(tmp_path):
    with pytest.raises(InputError) as error:
        write_program(made(*SMALL["chimera"]), tmp_path / "model.pt2", "chimera")
    assert error.value.where == "format=torch_export" and "format=onnx" in error.value.hint
    assert not (tmp_path / "model.pt2").exists()
