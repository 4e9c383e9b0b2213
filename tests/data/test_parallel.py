"""Test work in other processes: numbered results, errors as results, and signals."""

import math
import os
import signal

import pytest

from unbraid.data.parallel import in_processes
from unbraid.data.tracks import split_of
from unbraid.runs.errors import InputError


@pytest.mark.parametrize("workers", [1, 2])
def test_every_result_comes_with_its_number(workers):
    assert sorted(in_processes(math.sqrt, [0, 1, 4, 9], workers)) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_workers_ignore_ctrl_c():
    assert {handler for _, handler in in_processes(signal.getsignal, [signal.SIGINT] * 4, 2)} == {signal.SIG_IGN}


def test_only_workers_are_limited_to_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert {value for _, value in in_processes(os.getenv, ["OMP_NUM_THREADS", "MKL_NUM_THREADS"], 2)} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("workers", [1, 2])
def test_only_input_errors_are_results(workers):
    (_, error), *_ = in_processes(_refuse, [["a"], ["a"]], workers)
    assert isinstance(error, InputError) and (error.where, error.found) == ("test", 2.0)
    with pytest.raises(ValueError, match=r"math domain error|nonnegative input"):
        list(in_processes(math.sqrt, [1, -1], workers))


def _refuse(ids):
    return split_of(ids, 0.1, 2.0)


def test_a_killed_worker_is_an_error():
    with pytest.raises(InputError) as caught:
        list(in_processes(os._exit, [9, 9], 2))
    assert "data.num_decode_workers=1" in caught.value.hint
