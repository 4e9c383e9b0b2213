"""Kill programs at random moments."""

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any


def run_with_kills(
    words: Sequence[str | Path], chance: Random, longest: float, kills: int, check: Callable[[], bool | None], **options: Any
) -> None:
    """Start a program again and again, kill it with all its processes at random moments, and let the last start finish.

    A start that ends before its kill is the last one, and so is a start that is killed after it has finished its work.

    Args:
        words: command line of the program.
        chance: random numbers.
        longest: longest time until a kill, in seconds.
        kills: largest number of kills.
        check: function that checks the files of the program after each kill. It returns True if the program has finished its
            work.
        **options: options of `subprocess.Popen`.
    """
    for _ in range(kills):
        with subprocess.Popen(words, start_new_session=True, **options) as process:
            try:
                status = process.wait(chance.uniform(0.0, longest))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                status = None
        assert not status, words
        finished = check()
        if finished or status == 0:
            return
    subprocess.run(words, check=True, timeout=600, **options)
