"""Scoring whole tracks: in evaluation mode, and never from numbers that are none."""

from functools import partial

import pytest
import torch
from torch import nn

from tests.test_separators import Constant, masking
from unbraid.data.musdb import MUSDB18
from unbraid.data.store import Store
from unbraid.errors import InputError
from unbraid.evaluation import Evaluation

VOCALS = torch.tensor([[0.0, 0.0, 0.0, 1.0]])


@pytest.fixture
def tracks(songs, tmp_path):
    return Store(tmp_path / "store", 8192, 1).open(MUSDB18().tracks(songs).tracks, progress=False)


def test_dropout_is_off_while_scoring(tracks, tmp_path):
    def dropping() -> nn.Module:
        return nn.Sequential(Constant(0.5), nn.Dropout(0.5))

    with_dropout, without = masking(dropping).train(), masking(partial(Constant, 0.5))
    scores = [Evaluation(0.25, 4, 0)(separator, tracks, VOCALS, tmp_path)["estimate"] for separator in (with_dropout, without)]
    assert scores[0] == scores[1]


def test_numbers_that_are_none_are_not_scored(tracks, tmp_path):
    with pytest.raises(InputError, match="song 0: the estimates are not numbers; training diverged"):
        Evaluation(0.25, 4, 1)(masking(partial(Constant, float("nan"))), tracks, VOCALS, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [((0.9, 4, 1), "overlap must lie in"), ((0.25, 0, 1), "batch_size must be"), ((0.25, 4, -1), "clips must be")],
)
def test_what_it_cannot_use_is_said(options, sentence):
    with pytest.raises(InputError, match=sentence):
        Evaluation(*options)
