"""Run a fuzz target: read many changed files in a child process with limited memory and time.

    python -m tests.fuzz.run audio yaml --inputs 2000

Without names, all targets are run. The verdict about an input is `result`, `refused` (an `InputError`) or a loss. A loss is any
other exception, executed code, a file written outside of the folder of the input, too much memory, a hang or a crash. The lost
inputs are kept in the folder of `--keep`. The exit status is 1 if there is a loss.
"""

import argparse
import json
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
SECONDS = 20  # for one input; the time in which the process of the reader must answer is longer
STARTING_SECONDS = 600  # for the imports of a process on a busy machine
MEGABYTES = 4000  # of the address space of the process, of which PyTorch takes half
EXECUTION = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "subprocess.Popen",
    "pty.spawn",
    "socket.connect",
)

# Events that change the file system, and the positions of the changed paths in their arguments.
CHANGES = {
    "os.remove": (0,), "os.rename": (0, 1), "os.mkdir": (0,), "os.rmdir": (0,), "os.symlink": (1,), "os.link": (1,),
    "os.truncate": (0,),
}  # fmt: skip


@dataclass
class Outcome:
    """Result of a target: the number of inputs for each verdict, and the losses by their description."""

    target: str
    seconds: float = 0.0
    verdicts: Counter = field(default_factory=Counter)
    losses: dict[str, Path] = field(default_factory=dict)
    lost: int = 0


class Late(BaseException):
    """Report that reading an input took too long. No reader catches this exception."""


def run(
    target: str, inputs: int, keep: Path, first: int = 0, module: str = "tests.fuzz.targets", seconds: int = SECONDS
) -> Outcome:
    """Read the inputs `first` to `first + inputs - 1` of a target. A child process that crashes or hangs is started again."""
    outcome, began, done = Outcome(target), time.monotonic(), first
    with tempfile.TemporaryDirectory(prefix="unbraid-fuzz-") as scratch:
        while done < first + inputs:
            words = [module, target, str(done), str(first + inputs), scratch, str(seconds)]
            before = done
            for number, kind, text in _answers([sys.executable, "-m", "tests.fuzz.run", "--child", *words], seconds):
                done = number + 1
                outcome.verdicts[kind] += 1
                if kind == "lost":
                    _keep(outcome, Path(scratch) / str(number), text, keep)
            assert done > before, f"the process of target {target} does not start"
    outcome.seconds = time.monotonic() - began
    return outcome


def _answers(command, seconds):
    """Yield the number, the verdict and the text of each input. The end of the process within an input is a loss."""
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (MEGABYTES << 20, MEGABYTES << 20))}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, text=True, bufsize=1, **limits)
        begun = None
        for line in _lines(process, 4 * seconds + 100):
            number, kind, text = json.loads(line)
            begun = number if kind == "begun" else None
            if kind != "begun":
                yield number, kind, text
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        process.kill()
        status = process.wait()
        errors.seek(0)
        last = errors.read().decode(errors="replace")[-2000:]
        if begun is not None:
            yield begun, "lost", f"{last}\nthe process hangs or ends with status {status}"
        elif status:
            raise AssertionError(last)


def _lines(process, timeout):
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        wait = STARTING_SECONDS
        while selector.select(wait) and (line := process.stdout.readline()):
            wait = timeout
            yield line


def _keep(outcome: Outcome, folder: Path, text: str, keep: Path) -> None:
    outcome.lost += 1
    description = text.splitlines()[-1] if text else ""
    place = next((line.strip() for line in reversed(text.splitlines()) if "/unbraid/" in line), "")
    title = f"{description.partition(':')[0][:200]} {place}".strip()
    if title not in outcome.losses:
        outcome.losses[title] = keep / f"{outcome.target.replace(' ', '-')}-{folder.name}"
        if folder.exists():
            shutil.copytree(folder, outcome.losses[title], dirs_exist_ok=True)
        outcome.losses[title].mkdir(parents=True, exist_ok=True)
        (outcome.losses[title] / "LOSS.txt").write_text(text)
    shutil.rmtree(folder, ignore_errors=True)


class Guard:
    """Watch the audit events of Python: executed programs, connections, and files written outside of a folder."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple) -> None:
        if self.folder is None:
            return
        if event in EXECUTION:
            self.seen.append(f"{event} {arguments!r}"[:300])
        elif event in CHANGES or (event == "open" and self._writes(arguments)):
            for name in (arguments[position] for position in CHANGES.get(event, (0,))):
                if not isinstance(name, int):  # an open file
                    self._check(event, os.path.realpath(os.fsdecode(name)))

    def _check(self, event: str, path: str) -> None:
        if not f"{path}/".startswith((f"{self.folder}/", "/dev/")) and "__pycache__" not in path:
            self.seen.append(f"{event} {path}")

    @staticmethod
    def _writes(arguments: tuple) -> bool:
        mode, flags = arguments[1], arguments[2]
        return (
            any(letter in mode for letter in "wax+")
            if isinstance(mode, str)
            else bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
        )


def child(module: str, name: str, first: int, end: int, scratch: Path, seconds: int) -> None:
    """Read inputs in this process, and write a line about the start and the verdict of each input."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    targets = __import__(module, fromlist=["TARGETS"]).TARGETS
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        corpus = targets[name].corpus(Path(folder))
    guard = Guard()
    signal.signal(signal.SIGALRM, _late)
    for number in range(first, end):
        files = changed(targets[name], name, corpus, number)
        folder = scratch / str(number)
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        os.chdir(folder)
        answers.write(json.dumps([number, "begun", ""]) + "\n")
        kind, text = verdict(targets[name].readers, folder, guard, seconds)
        os.chdir(scratch)
        if kind != "lost":
            shutil.rmtree(folder)
        answers.write(json.dumps([number, kind, text]) + "\n")


def changed(target, name: str, corpus, number: int):
    """Return the files of an input. The first inputs are the valid files."""
    from tests.fuzz.mutations import mutated_file

    files = dict(corpus[number % len(corpus)])
    if number < len(corpus):
        return files
    random = Random(f"{name} {number}")
    names = target.names(files)
    chosen = random.choice(names)
    others = [one[other] for one in corpus for other in target.names(one)]
    if len(names) > 1 and random.random() < 0.05:
        files[chosen] = random.choice(others)
    elif len(names) > 1 and random.random() < 0.05:
        del files[chosen]
    else:
        files[chosen] = mutated_file(chosen, files[chosen], random, others)
    return files


def verdict(readers, folder: Path, guard: Guard, seconds: int) -> tuple[str, str]:
    """Call the readers of an input. Return `result`, `refused` or `lost`, and the traceback of a loss."""
    from unbraid.runs.errors import InputError

    kind = "refused"
    guard.seen.clear()
    for reader in readers:
        guard.folder = folder
        signal.alarm(seconds)
        try:
            reader(folder)
            kind = "result"
        except InputError as error:
            if len(str(error)) > 20_000:
                return "lost", f"an error message of {len(str(error))} characters"
        except BaseException:
            return "lost", traceback.format_exc()
        finally:
            signal.alarm(0)
            guard.folder = None
    marker = [str(path) for path in folder.rglob("MARKER")]
    return ("lost", f"executed code: {guard.seen or marker}") if guard.seen or marker else (kind, "")


def _late(*_):
    raise Late


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        module, name, first, end, scratch, seconds = sys.argv[2:]
        child(module, name, int(first), int(end), Path(scratch), int(seconds))
        os._exit(0)  # without the 5 s in which PyTorch ends
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*", default=[*TARGETS])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "unbraid-fuzz-losses")
    options = parser.parse_args()
    lost = 0
    for name in options.targets:
        outcome = run(name, options.inputs, options.keep)
        lost += outcome.lost
        counts = ", ".join(f"{number} {kind}" for kind, number in sorted(outcome.verdicts.items()))
        print(f"{name:12} {sum(outcome.verdicts.values())} inputs in {outcome.seconds:.0f} s: {counts}", flush=True)
        for title, folder in outcome.losses.items():
            print(f"    {title}\n    {folder}", flush=True)
    sys.exit(lost > 0)


if __name__ == "__main__":
    main()
