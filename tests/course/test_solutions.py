"""Test that the checks accept all solutions of the course."""

import runpy

import pytest

from tests.conftest import PROJECT
from unbraid.course import Answer


@pytest.mark.parametrize("solution", sorted((PROJECT / "course/solutions").glob("*.py")), ids=lambda path: path.stem)
def test_checks_accept_solutions(solution):
    answers = [value for value in runpy.run_path(str(solution)).values() if isinstance(value, Answer)]
    assert len(answers) == 3 and all(answer.correct for answer in answers)
