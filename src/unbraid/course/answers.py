"""Results of exercise checks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Answer:
    """Hold the result of a check. A notebook prints it as `Correct. …` or `Not yet. …`.

    Args:
        correct: whether the answer is correct.
        explanation: reason, as one or more sentences.
    """

    correct: bool
    explanation: str

    def __repr__(self) -> str:
        return f"{'Correct' if self.correct else 'Not yet'}. {self.explanation}"


def unanswered(answer: Any) -> Answer | None:
    """Return the reply to an answer that was not filled in.

    Args:
        answer: answer of the reader.

    Returns:
        The reply if the answer is `...`; otherwise None.
    """
    return Answer(False, "Replace ... by your answer.") if answer is ... else None


def called(function: Callable[..., Any], *arguments: Any, hint: str = "") -> tuple[Any, Answer | None]:
    """Call the function that a reader has written.

    Args:
        function: function of the reader.
        *arguments: its arguments.
        hint: sentence that is added if the function raises an error.

    Returns:
        The value that the function returns, and None. If the function raises an error or returns `...`: None, and the reply.
    """
    try:
        value = function(*arguments)
    except Exception as error:
        return None, Answer(False, f"The function raised {type(error).__name__}: {error}. {hint}".rstrip())
    return value, unanswered(value)


def number(answer: Any) -> float | None:
    """Convert an answer to a number.

    Args:
        answer: answer of the reader: a number, or an array or tensor with one value.

    Returns:
        The number; None if the answer is not one number.
    """
    try:
        values = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        return None
    return float(values.reshape(())) if values.size == 1 else None


def explained(value: float, mistakes: Mapping[float, str], hint: str) -> Answer:
    """Explain a wrong number.

    Args:
        value: answer of the reader.
        mistakes: explanation of each likely mistake, by the number to which it leads.
        hint: explanation of all other numbers.

    Returns:
        The explanation of the mistake whose number differs by at most 0.5 % from the answer, or the hint.
    """
    for wrong, text in mistakes.items():
        if abs(value - wrong) <= 0.005 * max(abs(wrong), 0.1):
            return Answer(False, text)
    return Answer(False, hint)


def numbers(answer: Any) -> list[float] | None:
    """Convert an answer to a list of numbers.

    Args:
        answer: answer of the reader: a list, tuple, set, array or tensor of numbers.

    Returns:
        The numbers; None if the answer is not a collection of numbers.
    """
    try:
        return [float(value) for value in answer]
    except (TypeError, ValueError):
        return None
