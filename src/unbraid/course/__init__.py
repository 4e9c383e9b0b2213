"""Figures, sounds and exercise checks for the lessons in `course/`."""

from unbraid.course.answers import Answer
from unbraid.course.results import fast, record

__all__ = ["Answer", "fast", "record"]
