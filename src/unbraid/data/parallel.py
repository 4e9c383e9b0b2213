"""Distribute work over worker processes. If the parent process is killed, the worker processes end too."""

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

CORES = "UNBRAID_CORES"  # environment variable, set by a sweep for each of its runs
Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Return the number of processor cores that this process may use.

    The environment variable `UNBRAID_CORES` limits this number.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, int(os.environ.get(CORES, available)))


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[int, Result | InputError]]:
    """Call a function on items in several processes, and yield the results in the order in which they finish.

    If the function raises an `InputError` for an item, the error is yielded as the result of this item. If the function raises
    any other exception, the processes finish the items that they have begun, and then the exception is raised here.

    Args:
        function: function of one item; the function must be picklable.
        items: arguments of the calls.
        workers: number of processes. 1: the calls are made in this process.

    Yields:
        The index of an item in `items`, and the result of the function for this item.

    Raises:
        InputError: a process was killed, for example because the memory was full.
    """
    if workers <= 1:
        for number, item in enumerate(items):
            yield number, _result(partial(function, item))
        return
    # A fork of a process with threads can deadlock, so workers are spawned.
    with ProcessPoolExecutor(workers, get_context("spawn"), _live_with_parent) as pool:
        with _one_thread_each(), _without_main():
            jobs: dict[Future[Result], int] = {pool.submit(function, item): number for number, item in enumerate(items)}
        try:
            for job in as_completed(jobs):
                yield jobs[job], _result(job.result)
        except BrokenProcessPool as error:
            problem = "the process was killed, probably because the memory was full"
            hint = "Set data.num_decode_workers=1 to decode the tracks one after the other, without worker processes."
            raise InputError("worker process", problem, hint=hint) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _result(call: Callable[[], Result]) -> Result | InputError:
    try:
        return call()
    except InputError as error:
        return error


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit each process that is started inside the `with` block to one thread, so that processes do not compete for cores."""
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
    """Let processes that are started inside the `with` block skip the import of the user's script.

    The import can take seconds.
    """
    main = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(hidden)


def _live_with_parent() -> None:
    """Ignore Ctrl-C in a worker process, because its parent handles Ctrl-C. End the worker when the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
