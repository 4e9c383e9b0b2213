"""Work spread over processes that end with their parent, however it ends."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

from unbraid.runs.errors import InputError

CORES = "UNBRAID_CORES"  # set for each run of a sweep
Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """How many this process may use; runs that share a machine are told."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, int(os.environ.get(CORES, there)))


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[int, Result | InputError]]:
    """The number of each item as it is done, with its result, or with the InputError that it ended in.

    Any other exception ends the work: nothing new starts, what runs is waited for. One worker is this process itself.
    """
    if workers <= 1:
        for number, item in enumerate(items):
            yield number, _result(partial(function, item))
        return
    # Forking a process that already runs threads can dead-lock, so workers start afresh.
    with ProcessPoolExecutor(workers, get_context("spawn"), _live_with_parent) as pool:
        with _one_thread_each(), _without_main():
            jobs: dict[Future[Result], int] = {pool.submit(function, item): number for number, item in enumerate(items)}
        try:
            for job in as_completed(jobs):
                yield jobs[job], _result(job.result)
        except BrokenProcessPool as error:
            reason = "a worker process was killed, most likely for lack of memory"
            raise InputError(f"{reason}; data.num_decode_workers=1 needs no other process") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _result(call: Callable[[], Result]) -> Result | InputError:
    try:
        return call()
    except InputError as error:
        return error


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start meanwhile leave the cores to each other."""
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ |= dict.fromkeys(before, "1")
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            os.environ |= {} if value is None else {name: value}


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that start meanwhile do not run the user's script once more, which costs seconds where it imports torch."""
    main = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(hidden)


def _live_with_parent() -> None:
    """Ctrl-C is the parent's to handle; a parent that is killed takes its workers with it, which would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
