"""The one exception for what a user gave and we cannot use, the 'did you mean' of its sentences, and the one for a run that is
asked to end.

Anything else that is raised is a bug of ours and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """A file, key or value the user gave cannot be used; the message is one sentence that says which, found and expected."""


class Interrupted(KeyboardInterrupt):
    """A signal asks the process to end.

    Args:
        signum: which.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def check_seed(seed: int) -> None:
    """InputError where it is none."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed must lie in [0, 2**32 - 1], found {seed}")


def unknown(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, then all of them."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"
