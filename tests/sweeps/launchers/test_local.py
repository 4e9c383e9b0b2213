"""Tests of the launcher for one machine and of its slots."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from unbraid.runs.errors import InputError
from unbraid.runs.locks import is_held
from unbraid.sweeps.launchers import Local, local, processes
from unbraid.sweeps.launchers.jobs import Job
from unbraid.sweeps.launchers.slots import gpus_here, slots

# Replaces a run: records its device and its times, and writes the record that `task.json` contains.
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
    """Record the events of a sweep."""

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


def jobs_of(folder, tasks, on_gpu=None):
    jobs = []
    for number, task in enumerate(tasks):
        run = folder / f"{number}-run"
        run.mkdir(parents=True)
        (run / "task.json").write_text(json.dumps(task))
        (run / "run.json").write_text(json.dumps({"identity": "", "overrides": [], "choices": {}, "state": "queued"}))
        jobs.append(Job(number, run, 1, 1, on_gpu))
    return jobs


def launcher(gpus=(), gpus_per_run=1, runs_per_gpu=1, cpu_slots=1, fail_fast=None):
    return Local([*gpus] if gpus != "auto" else gpus, gpus_per_run, runs_per_gpu, cpu_slots, fail_fast)


def times(folder):
    return [json.loads(line) for line in (folder / "times.jsonl").read_text().splitlines()]


def most_at_once(rows):
    """Return the largest number of runs at the same time, by device."""
    peaks = {}
    for gpu in {row[0] for row in rows}:
        events = sorted(event for row in rows if row[0] == gpu for event in ((row[2], 1), (row[3], -1)))
        level = peak = 0
        for _, change in events:
            level += change
            peak = max(peak, level)
        peaks[gpu] = peak
    return peaks


def test_two_sweeps_never_share_a_gpu(tmp_path):
    """The sweeps share only the lock files."""
    notes = [Notes(), Notes()]
    jobs = [jobs_of(tmp_path / name, [{"seconds": 0.03 * (i % 4)} for i in range(15)]) for name in ("a", "b")]
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
def test_each_slot_has_one_run_at_a_time(tmp_path, options, devices, at_once):
    launcher(**options).run(jobs_of(tmp_path, [{"seconds": 0.3}] * 6), Notes())
    assert most_at_once(times(tmp_path)) == dict.fromkeys(devices, at_once)


def test_cpu_jobs_do_not_use_or_wait_for_gpus(tmp_path):
    two_gpus = launcher([0, 1], cpu_slots=2)
    on_gpu, on_cpu = (jobs_of(tmp_path / name, [{"seconds": 0.3}] * 4, want) for name, want in (("a", None), ("b", False)))
    introduction = two_gpus.introduction([*on_gpu, *on_cpu])
    assert "GPUs 0,1" in introduction and "CPU" in introduction
    assert "CPU" not in two_gpus.introduction(on_gpu) and "GPU" not in two_gpus.introduction(on_cpu)
    two_gpus.run([*on_gpu, *on_cpu], Notes())
    assert most_at_once(times(tmp_path / "a")) == {"0": 1, "1": 1} and most_at_once(times(tmp_path / "b")) == {"": 2}


def test_cpu_jobs_run_after_all_gpus_have_failed(tmp_path):
    fault, notes = {"record": {"state": "failed", "error": "a message", "gpu_fault": True}}, Notes()
    jobs = [*jobs_of(tmp_path / "a", [fault] * 3), *jobs_of(tmp_path / "b", [{"seconds": 0.5}, {}], False)]
    launcher([0]).run(jobs, notes)
    ended = [(state, error) for _, state, error in notes.over]
    assert ended.count(("done", None)) == 2 and ended.count(("queued", "not started: all GPUs have faults")) == 2


def test_slots_divide_the_cores(monkeypatch):
    assert [slot.threads for slot in slots(["0", "1"], 1, 1, 1, cores=9)] == [4, 4]
    assert [slot.threads for slot in slots([], 1, 1, 4, cores=2)] == [1] * 4
    assert [(slot.gpus, slot.share) for slot in slots(["0", "1"], 1, 2, 1, cores=8)] == [
        (("0",), 0), (("1",), 0), (("0",), 1), (("1",), 1),
    ]  # fmt: skip
    monkeypatch.setenv("SLURM_NTASKS", "4")
    environment = slots([], 1, 1, 2, cores=4)[0].environment()
    assert environment["OMP_NUM_THREADS"] == environment["UNBRAID_CORES"] == "2" and "SLURM_NTASKS" not in environment


def test_a_run_that_fails_does_not_stop_the_others(tmp_path):
    notes = Notes()
    bad = {"record": {"state": "failed", "error": "no"}}
    launcher().run(jobs_of(tmp_path, [bad, {}, bad, {}]), notes)
    assert sorted(notes.over) == [(0, "failed", "no"), (1, "done", None), (2, "failed", "no"), (3, "done", None)]


def test_fail_fast_ends_the_sweep_after_equal_failures(tmp_path):
    notes = Notes()
    tasks = [{"record": {"state": "failed", "error": error}} for error in ("one", "other", "one", "one")]
    launcher(fail_fast=2).run(jobs_of(tmp_path, tasks), notes)
    assert [row[:2] for row in notes.begun] == [(0, "cpu 0"), (1, "cpu 0"), (2, "cpu 0")]
    assert notes.over[-1] == (3, "queued", "not started: 2 runs failed with the same message")


def test_a_gpu_with_two_faults_gets_no_jobs(tmp_path):
    """Another GPU runs its jobs."""
    notes = Notes()
    launcher([0, 1]).run(jobs_of(tmp_path, [{"seconds": 0.05, "faulty": ["1"]}] * 6), notes)
    assert Counter(row[0] for row in times(tmp_path)) == {"0": 6, "1": 2}
    assert {number: state for number, state, _ in notes.over} == dict.fromkeys(range(6), "done")


def test_jobs_stay_queued_after_all_gpus_failed(tmp_path):
    notes = Notes()
    launcher([0]).run(jobs_of(tmp_path, [{"faulty": ["0"]}] * 3), notes)
    assert {number: (state, error) for number, state, error in notes.over}[2] == ("queued", "not started: all GPUs have faults")


def test_a_killed_run_is_interrupted(tmp_path):
    notes = Notes()
    (job,) = jobs_of(tmp_path, [{"record": {"state": "running"}}])
    launcher().run([job], notes)
    assert notes.over == [(0, "interrupted", "its process was killed")]


def test_a_run_that_is_done_is_not_started(tmp_path):
    notes = Notes()
    jobs = jobs_of(tmp_path, [{}, {}])
    (jobs[0].folder / "run.json").write_text(json.dumps({"identity": "", "overrides": [], "choices": {}, "state": "done"}))
    launcher().run(jobs, notes)
    assert notes.begun == [(1, "cpu 0")] and sorted(notes.over) == [(0, "done", None), (1, "done", None)]


HOLD = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"


def test_a_run_in_another_process_is_started_last(tmp_path):
    notes = Notes()
    jobs = jobs_of(tmp_path, [{}, {}])
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


def test_a_run_that_another_command_starts_first_waits(tmp_path, monkeypatch):
    notes, answers = Notes(), iter([False, True, True, False, False])
    monkeypatch.setattr(Job, "is_busy", lambda job: next(answers))
    launcher().run(jobs_of(tmp_path, [{"record": {"state": "running"}}]), notes)
    assert [row[0] for row in notes.begun] == [0, 0] and len(notes.over) == 1


def test_ctrl_c_interrupts_the_runs_and_waits(tmp_path):
    jobs = jobs_of(tmp_path, [{"seconds": 60}] * 3)

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
    ("where", "found", "options"),
    [
        ("gpus", "'all'", {"gpus": "all"}),
        ("gpus", [0, 0], {"gpus": [0, 0]}),
        ("gpus", [-1], {"gpus": [-1]}),
        ("gpus_per_run", 2, {"gpus": [0], "gpus_per_run": 2}),
        ("runs_per_gpu", 0, {"runs_per_gpu": 0}),
        ("cpu_slots", 0, {"cpu_slots": 0}),
        ("fail_fast", 0, {"fail_fast": 0}),
    ],
)
def test_invalid_options_are_refused(where, found, options):
    defaults = {"gpus": [], "gpus_per_run": 1, "runs_per_gpu": 1, "cpu_slots": 1, "fail_fast": None}
    with pytest.raises(InputError) as raised:
        Local(**defaults | options)
    assert (raised.value.where, raised.value.found) == (where, found)


def test_jobs_without_a_slot_are_refused(tmp_path):
    def job(**more):
        return Job(**{"number": 0, "folder": tmp_path, "devices": 1, "nodes": 1, "on_gpu": None} | more)

    assert launcher().refusal(job(on_gpu=True)).startswith("trainer.accelerator=gpu: ")
    assert launcher().refusal(job(nodes=2)).startswith("trainer.num_nodes=2: ")
    assert launcher([0, 1]).refusal(job(devices=2)).startswith("trainer.devices=2: ")
    fits = [launcher([0, 1], 2).refusal(job(devices=2, on_gpu=True)), launcher().refusal(job(devices=2, on_gpu=False))]
    assert fits == [None, None] and launcher([0]).refusal(job(devices=None)) is None


def test_auto_uses_the_visible_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8f")
    assert gpus_here() == ["2", "GPU-8f"] and launcher("auto").gpus == ["2", "GPU-8f"]
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert gpus_here() == []


def test_a_process_ends_with_its_parent(tmp_path):
    code = (
        "import sys, time; from unbraid.sweeps.launchers.processes import live_with_parent; live_with_parent(['with-parent']);"
        + ("print('ready', flush=True); time.sleep(60)")
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=10) == -signal.SIGTERM
