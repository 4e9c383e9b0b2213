"""Test targets as sums of sources."""

import pytest
import torch

from unbraid.data.targets import target_matrix
from unbraid.runs.errors import InputError

SOURCES = ("drums", "bass", "other", "vocals")


@pytest.mark.parametrize(
    ("terms", "row"),
    [
        (["vocals"], [0, 0, 0, 1]),
        (["bass", "drums"], [1, 1, 0, 0]),
        (["-vocals"], [1, 1, 1, 0]),
        (["-vocals", "-drums"], [0, 1, 1, 0]),
        (["drums", "bass", "other", "vocals"], [1, 1, 1, 1]),
    ],
)
def test_a_target_is_a_sum_of_sources(terms, row):
    assert target_matrix({"name": terms}, SOURCES).tolist() == [row]


def test_targets_keep_their_order():
    matrix = target_matrix({"vocals": ["vocals"], "accompaniment": ["-vocals"]}, SOURCES)
    assert torch.equal(matrix.sum(dim=0), torch.ones(4)) and matrix[0].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("targets", "where", "found"),
    [
        ({"voice": ["vocal"]}, "targets.voice", None),
        ({"rest": ["-vocal"]}, "targets.rest", None),
        ({"x": ["drums", "-vocals"]}, "targets.x", ["drums", "-vocals"]),
        ({"x": ["-drums", "-bass", "-other", "-vocals"]}, "targets.x", ["-drums", "-bass", "-other", "-vocals"]),
        ({"x": []}, "targets.x", []),
        ({}, "targets", None),
    ],
)
def test_an_invalid_target_is_refused(targets, where, found):
    with pytest.raises(InputError) as caught:
        target_matrix(targets, SOURCES)
    assert (caught.value.where, caught.value.found) == (where, found)
