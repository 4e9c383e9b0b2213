"""Execute the lessons of the course and write them as notebooks and HTML pages.

python course/build.py                  all lessons, in the full form
python course/build.py 1 4 --fast       two lessons, in the fast form: the same cells, with short trainings
python course/build.py --update         also replace the numbers in course/results.json by the new ones

Each lesson runs in an empty folder and a kernel of its own. The results of the full form must agree with course/results.json.
"""

import argparse
import json
import os
import re
import resource
import shutil
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import pages
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor

COURSE = Path(__file__).resolve().parent
RESULTS = COURSE / "results.json"
OUTPUT = Path("outputs/course")
# A command with its continued lines, up to a pipe, a redirection, a second command or a comment
TRAINING = re.compile(r"^unbraid train\b(?:\\\n|.)*?(?=\s*$(?<!\\)|\s+(?:\||\d?>|&|;|#))", re.MULTILINE)
SHORT = "trainer.max_epochs=1 trainer.check_val_every_n_epoch=1 ++trainer.limit_train_batches=2 ++trainer.limit_val_batches=2"
TOLERANCE = 1e-3  # relative difference of a result that is allowed between two machines
TOLERANCES = {  # larger values for single results; a comment gives the reason
    "lesson_03/beats_alarms": 0.1,  # counts of 200 beats, some of which are near the limit
    "lesson_03/beats_hits": 0.05,
    "lesson_05/from_zero": 0.3,  # 64 iterations from phase 0 amplify rounding errors; the score is far below 0 dB in any case
    "lesson_09/high": 0.3,  # almost 0, so that a small difference between two machines is a large share of it
    "lesson_09/p": 0.1,  # p is 0.05 if `high` is 0
}


def lessons(numbers: list[int]) -> list[Path]:
    """Return the files of the lessons with the given numbers, or of all lessons if the list is empty."""
    return [path for path in sorted(COURSE.glob("lesson_*.py")) if not numbers or int(path.stem.split("_")[1]) in numbers]


def key(lesson: Path) -> str:
    """Return the name of a lesson in results.json and in the output folder, such as `lesson_01`."""
    return lesson.stem[: len("lesson_01")]


def shortened(shell: str) -> str:
    """Add the words of a very short training to all training commands of a shell cell."""
    return TRAINING.sub(lambda command: f"{command[0]} {SHORT}", shell)


def environment(output: Path, fast: bool) -> dict[str, str]:
    """Return the environment variables of a kernel. Its PATH begins with the folder of the running Python."""
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "UNBRAID_COURSE": "fast" if fast else "full",
        "IPYTHONDIR": str(output / "ipython"),  # without the settings of the user
    }
    return {"OMP_NUM_THREADS": "1", "UNBRAID_CORES": "1", "UNBRAID_CACHE": "../cache"} | os.environ | own


def execute(lesson: Path, output: Path, fast: bool = False) -> nbformat.NotebookNode:
    """Execute a lesson in the empty folder `output/lesson_NN`.

    Args:
        lesson: file of the lesson.
        output: folder of all executed lessons.
        fast: run trainings for one epoch of two batches, and set `UNBRAID_COURSE=fast` for the Python cells.

    Returns:
        The executed notebook.

    Raises:
        CellExecutionError: a cell failed. The notebook up to this cell is then in the output folder.
    """
    output = output.resolve()
    folder = output / key(lesson)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    notebook = jupytext.read(lesson)
    commands = [cell.source for cell in notebook.cells]
    if fast:
        for cell in notebook.cells:
            if cell.source.startswith("%%bash"):
                cell.source = shortened(cell.source)
    client = NotebookClient(
        notebook,
        timeout=3600,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env=environment(output, fast))
    finally:
        for cell, source in zip(notebook.cells, commands, strict=True):
            cell.source = source
        notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
        nbformat.write(notebook, output / f"{lesson.stem}.ipynb")
    return notebook


def differences(name: str, expected: dict[str, float], found: dict[str, float]) -> list[str]:
    """Compare the results of a lesson with the expected ones.

    Args:
        name: name of the lesson.
        expected: results in course/results.json.
        found: results of the executed lesson.

    Returns:
        One line for each difference.
    """
    lines = []
    for result in sorted({*expected, *found}):
        old, new = expected.get(result), found.get(result)
        tolerance = TOLERANCES.get(f"{name}/{result}", TOLERANCE)
        if old is None or new is None or abs(new - old) > tolerance * max(abs(old), abs(new)):
            lines.append(f"{name}/{result}: expected {old}, found {new}")
    return lines


def update(name: str, found: dict[str, float]) -> None:
    """Replace the results of a lesson in course/results.json."""
    results = json.loads(RESULTS.read_text()) | {name: found}
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=2) + "\n")


def cpu_seconds() -> float:
    """Return the CPU time of all kernels that have ended, with the commands that they ran."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Execute lessons, print their seconds, and compare their results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("numbers", nargs="*", type=int, help="numbers of lessons; none: all")
    parser.add_argument("--fast", action="store_true", help="short trainings; the results are not compared")
    parser.add_argument("--update", action="store_true", help="write the results to course/results.json")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the executed lessons")
    options = parser.parse_args()
    if not options.numbers:
        shutil.rmtree(options.output, ignore_errors=True)
    expected = json.loads(RESULTS.read_text())
    problems, total = [], 0.0
    for lesson in lessons(options.numbers):
        start, cpu = time.monotonic(), cpu_seconds()
        try:
            notebook = execute(lesson, options.output, options.fast)
        except CellExecutionError as error:
            sys.exit(f"error: {lesson.name} failed\n{error}")
        seconds = time.monotonic() - start
        total += seconds
        (options.output / f"{lesson.stem}.html").write_text(pages.page(notebook))
        file = options.output / key(lesson) / "results.json"
        found = json.loads(file.read_text()) if file.is_file() else {}
        if options.update and not options.fast:
            update(key(lesson), found)
        elif not options.fast:
            problems += differences(key(lesson), expected.get(key(lesson), {}), found)
        print(f"{lesson.stem:<40} {seconds:6.1f} s, {cpu_seconds() - cpu:6.1f} s of CPU time", flush=True)
    print(f"{'total':<40} {total:6.1f} s, {cpu_seconds():6.1f} s of CPU time\nopen the pages in {options.output}")
    if problems:
        sys.exit("\n".join(["error: results differ from course/results.json (--update replaces them):", *problems]))


if __name__ == "__main__":
    main()
