"""Define exceptions for invalid input and for stop signals, and functions that check numbers.

`InputError` reports invalid input: a file, key or value that cannot be used. The commands print this error without a traceback.
`Interrupted` reports a stop signal. All other exceptions are bugs of unbraid, and are printed with a traceback.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn

LINE_BREAKS = re.compile(r"\s*[^\S ]\s*")  # white space with another character than the blank


class InputError(ValueError):
    """Report invalid input of the user: a file, key or value that cannot be used.

    The message is one line: `where: problem, found X, expected Y. Hint.` Line breaks and tabs in the arguments are replaced by
    blanks, so an argument may be the text of another exception. Tests check the arguments, not the wording of the message.

    Args:
        where: file, key or argument that cannot be used.
        problem: description of the fault; empty if `found` and `expected` describe it.
        found: value that was found; None if the message does not show the value.
        expected: values that would be accepted.
        hint: action that the user can take, as a sentence.
    """

    def __init__(self, where: object, problem: str = "", *, found: object = None, expected: str = "", hint: str = "") -> None:
        self.where, self.problem, self.found, self.expected, self.hint = str(where), problem, found, expected, hint
        shown = None if found is None else f"found {found}"
        clauses = ", ".join(part for part in (problem, shown, f"expected {expected}" if expected else None) if part)
        message = f"{self.where}: {clauses}" if clauses else self.where
        is_word = hint.partition(" ")[0].isalpha()  # a key such as `data.root=…` keeps its case
        sentence = f". {hint[0].upper() if is_word else hint[0]}{hint[1:]}" if hint else ""
        super().__init__(LINE_BREAKS.sub(" ", f"{message}{sentence}").strip())

    def raise_at(self, where: object) -> NoReturn:
        """Raise the same error with another file, key or argument `where`."""
        raise InputError(where, self.problem, found=self.found, expected=self.expected, hint=self.hint) from self

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the values from which pickle restores the error in another process."""
        return _input_error, (type(self), self.where, self.problem, self.found, self.expected, self.hint)


def _input_error(kind: type[InputError], where: str, problem: str, found: object, expected: str, hint: str) -> InputError:
    return kind(where, problem, found=found, expected=expected, hint=hint)


class UnsafeFileError(InputError):
    """Report that a file of weights contains Python objects that could execute code. The argument `where` is the file."""


class LayoutError(InputError):
    """Report that the files in a data folder do not match the chosen layout. The argument `where` is the data folder."""


class Interrupted(KeyboardInterrupt):
    """Report that the process has received a stop signal of the operating system, such as SIGINT or SIGTERM.

    Args:
        signum: number of the stop signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def check_seed(seed: int) -> None:
    """Check that a random seed fits into 32 bits.

    Args:
        seed: random seed.

    Raises:
        InputError: the seed is below 0 or above 2**32 - 1.
    """
    if not 0 <= seed < 2**32:
        raise InputError(
            "seed", "the random seed is outside the allowed range", found=seed, expected="an integer in [0, 2**32 - 1]"
        )


def unknown(name: str, known: Iterable[str]) -> str:
    """Return a hint about an unknown name: the most similar known name, and a list of all known names.

    Args:
        name: unknown name that the user typed.
        known: names that would be accepted.

    Returns:
        Text such as `did you mean 'vocals'? known: bass, drums, vocals`.
    """
    names = sorted(known)
    close = closest(name, names, cutoff=0.5)
    hint = f"did you mean '{close}'? " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"


def closest(name: str, known: Iterable[str], cutoff: float = 0.75) -> str | None:
    """Return the known name that is most similar to a name. Upper and lower case are equal.

    Args:
        name: name that the user typed.
        known: names that would be accepted.
        cutoff: lowest accepted similarity, from 0 (nothing in common) to 1 (equal).

    Returns:
        The most similar known name; None if no known name is similar.
    """
    lower = {known_name.lower(): known_name for known_name in sorted(known)}  # of equally similar names, always the same
    close = get_close_matches(name.lower(), lower, n=1, cutoff=cutoff)
    return lower[close[0]] if close else None


def refuse_unset(key: str) -> NoReturn:
    """Raise the error about a config key without a default to which the user has given no value.

    Args:
        key: dotted name of the key, such as `data.root`.

    Raises:
        InputError: always.
    """
    raise InputError(key, "this key needs a value, because it lacks a default", hint=f"Add {key}=… to the command.")


def check_counts(**counts: int | None) -> None:
    """Check that each given count is None or at least 1.

    Args:
        **counts: dictionary from name to count. The error message shows the name.

    Raises:
        InputError: a count is below 1.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(name, found=count, expected="at least 1")
