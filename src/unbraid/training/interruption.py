"""Handle stop signals: SIGINT (Ctrl-C), SIGTERM, SIGHUP (closed terminal) and SIGUSR1 (sent by Slurm before a time limit)."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from unbraid.runs.errors import Interrupted

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")  # Windows has only the first two
# Printed after a stop signal
RESUMES = "The same command resumes the {}"
STARTS_AGAIN = "The run has no checkpoint yet. The same command starts it again"
SIGNALS = tuple(signal.Signals[name] for name in NAMES if hasattr(signal, name))


class Interruption:
    """Convert a stop signal of the operating system to the exception `Interrupted`, immediately or later.

    Attributes:
        waits: False: a stop signal raises `Interrupted` immediately. True: the first stop signal only sets `signum`, and a
            second stop signal raises `Interrupted` immediately.
        signum: number of the first stop signal that was received while `waits` was True; 0 before the first stop signal.
    """

    def __init__(self) -> None:
        self.waits, self.signum = False, 0

    def install(self) -> dict[signal.Signals, Any]:
        """Replace the handlers of SIGINT, SIGTERM, SIGUSR1 and SIGHUP. A signal that the process ignores stays ignored.

        Returns:
            Dictionary from each signal with a replaced handler to its previous handler. The dictionary is empty in a thread
            other than the main thread, since Python allows signal handlers only in the main thread.
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
def interruptible(note: str | None = None) -> Iterator[None]:
    """Raise `Interrupted` if the process receives SIGINT, SIGTERM, SIGUSR1 or SIGHUP within the `with` block.

    Args:
        note: sentence that the command prints after its message about the signal; None: no sentence.

    Raises:
        KeyboardInterrupt: the process has received a stop signal. The exception has the note.
    """
    before = Interruption().install()
    try:
        yield
    except KeyboardInterrupt as error:
        if note is not None:
            error.add_note(note)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
