"""Small inputs with which the fuzz targets found an exception other than `InputError`."""

import io
import json

import pytest
import torch

from unbraid.data.layouts.manifest import read_manifest
from unbraid.data.training_tracks import tracks_trained_on
from unbraid.reports.mushra import KEY, MADE_BY
from unbraid.reports.mushra_results import read_key
from unbraid.reports.variants import configs_without_seed
from unbraid.runs.errors import InputError
from unbraid.runs.torch_files import check_torch_file

LONG = "x" * 5000  # longer than the names of a file system


def test_a_long_file_name_in_a_table(tmp_path):
    path = tmp_path / "tracks.csv"
    path.write_text(f"track,vocals\na,{LONG}\n")
    with pytest.raises(InputError) as raised:
        read_manifest(path)
    assert raised.value.where == f"{path}, line 2" and raised.value.found == tmp_path / LONG


def test_a_long_name_of_a_checkpoint(tmp_path):
    with pytest.raises(InputError) as raised:
        check_torch_file(tmp_path / LONG)
    assert raised.value.where == str(tmp_path / LONG)


def test_an_entry_at_the_end_of_an_archive(tmp_path):
    torch.save({"x": torch.ones(1)}, target := io.BytesIO())
    data = bytearray(target.getvalue())
    place = data.rindex(b"PK\1\2") + 42
    data[place : place + 4] = (len(data) - 10).to_bytes(4, "little")
    (tmp_path / "x.ckpt").write_bytes(data)
    with pytest.raises(InputError) as raised:
        check_torch_file(tmp_path / "x.ckpt")
    assert raised.value.where == str(tmp_path / "x.ckpt")


@pytest.mark.parametrize("value", [{}, [], 3, None])
def test_a_hash_of_a_track_of_another_type(tmp_path, value):
    (tmp_path / "tracks.json").write_text(json.dumps({"train": {"a": value}}))
    with pytest.raises(InputError) as raised:
        tracks_trained_on(tmp_path, [])
    assert raised.value.where == str(tmp_path / "tracks.json") and raised.value.hint


@pytest.mark.parametrize("run", [LONG[:300], "a\0b"])
def test_the_path_of_a_rated_run(tmp_path, run):
    conditions = [{"kind": "reference", "name": "x"}, {"kind": "system", "name": "y", "run": run}]
    (tmp_path / KEY).write_text(json.dumps({"made_by": MADE_BY, "test": "t", "conditions": conditions}))
    with pytest.raises(InputError) as raised:
        read_key(tmp_path)
    assert raised.value.where == f"{tmp_path / KEY}, conditions.1.run" and raised.value.found


def test_metadata_of_an_onnx_file_in_another_encoding(tmp_path):
    pytest.importorskip("onnxruntime")
    from tests.security.test_onnx import plain
    from unbraid.inference.export.onnx_file import OnnxSeparator

    path = tmp_path / "x.onnx"
    path.write_bytes(plain().SerializeToString().replace(b'"unet"', b'"un\xff\xc7"'))
    with pytest.raises(InputError) as raised:
        OnnxSeparator(path)
    assert raised.value.where == str(path)


def test_a_config_of_a_run_without_a_seed():
    damaged, whole = {"data.seed": 0, "x": 1}, {"seed": 0, "data.seed": 0, "x": 1}
    assert configs_without_seed([damaged, whole]) == [damaged, damaged]
