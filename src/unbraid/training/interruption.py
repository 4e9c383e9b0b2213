"""Signals that ask a run to end: Ctrl-C, a closed terminal, and those that clusters send before they end a job."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from unbraid.runs.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Interruption:
    """Hears such signals: raises `Interrupted` at once, or, while `waits` is set, notes the first one in `heard`."""

    def __init__(self) -> None:
        self.waits, self.heard = False, 0

    def listen(self) -> dict[signal.Signals, Any]:
        """From now on, in place of whoever did: their handlers. A signal that the process was started deaf to stays unheard."""
        if threading.current_thread() is not threading.main_thread():  # where Python lets nobody listen
            return {}
        before = {number: signal.getsignal(number) for number in SIGNALS}
        before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
        for number in before:
            signal.signal(number, self._hear)
        return before

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        if self.heard or not self.waits:
            raise Interrupted(signum)
        self.heard = signum


@contextmanager
def interruptible() -> Iterator[None]:
    """In this block these signals raise `Interrupted`."""
    before = Interruption().listen()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
