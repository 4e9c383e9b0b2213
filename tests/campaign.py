"""Run the campaign: try every promise of docs/promises.md as often as its row in the table states.

    python -m tests.campaign                     # the full form
    python -m tests.campaign quick               # the quick form
    python -m tests.campaign only=store seed=7   # one section of the page, other random numbers

Each row of the page names what holds the promise: tests, or a command that begins with `python` and fails if the promise is
lost. A test with the argument `attempt` gets a random seed, and runs once per attempt. Other tests run once. Commands run after
the tests, one at a time, so that their times are comparable.

This module is also the pytest plugin that records the result of each test while pytest is running.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs/promises.md"
MINUTES = {"quick": 12, "full": 120}  # a campaign that takes longer is ended; its unfinished tests are lost
FORM, SEED, RECORD = "UNBRAID_CAMPAIGN", "UNBRAID_CAMPAIGN_SEED", "UNBRAID_CAMPAIGN_RECORD"
ROW = re.compile(r"^\| (?P<text>.+?) \| (?P<holders>`.+`) \| (?P<quick>\d+) \| (?P<full>\d+) \|$")


@dataclass(frozen=True)
class Promise:
    """Describe a promise: its section in the page, its text, its tests and commands, and the numbers of attempts."""

    area: str
    text: str
    holders: tuple[str, ...]
    attempts: Mapping[str, int]

    def is_held_by(self, test: str) -> bool:
        """Return whether a test (pytest id) or a command belongs to the promise."""
        return any(test == holder or test.startswith(tuple(holder + end for end in "/:[")) for holder in self.holders)


@dataclass
class Result:
    """Count the attempts of a promise that succeeded, failed or were skipped, and their time in seconds."""

    held: int = 0
    lost: list[str] = field(default_factory=list)
    skipped: int = 0
    seconds: float = 0.0

    def add(self, test: str, outcome: str, seconds: float) -> None:
        self.seconds += seconds
        if outcome == "failed":
            self.lost.append(test)
        self.held += outcome == "passed"
        self.skipped += outcome == "skipped"


def promises(page: Path = PAGE) -> list[Promise]:
    """Read the promises from the tables of the page."""
    area, found = "", []
    for line in page.read_text().splitlines():
        if line.startswith("## "):
            area = line[3:]
        elif row := ROW.match(line):
            holders = tuple(re.findall(r"`(.+?)`", row["holders"]))
            found.append(Promise(area, row["text"], holders, {form: int(row[form]) for form in MINUTES}))
    return found


def seeds(test: str) -> list[int]:
    """Return the random seeds with which a test is run: one in the usual test suite, one for each attempt in the campaign."""
    first, form = int(os.environ.get(SEED, "0")), os.environ.get(FORM)
    count = max((promise.attempts[form] for promise in promises() if promise.is_held_by(test)), default=1) if form else 1
    return [*range(first, first + max(count, 1))]


def pytest_runtest_logstart(nodeid: str) -> None:
    _record(nodeid, "started", 0.0)


def pytest_runtest_logreport(report) -> None:
    if report.when == "call" or report.outcome != "passed":
        _record(report.nodeid, report.outcome, report.duration)
    else:
        _record(report.nodeid, "", report.duration)


def _record(test: str, outcome: str, seconds: float) -> None:
    if RECORD in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        with Path(os.environ[RECORD]).open("a") as file:
            file.write(json.dumps([test, outcome, seconds]) + "\n")


def count(chosen: Sequence[Promise], record: Iterable[Sequence]) -> list[Result]:
    """Count the results of each promise. A test that started and did not end is lost."""
    ends: dict[str, tuple[str, float]] = {}
    for test, outcome, seconds in record:
        before, total = ends.get(test, ("", 0.0))
        worst = outcome if not before or before == "started" or outcome == "failed" else before
        ends[test] = worst or before, total + seconds
    results = [Result() for _ in chosen]
    for test, (outcome, seconds) in ends.items():
        for promise, result in zip(chosen, results, strict=True):
            if promise.is_held_by(test):
                result.add(test, "failed" if outcome == "started" else outcome, seconds)
    for promise, result in zip(chosen, results, strict=True):
        if not (result.held or result.lost or result.skipped):
            result.lost.append(f"nothing was tried: {', '.join(promise.holders)}")
    return results


def _run(words: Sequence[str | Path], environment: Mapping[str, str], deadline: float) -> str:
    """Run a command and return its outcome: passed, failed or unfinished."""
    try:
        done = subprocess.run(words, cwd=PROJECT, env=environment, timeout=max(1.0, deadline - time.monotonic()), check=False)
    except subprocess.TimeoutExpired:
        return "unfinished"
    return "failed" if done.returncode else "passed"


def campaign(chosen: Sequence[Promise], form: str, seed: int, scratch: Path) -> tuple[list[Result], bool]:
    """Try the promises in a scratch folder. Return their results, and whether all tests ended in the time of the form."""
    record, deadline = scratch / "record.jsonl", time.monotonic() + 60 * MINUTES[form]
    record.touch()
    usual = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # not of an outer pytest
    environment = usual | {
        FORM: form, SEED: str(seed), RECORD: str(record), "TMPDIR": str(scratch), "UNBRAID_CACHE": str(scratch / "cache"),
        "XDG_STATE_HOME": str(scratch / "state"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    ended = True
    holders = list(dict.fromkeys(holder for promise in chosen for holder in promise.holders))
    if tests := [holder for holder in holders if not holder.startswith("python ")]:
        words = shlex.split("-m pytest -q -n auto --dist worksteal -m '' -p no:cacheprovider -p tests.campaign")
        ended = _run([sys.executable, *words, "--basetemp", scratch / "pytest", *tests], environment, deadline) != "unfinished"
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    for command in (holder for holder in holders if holder.startswith("python ")):
        for number in range(max(promise.attempts[form] for promise in chosen if command in promise.holders)):
            start, words = time.monotonic(), [sys.executable, *shlex.split(command)[1:]]
            outcome = _run(words, environment | {SEED: str(seed + number)}, deadline)
            lines.append([f"{command}[{number}]", "passed" if outcome == "passed" else "failed", time.monotonic() - start])
    return count(chosen, lines), ended


def table(chosen: Sequence[Promise], results: Sequence[Result]) -> str:
    """Return the table of the campaign as text, and below it the lost tests."""
    width = max(len(promise.text) for promise in chosen)
    lines, area = [f"{'promise':{width}}  tried   held   lost  skipped  seconds"], ""
    for promise, result in zip(chosen, results, strict=True):
        if promise.area != area:
            lines += ["", promise.area]
            area = promise.area
        tried = result.held + len(result.lost)
        numbers = f"{tried:5}  {result.held:5}  {len(result.lost):5}  {result.skipped:7}  {result.seconds:7.0f}"
        lines.append(f"{promise.text:{width}}  {numbers}")
    lost = dict.fromkeys(test for result in results for test in result.lost)
    return "\n".join([*lines, "", *(f"lost: {test}" for test in lost)])


def main(*words: str) -> int:
    forms = [word for word in words if word in MINUTES]
    options = {"seed": "0", "only": ""} | dict(word.partition("=")[::2] for word in words if word not in MINUTES)
    if unknown := sorted({*options} - {"seed", "only"}):
        raise SystemExit(f"unknown: {', '.join(unknown)}; allowed: quick or full, seed=NUMBER, only=SECTION")
    if len(forms) > 1 or not options["seed"].isdecimal():
        raise SystemExit(f"{' '.join(words)}: expected quick or full, and a whole number as seed")
    form = forms[0] if forms else "full"
    chosen = [one for one in promises() if one.attempts[form] and options["only"].lower() in one.area.lower()]
    if not chosen:
        raise SystemExit(f"only={options['only']}: no promise of the {form} form is in such a section of {PAGE}")
    scratch, start = Path(tempfile.mkdtemp(prefix="unbraid-campaign-")), time.monotonic()
    scratch.chmod(0o711)  # tests of locks need a temporary folder that other users can enter
    results, ended = campaign(chosen, form, int(options["seed"]), scratch)
    print(f"\n{table(chosen, results)}")
    lost = sum(len(result.lost) for result in results)
    if skipped := [promise.text for promise, result in zip(chosen, results, strict=True) if not (result.held or result.lost)]:
        print(f"not tried, because their tests were skipped: {'; '.join(skipped)}")
    if not ended:
        print(f"the tests did not end in {MINUTES[form]} minutes; those that had not started are missing in the table")
    used = os.times()
    seconds = f"{time.monotonic() - start:.0f} s, {used.children_user + used.children_system:.0f} s of processor time"
    print(f"{len(chosen)} promises, {lost} attempts lost, {seconds}, load {os.getloadavg()[1]:.1f}")
    if lost or not ended:
        print(f"the files of the campaign are in {scratch}")
    else:
        rmtree(scratch, ignore_errors=True)
    return int(lost > 0 or not ended)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
