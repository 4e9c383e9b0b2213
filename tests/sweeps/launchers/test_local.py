"""Slots of one machine: who runs where, and never two at one place."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict

import pytest

from unbraid.runs.errors import InputError
from unbraid.runs.records import is_held
from unbraid.sweeps.launchers import Local, local, processes
from unbraid.sweeps.launchers.jobs import Job
from unbraid.sweeps.launchers.slots import gpus_here, slots

# Stands for a run: notes when it was where, and what its record shall say.
PROGRAM = """
import json, os, signal, sys, time
folder, (gpu, threads) = sys.argv[1], (os.environ[name] for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"))
task = json.load(open(folder + "/task.json"))
start = time.monotonic()
def write(**record):
    record = {"identity": "", "overrides": [], "choices": {}} | record
    json.dump(record, open(folder + "/run.json", "w"))
def stop(*_):
    write(state="interrupted")
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
print("ready", flush=True)
time.sleep(task.get("seconds", 0))
with open(folder + "/../times.jsonl", "a") as file:
    file.write(json.dumps([gpu, threads, start, time.monotonic(), os.path.basename(folder)]) + "\\n")
record = {"state": "done"} | task.get("record", {})
if gpu in task.get("faulty", []):
    record = {"state": "failed", "error": "a message", "gpu_fault": True}
write(**record)
"""


class Notes:
    """A watch that remembers."""

    def __init__(self):
        self.begun, self.over, self.ticks = [], [], 0

    def started(self, job, where):
        self.begun.append((job.number, where))

    def ended(self, job, state, error):
        self.over.append((job.number, state, error))

    def tick(self):
        self.ticks += 1


@pytest.fixture(autouse=True)
def program(monkeypatch, tmp_path):
    monkeypatch.setenv("UNBRAID_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setattr(local, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(processes, "command", lambda folder: [sys.executable, "-S", "-c", PROGRAM, str(folder)])


def variants_of(folder, tasks, on_gpu=None):
    jobs = []
    for number, task in enumerate(tasks):
        own = folder / f"{number}-run"
        own.mkdir(parents=True)
        (own / "task.json").write_text(json.dumps(task))
        (own / "run.json").write_text(json.dumps({"identity": "", "overrides": [], "choices": {}, "state": "queued"}))
        jobs.append(Job(number, own, 1, 1, on_gpu))
    return jobs


def launcher(gpus=(), gpus_per_run=1, runs_per_gpu=1, cpu_slots=1, fail_fast=None):
    return Local([*gpus] if gpus != "auto" else gpus, gpus_per_run, runs_per_gpu, cpu_slots, fail_fast)


def times(folder):
    return [json.loads(line) for line in (folder / "times.jsonl").read_text().splitlines()]


def most_at_once(rows):
    """On each device."""
    found = {}
    for gpu in {row[0] for row in rows}:
        events = sorted(event for row in rows if row[0] == gpu for event in ((row[2], 1), (row[3], -1)))
        level = peak = 0
        for _, change in events:
            level += change
            peak = max(peak, level)
        found[gpu] = peak
    return found


def test_thirty_runs_of_two_sweeps_never_share_a_device(tmp_path):
    """The sweeps know nothing of each other but the lock."""
    notes = [Notes(), Notes()]
    jobs = [variants_of(tmp_path / name, [{"seconds": 0.03 * (i % 4)} for i in range(15)]) for name in ("a", "b")]
    sweeps = [threading.Thread(target=launcher([0, 1, 2]).run, args=both) for both in zip(jobs, notes, strict=True)]
    for sweep in sweeps:
        sweep.start()
    for sweep in sweeps:
        sweep.join()
    rows = times(tmp_path / "a") + times(tmp_path / "b")
    assert len(rows) == 30 and most_at_once(rows) == {"0": 1, "1": 1, "2": 1}
    assert all(sorted(note.over) == [(i, "done", None) for i in range(15)] for note in notes)


@pytest.mark.parametrize(
    ("options", "devices", "at_once"),
    [
        ({"gpus": [0, 1], "runs_per_gpu": 2}, {"0", "1"}, 2),
        ({"gpus": [0, 1, 2, 5], "gpus_per_run": 2}, {"0,1", "2,5"}, 1),
        ({"cpu_slots": 3}, {""}, 3),
    ],
)
def test_as_many_at_once_as_there_are_slots(tmp_path, options, devices, at_once):
    launcher(**options).run(variants_of(tmp_path, [{"seconds": 0.3}] * 6), Notes())
    assert most_at_once(times(tmp_path)) == dict.fromkeys(devices, at_once)


def test_runs_on_the_cpu_leave_the_gpus_to_others(tmp_path):
    """And do not wait for them."""
    one = launcher([0, 1], cpu_slots=2)
    on_gpu, on_cpu = (variants_of(tmp_path / name, [{"seconds": 0.3}] * 4, want) for name, want in (("a", None), ("b", False)))
    said = one.introduction([*on_gpu, *on_cpu])
    assert said.startswith("2 at once on GPUs 0,1, ") and "; 2 at once on the CPU, " in said
    assert "CPU" not in one.introduction(on_gpu) and "GPU" not in one.introduction(on_cpu)
    one.run([*on_gpu, *on_cpu], Notes())
    assert most_at_once(times(tmp_path / "a")) == {"0": 1, "1": 1} and most_at_once(times(tmp_path / "b")) == {"": 2}


def test_runs_on_the_cpu_go_on_when_every_gpu_has_failed(tmp_path):
    fault, notes = {"record": {"state": "failed", "error": "a message", "gpu_fault": True}}, Notes()
    jobs = [*variants_of(tmp_path / "a", [fault] * 3), *variants_of(tmp_path / "b", [{"seconds": 0.5}, {}], False)]
    launcher([0]).run(jobs, notes)
    ended = [(state, error) for _, state, error in notes.over]
    assert ended.count(("done", None)) == 2 and ended.count(("queued", "not started: every GPU has failed")) == 2


def test_cores_are_divided(monkeypatch):
    assert [slot.threads for slot in slots(["0", "1"], 1, 1, 1, cores=9)] == [4, 4]
    assert [slot.threads for slot in slots([], 1, 1, 4, cores=2)] == [1] * 4
    assert [(slot.gpus, slot.share) for slot in slots(["0", "1"], 1, 2, 1, cores=8)] == [
        (("0",), 0), (("1",), 0), (("0",), 1), (("1",), 1),
    ]  # fmt: skip
    monkeypatch.setenv("SLURM_NTASKS", "4")
    own = slots([], 1, 1, 2, cores=4)[0].environment()
    assert own["OMP_NUM_THREADS"] == own["UNBRAID_CORES"] == "2" and "SLURM_NTASKS" not in own


def test_a_run_that_fails_does_not_stop_the_others(tmp_path):
    notes = Notes()
    bad = {"record": {"state": "failed", "error": "no"}}
    launcher().run(variants_of(tmp_path, [bad, {}, bad, {}]), notes)
    assert sorted(notes.over) == [(0, "failed", "no"), (1, "done", None), (2, "failed", "no"), (3, "done", None)]


def test_equal_failures_end_the_sweep_where_asked(tmp_path):
    notes = Notes()
    tasks = [{"record": {"state": "failed", "error": error}} for error in ("one", "other", "one", "one")]
    launcher(fail_fast=2).run(variants_of(tmp_path, tasks), notes)
    assert [row[:2] for row in notes.begun] == [(0, "cpu 0"), (1, "cpu 0"), (2, "cpu 0")]
    assert notes.over[-1] == (3, "queued", "not started: 2 runs failed with the same words")


def test_a_gpu_that_fails_twice_gets_no_more_runs(tmp_path):
    """Its runs go to another one."""
    notes = Notes()
    launcher([0, 1]).run(variants_of(tmp_path, [{"seconds": 0.05, "faulty": ["1"]}] * 6), notes)
    on = defaultdict(int)
    for row in times(tmp_path):
        on[row[0]] += 1
    assert on == {"0": 6, "1": 2}
    assert {number: state for number, state, _ in notes.over} == dict.fromkeys(range(6), "done")


def test_without_a_sound_gpu_the_rest_waits(tmp_path):
    notes = Notes()
    launcher([0]).run(variants_of(tmp_path, [{"faulty": ["0"]}] * 3), notes)
    assert {number: (state, error) for number, state, error in notes.over}[2] == ("queued", "not started: every GPU has failed")


def test_a_run_that_is_killed_says_so(tmp_path):
    notes = Notes()
    (job,) = variants_of(tmp_path, [{"record": {"state": "running"}}])
    launcher().run([job], notes)
    assert notes.over == [(0, "interrupted", "was killed")]


def test_what_another_command_has_done_is_not_run(tmp_path):
    notes = Notes()
    jobs = variants_of(tmp_path, [{}, {}])
    (jobs[0].folder / "run.json").write_text(json.dumps({"identity": "", "overrides": [], "choices": {}, "state": "done"}))
    launcher().run(jobs, notes)
    assert notes.begun == [(1, "cpu 0")] and sorted(notes.over) == [(0, "done", None), (1, "done", None)]


HOLD = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"


def test_a_run_that_another_command_is_at_comes_last(tmp_path):
    notes = Notes()
    jobs = variants_of(tmp_path, [{}, {}])
    lock = jobs[0].folder / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert is_held(jobs[0].folder)
        sweep = threading.Thread(target=launcher().run, args=(jobs, notes))
        sweep.start()
        while not notes.over:
            time.sleep(0.01)
        assert notes.begun == [(1, "cpu 0")]
        other.kill()
        sweep.join()
    assert notes.begun == [(1, "cpu 0"), (0, "cpu 0")]


def test_a_run_that_another_command_took_a_moment_before_is_left_to_it(tmp_path, monkeypatch):
    notes, answers = Notes(), iter([False, True, True, False, False])
    monkeypatch.setattr(Job, "is_busy", lambda job: next(answers))
    launcher().run(variants_of(tmp_path, [{"record": {"state": "running"}}]), notes)
    assert [row[0] for row in notes.begun] == [0, 0] and len(notes.over) == 1


def test_ctrl_c_tells_the_runs_to_stop_and_waits_for_them(tmp_path):
    jobs = variants_of(tmp_path, [{"seconds": 60}] * 3)

    class CtrlC(Notes):
        def tick(self):
            super().tick()
            logs = [job.folder / "log.txt" for job in jobs[:2]]
            if all(log.exists() and "ready" in log.read_text() for log in logs):
                raise KeyboardInterrupt

    notes = CtrlC()
    with pytest.raises(KeyboardInterrupt):
        launcher(cpu_slots=2).run(jobs, notes)
    assert sorted(notes.over) == [(0, "interrupted", None), (1, "interrupted", None)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gpus": "all"}, "gpus: found 'all', expected auto or a list"),
        ({"gpus": [0, 0]}, r"gpus: found \[0, 0\], expected each GPU once"),
        ({"gpus": [-1]}, "numbered from 0"),
        ({"gpus": [0], "gpus_per_run": 2}, "gpus_per_run: found 2, and there are 1 GPUs"),
        ({"runs_per_gpu": 0}, "runs_per_gpu must be at least 1, found 0"),
        ({"cpu_slots": 0}, "cpu_slots must be at least 1, found 0"),
        ({"fail_fast": 0}, "fail_fast must be at least 1, found 0"),
    ],
)
def test_what_it_cannot_be_is_said(options, words):
    defaults = {"gpus": [], "gpus_per_run": 1, "runs_per_gpu": 1, "cpu_slots": 1, "fail_fast": None}
    with pytest.raises(InputError, match=words):
        Local(**defaults | options)


def test_runs_it_has_no_place_for_are_refused(tmp_path):
    def job(**more):
        return Job(**{"number": 0, "folder": tmp_path, "devices": 1, "nodes": 1, "on_gpu": None} | more)

    assert "there is no GPU here" in launcher().refusal(job(on_gpu=True))
    assert "trainer.num_nodes=2: launcher=local has one machine" in launcher().refusal(job(nodes=2))
    assert "trainer.devices=2: a run has launcher.gpus_per_run=1" in launcher([0, 1]).refusal(job(devices=2))
    fits = [launcher([0, 1], 2).refusal(job(devices=2, on_gpu=True)), launcher().refusal(job(devices=2, on_gpu=False))]
    assert fits == [None, None] and launcher([0]).refusal(job(devices=None)) is None


def test_gpus_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8f")
    assert gpus_here() == ["2", "GPU-8f"] and launcher("auto").gpus == ["2", "GPU-8f"]
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert gpus_here() == []


def test_a_process_ends_with_the_one_that_has_started_it(tmp_path):
    code = (
        "import sys, time; from unbraid.sweeps.launchers.processes import live_with_parent; live_with_parent(['with-parent']);"
        + ("print('ready', flush=True); time.sleep(60)")
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=10) == -signal.SIGTERM
