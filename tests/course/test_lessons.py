"""Test the lessons: their form, the numbers in their texts, and all cells in the fast form."""

import importlib.util
import json
import re
import sys

import pytest

from tests.conftest import PROJECT

COURSE = PROJECT / "course"
LESSONS = sorted(COURSE.glob("lesson_*.py"))
NUMBER = re.compile(r"([-−]?\d[\d,]*(?:\.\d+)?)(?: ?%)?<!-- (\w+) -->")
RESULTS = json.loads((COURSE / "results.json").read_text())
FIRST = '# %% language="bash"\n# python -c "import unbraid" 2> /dev/null || pip install --quiet unbraid\n'
lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def build():
    """Return the module course/build.py."""
    pytest.importorskip("jupytext")
    pytest.importorskip("nbclient")
    sys.path.insert(0, str(COURSE))
    spec = importlib.util.spec_from_file_location("build", COURSE / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(COURSE))


@lesson
def test_numbers_in_text_agree_with_results(lesson):
    results = RESULTS.get(lesson.stem[:9], {})
    text = lesson.read_text()
    assert text.count("<!-- ") == len(NUMBER.findall(text))
    for printed, name in NUMBER.findall(text):
        plain = printed.replace("−", "-").replace(",", "")
        digits = len(plain.partition(".")[2])
        assert abs(float(plain) - results[name]) <= 0.501 * 10**-digits, f"{name}: {printed}, {results[name]}"


@lesson
def test_lesson_has_its_parts(lesson):
    text = lesson.read_text()
    assert re.match(r"# %% \[markdown\]\n# # Lesson \d+: ", text)
    assert text.split("# %%", 2)[2].startswith(FIRST[4:])
    assert "figures.use_style()" in text
    name = lesson.stem[:9]
    assert all(f"check.exercise_{n}(" in text for n in (1, 2, 3))
    assert (COURSE / "solutions" / f"{name}.py").is_file()
    assert (PROJECT / "src/unbraid/course/checks" / f"{name}.py").is_file()


COMMANDS = ["unbraid train", "unbraid train a='x|y' b=1", "unbraid train a=1 \\\n  b=2", "unbraid train -m \\\na=1"]


@pytest.mark.parametrize("end", ["", " | tail -n 8", " 2> /dev/null | tail", " > log.txt", " && ls", "  # comment", "\nls"])
@pytest.mark.parametrize("command", COMMANDS)
def test_training_commands_become_short(build, command, end):
    assert build.shortened(f"%%bash\n{command}{end}") == f"%%bash\n{command} {build.SHORT}{end}"


def test_other_commands_do_not_change(build):
    text = "%%bash\nunbraid anomaly run=a\necho unbraid train"
    assert build.shortened(text) == text


def test_differences_of_results(build):
    assert build.differences("a", {"x": 1.0, "y": 2.0}, {"x": 1.0001, "y": 2.0}) == []
    assert len(build.differences("a", {"x": 1.0, "y": 2.0}, {"x": 1.01, "z": 2.0})) == 3


@pytest.mark.slow
@lesson
def test_lesson_runs_in_fast_form(lesson, build, tmp_path):
    notebook = build.execute(lesson, tmp_path, fast=True)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert "Not yet" not in json.dumps([cell.get("outputs") for cell in notebook.cells if "check." not in cell.source])
    results = tmp_path / lesson.stem[:9] / "results.json"
    assert {*json.loads(results.read_text() if results.is_file() else "{}")} == {*RESULTS.get(lesson.stem[:9], {})}
