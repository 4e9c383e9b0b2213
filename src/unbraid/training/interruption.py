"""Handle signals that end a run: Ctrl-C, a closed terminal, and signals of a cluster before it ends a job."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from unbraid.runs.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Interruption:
    """Turn a signal into the exception `Interrupted`, at once or later.

    Attributes:
        waits: if True, the first signal is stored in `signum` instead of raised; a second signal is raised at once.
        signum: number of the stored signal; 0 before the first signal.
    """

    def __init__(self) -> None:
        self.waits, self.signum = False, 0

    def install(self) -> dict[signal.Signals, Any]:
        """Replace the handlers of all signals in `SIGNALS` that the process does not ignore.

        Returns:
            The replaced handlers; empty in other threads than the main one, in which Python allows no signal handlers.
        """
        if threading.current_thread() is not threading.main_thread():
            return {}
        before = {number: signal.getsignal(number) for number in SIGNALS}
        before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
        for number in before:
            signal.signal(number, self._handle)
        return before

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum or not self.waits:
            raise Interrupted(signum)
        self.signum = signum


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` when a signal of `SIGNALS` arrives within the block."""
    before = Interruption().install()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
