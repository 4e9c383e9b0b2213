"""The one exception for what a user gave and we cannot use, the 'did you mean' of its sentences, and the one for a run that is
asked to end.

Anything else that is raised is a bug of ours and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class InputError(ValueError):
    """A file, key or value of the user cannot be used.

    The message is one line: `where: problem, found X, expected Y. Hint.` Tests assert the fields, not the wording. Older code
    passes the whole sentence as `where`; new code passes the fields.

    Args:
        where: file, key or argument that is at fault.
        problem: what is wrong with it.
        found: the value that was found.
        expected: the values that would be accepted.
        hint: what the user can do, a sentence.
    """

    def __init__(self, where: object, problem: str = "", *, found: object = None, expected: str = "", hint: str = "") -> None:
        self.where, self.problem, self.found, self.expected, self.hint = str(where), problem, found, expected, hint
        shown = None if found is None else f"found {found}"
        clauses = ", ".join(part for part in (problem, shown, f"expected {expected}" if expected else None) if part)
        message = f"{self.where}: {clauses}" if clauses else self.where
        super().__init__(f"{message}. {hint}" if hint else message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Restore the fields when an error crosses a process boundary."""
        return _input_error, (type(self), self.where, self.problem, self.found, self.expected, self.hint)


def _input_error(kind: type[InputError], where: str, problem: str, found: object, expected: str, hint: str) -> InputError:
    return kind(where, problem, found=found, expected=expected, hint=hint)


class LayoutError(InputError):
    """The folder of a data set, which is `where`, does not hold what its layout expects."""


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


def check_counts(**counts: int | None) -> None:
    """Check numbers that count something; None is allowed.

    Raises:
        InputError: one of them is below 1.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"{name} must be at least 1, found {count}")
