"""Work in other processes: every result with its number, errors as results, and workers that leave Ctrl-C to their parent."""

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


def test_workers_leave_ctrl_c_to_their_parent():
    assert {handler for _, handler in in_processes(signal.getsignal, [signal.SIGINT] * 4, 2)} == {signal.SIG_IGN}


def test_workers_have_one_thread_and_the_parent_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert {value for _, value in in_processes(os.getenv, ["OMP_NUM_THREADS", "MKL_NUM_THREADS"], 2)} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_input_is_a_result_and_anything_else_ends_the_work(workers):
    (_, found), *_ = in_processes(_refuse, [["a"], ["a"]], workers)
    assert isinstance(found, InputError) and "test must be a list of ids or a share" in str(found)
    with pytest.raises(ValueError, match=r"math domain error|nonnegative input"):
        list(in_processes(math.sqrt, [1, -1], workers))


def _refuse(ids):
    return split_of(ids, 0.1, 2.0)


def test_a_worker_that_is_killed_is_said():
    with pytest.raises(InputError, match=r"a worker process was killed, .*; data\.num_decode_workers=1 needs no other process"):
        list(in_processes(os._exit, [9, 9], 2))
