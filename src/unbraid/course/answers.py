"""Results of exercise checks."""

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
