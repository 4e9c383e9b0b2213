"""Runs of a sweep as jobs: what is asked of Slurm, and what becomes of what it says. Its commands are stand-ins."""

import subprocess
from itertools import count
from pathlib import Path

import pytest

from unbraid.runs.config import write_json
from unbraid.runs.errors import InputError
from unbraid.sweeps.launchers import slurm
from unbraid.sweeps.launchers.jobs import Job
from unbraid.sweeps.launchers.queue import FORMAT, SlurmJob, partitions, slurm_jobs, submit
from unbraid.sweeps.launchers.slurm import Slurm
from unbraid.training.trainer import cluster

OPTIONS = {
    "partition": None, "account": None, "qos": None, "timeout_min": None, "signal_seconds": 100, "requeues": 3,
    "cpus_per_task": 2, "mem_gb": None, "gpu_type": None, "max_parallel": None, "poll_seconds": 0.01, "options": {},
}  # fmt: skip
RECORD = {"identity": "i", "overrides": [], "choices": {}}


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Make a command on an otherwise empty PATH: it writes its arguments to a file and does what it is told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name, does):
        path = folder / name
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{folder}/{name}.said\n{does}\n')
        path.chmod(0o755)
        return folder / f"{name}.said"

    make("sbatch", "echo 7")
    make("squeue", "exit 0")
    make("sinfo", "echo 'gpu|gpu:a100:4(S:0-1)'; echo 'cpu*|(null)'")
    return make


class Notes(list):
    """A watch that keeps what it is told; `ticks` is called with each number of a tick."""

    def __init__(self, ticks=lambda number: None):
        self.ticks, self.number = ticks, count()

    def started(self, job, where):
        self.append((job.number, "started", where))

    def ended(self, job, state, error):
        self.append((job.number, state, error))

    def tick(self):
        self.ticks(next(self.number))


def arm_of(sweep, number, state="queued", devices=1, nodes=1, on_gpu=False):
    job = Job(number, sweep / f"{number}-run", devices, nodes, on_gpu)
    job.folder.mkdir(parents=True)
    mark(job, state)
    return job


def mark(job, state, **more):
    write_json(job.folder / "run.json", RECORD | {"state": state} | more)


def launcher(**options):
    return Slurm(**OPTIONS | options)


class Queue:
    """What `squeue` says, one state after the other, and what was submitted meanwhile."""

    def __init__(self, monkeypatch, *moments):
        self.moments, self.scripts = list(moments), []
        monkeypatch.setattr(slurm, "slurm_jobs", self.slurm_jobs)
        monkeypatch.setattr(slurm, "submit", self.submit)

    def submit(self, script, options, environment):
        self.scripts.append((script, options))
        return str(6 + len(self.scripts))

    def slurm_jobs(self):
        moment = self.moments.pop(0) if len(self.moments) > 1 else self.moments[0]
        if isinstance(moment, Exception):
            raise moment
        return [SlurmJob(array, index, state, "None", "n1", script) for array, index, state, script in moment]


def listed(index, state, array="7", script=Path("/other/slurm/1.sh")):
    return array, index, state, script


def test_a_machine_without_slurm_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="there is no sbatch here, expected a machine that submits jobs to Slurm; l"):
        launcher()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"partition": "gpus"}, "partition gpus is not in this Slurm; did you mean 'gpu'\\? known: cpu, gpu"),
        ({"timeout_min": 1}, "timeout_min of 1 leaves no time before signal_seconds of 100"),
        ({"cpus_per_task": 0}, "cpus_per_task must be at least 1, found 0"),
        ({"requeues": -1}, "requeues must be at least 0 and poll_seconds above 0, found -1"),
        (
            {"options": {"array": "1-9"}},
            "options may not have array: expected long names of options of sbatch that are not set",
        ),
        ({"options": {"wrap=rm": "x"}}, "options may not have wrap=rm"),
    ],
)
def test_options_that_cannot_be_are_refused(commands, options, sentence):
    with pytest.raises(InputError, match=sentence):
        launcher(**options)


def test_slurm_is_quoted_where_it_refuses(commands):
    commands("sinfo", "echo 'slurm_load_partitions: Unable to contact slurm controller (connect failure)' >&2; exit 1")
    with pytest.raises(InputError, match="sinfo refuses: slurm_load_partitions: Unable to contact slurm controller"):
        launcher()
    commands("sinfo", "exit 0")
    with pytest.raises(InputError, match="Slurm has no partition here"):
        launcher()


def test_an_array_that_is_refused_leaves_nothing(commands, tmp_path):
    commands("sbatch", "echo 'sbatch: error: first' >&2; echo 'sbatch: error: Batch job submission failed: No.' >&2; exit 1")
    with pytest.raises(InputError, match=r"^sbatch refuses: Batch job submission failed: No\.$"):
        launcher().run([arm_of(tmp_path, 0)], Notes())
    assert [*(tmp_path / "slurm").iterdir()] == []


def test_what_a_run_asks_for_must_be_there(commands, tmp_path):
    on_gpu, any_number = arm_of(tmp_path, 0, on_gpu=True), arm_of(tmp_path, 1, devices=None)
    assert "there is no GPU in the partition cpu" in launcher().refusal(on_gpu)
    assert launcher(partition="gpu").refusal(on_gpu) is None
    assert "must be told how many processes" in launcher().refusal(any_number)


def test_the_words_of_slurm_are_read(commands):
    said = commands("squeue", "echo '7|2|RUNNING|None|n1|/a b|c/slurm/1.sh'; echo '8|N/A|PENDING|Priority|n/a|bash'")
    (found,) = slurm_jobs()
    assert found == SlurmJob("7", 2, "RUNNING", "None", "n1", Path("/a b|c/slurm/1.sh")) and found.name == "7_2"
    assert "--states=all" in (words := said.read_text().splitlines()) and f"--format={FORMAT}" in words
    assert not found.has_ended and SlurmJob("7", 2, "TIMEOUT", "", "", Path()).has_ended
    assert partitions() == {"cpu": False, "gpu": True} and next(iter(partitions())) == "cpu"


def test_what_this_process_was_given_by_slurm_is_not_asked_for(commands, monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_NTASKS", "5")
    monkeypatch.setenv("SLURM_CONF", "/conf")
    said = commands("sbatch", "echo $SLURM_NTASKS $SLURM_CONF $MORE >&2; echo 12;cluster".replace(";cluster", "\\;cluster"))
    assert submit(tmp_path / "1.sh", {"mem": None, "time": 5, "exclusive": True}, {"MORE": "more"}) == "12"
    assert said.read_text().splitlines() == ["--parsable", "--time=5", "--exclusive", str(tmp_path / "1.sh")]
    commands("sbatch", "test -z $SLURM_NTASKS && test $SLURM_CONF$MORE = /confmore && echo 13")
    assert submit(tmp_path / "1.sh", {}, {"MORE": "more"}) == "13"


def test_runs_that_ask_for_the_same_are_one_array(commands, monkeypatch, tmp_path):
    jobs = [
        arm_of(tmp_path, 0), arm_of(tmp_path, 1, on_gpu=True, devices=2), arm_of(tmp_path, 2, on_gpu=None),
        arm_of(tmp_path, 3, nodes=2), arm_of(tmp_path, 4),
    ]  # fmt: skip
    queue = Queue(monkeypatch, [], [])
    monkeypatch.setattr(slurm, "LONGEST_ARRAY", 2)
    mine = launcher(partition="gpu", gpu_type="a100", max_parallel=4, timeout_min=60, mem_gb=8, options={"constraint": "x"})
    mine.run([*jobs, arm_of(tmp_path, 5)], Notes())
    asked = {script.with_suffix(".list").read_text(): options for script, options in queue.scripts}
    assert [*asked] == ["0-run\n4-run\n", "5-run\n", "2-run\n", "1-run\n", "3-run\n"]
    common = {"partition": "gpu", "time": 60, "mem": "8G", "signal": "USR1@100", "constraint": "x", "requeue": True}
    assert all(common.items() <= options.items() for options in asked.values())
    kinds = [(o["array"], o["nodes"], o["ntasks-per-node"], o["gres"]) for o in asked.values()]
    assert kinds == [
        ("1-2%4", 1, 1, None), ("1-1%4", 1, 1, None), ("1-1%4", 1, 1, "gpu:a100:1"), ("1-1%4", 1, 2, "gpu:a100:2"),
        ("1-1%4", 2, 1, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "restarts", "again"), [(0, 0, False), (1, 0, False), (138, 0, True), (143, 2, True), (138, 3, False)]
)
def test_a_job_runs_its_line_and_is_queued_again_where_its_time_was_up(
    commands, monkeypatch, tmp_path, status, restarts, again
):
    sweep = tmp_path / "a $(touch broken) 'b\" %j"
    jobs = [arm_of(sweep, number) for number in range(2)]
    queue = Queue(monkeypatch, [], [])
    launcher().run(jobs, Notes())
    ((script, options),) = queue.scripts
    srun = commands("srun", f"echo heard; exit {status}")
    requeued = commands("scontrol", "exit 0")
    there = {"PATH": f"{srun.parent}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "2", "SLURM_JOB_ID": "9"}
    done = subprocess.run(["bash", script], env=there | {"SLURM_RESTART_COUNT": str(restarts)}, cwd=tmp_path)
    assert done.returncode == status and srun.read_text().splitlines()[-2:] == ["unbraid.commands.train", str(jobs[1].folder)]
    assert "heard" in (jobs[1].folder / "log.txt").read_text() and not (jobs[0].folder / "log.txt").exists()
    assert requeued.exists() == again and not (tmp_path / "broken").exists()
    assert ("launcher.requeues" in (jobs[1].folder / "log.txt").read_text()) == (restarts == 3)
    assert options["output"] == f"{sweep}/slurm/%A_%a.txt".replace("%j", "%%j")


def test_a_run_is_seen_from_the_queue_to_its_end(commands, monkeypatch, tmp_path):
    job = arm_of(tmp_path, 0)
    states = ("PENDING", "RUNNING", "RUNNING", "PENDING", "RUNNING", "COMPLETED")
    Queue(monkeypatch, [], *[[listed(1, state)] for state in states])
    notes = Notes(lambda number: mark(job, "done") if number == 4 else None)
    launcher().run([job], notes)
    started, again = (0, "started", "n1, job 7_1"), (0, "interrupted", "job 7_1 waits in the queue again")
    assert notes == [started, again, started, (0, "done", None)]


@pytest.mark.parametrize(
    ("before", "state", "ending"),
    [
        ("queued", "CANCELLED", ("interrupted", "job 7_1 was cancelled")),
        ("failed", "CANCELLED", ("interrupted", "job 7_1 was cancelled")),
        ("running", "TIMEOUT", ("interrupted", "job 7_1 came to its time limit")),
        ("running", "OUT_OF_MEMORY", ("interrupted", "job 7_1 took more memory than launcher.mem_gb")),
        ("queued", None, ("interrupted", "job 7_1 is no longer in Slurm's queue")),
        ("interrupted", "FAILED", ("interrupted", "was told to end, and not queued again; see its log.txt")),
        ("queued", "FAILED", ("failed", "ended before it began, see its log.txt")),
        ("failed", None, ("failed", "a sentence")),
        ("done", None, ("done", None)),
    ],
)
def test_a_job_that_has_ended_is_noticed_without_accounting(commands, monkeypatch, tmp_path, before, state, ending):
    job = arm_of(tmp_path, 0)
    mark(job, before, **({"error": "a sentence"} if before == "failed" else {}))
    Queue(monkeypatch, [], [listed(1, state)] if state else [])
    notes = Notes()
    launcher().run([job], notes)
    assert notes == [(0, *ending)]


def test_a_run_that_is_queued_already_is_watched_and_not_submitted(commands, monkeypatch, tmp_path, capsys):
    jobs = [arm_of(tmp_path, number) for number in range(3)]
    script = tmp_path / "slurm" / "before.sh"
    script.parent.mkdir()
    script.with_suffix(".list").write_text("0-run\n1-run\n2-run\n")
    old = [
        listed(1, "CANCELLED", "5", script),
        listed(2, "PENDING", "5", script),
        listed(3, "RUNNING", "5", script),
        listed(1, "RUNNING", "4"),
    ]
    queue = Queue(monkeypatch, old, [])
    notes = Notes()
    launcher().run(jobs, notes)
    assert [path.with_suffix(".list").read_text() for path, _ in queue.scripts] == ["0-run\n"]
    assert [words for _, _, words in notes] == [f"job {name} is no longer in Slurm's queue" for name in ("7_1", "5_2", "5_3")]
    assert "2 of them in Slurm's queue already" in capsys.readouterr().out


def test_a_run_that_another_process_is_at_is_waited_for(commands, monkeypatch, tmp_path):
    job = arm_of(tmp_path, 0)
    busy = iter([True, True, False])
    monkeypatch.setattr(Job, "is_busy", lambda job: next(busy))
    queue = Queue(monkeypatch, [], [listed(1, "COMPLETED")])
    submitted = []

    def tick(number):
        submitted.append(len(queue.scripts))
        if number == 1:
            mark(job, "done")

    notes = Notes(tick)
    launcher().run([job], notes)
    assert submitted == [0, 0, 1] and notes == [(0, "done", None)]


def test_who_stops_watching_leaves_the_jobs(commands, monkeypatch, tmp_path, capsys):
    jobs = [arm_of(tmp_path, number) for number in range(2)]
    Queue(monkeypatch, [], [listed(1, "RUNNING"), listed(2, "PENDING")])

    def stop(number):
        raise KeyboardInterrupt

    notes = Notes(stop)
    with pytest.raises(KeyboardInterrupt):
        launcher().run(jobs, notes)
    assert notes[1:] == [
        (0, "running", "stays in Slurm's queue as job 7_1"),
        (1, "queued", "stays in Slurm's queue as job 7_2"),
    ]
    assert "the same command watches these jobs again; `scancel 7` ends them" in capsys.readouterr().out


def test_a_slurm_that_does_not_answer_is_given_some_time(commands, monkeypatch, tmp_path):
    job = arm_of(tmp_path, 0)
    Queue(monkeypatch, [], InputError("away"), InputError("away"), [listed(1, "CANCELLED")])
    notes = Notes()
    launcher().run([job], notes)
    assert notes == [(0, "interrupted", "job 7_1 was cancelled")]
    monkeypatch.setattr(slurm, "PATIENCE_SECONDS", 0)
    Queue(monkeypatch, [], InputError("away"))
    with pytest.raises(InputError, match="Slurm has not answered for 0 minutes: away"):
        launcher().run([job], notes)
    assert notes[-1] == (0, "queued", "stays in Slurm's queue as job 7_1")


def test_a_sweep_starts_by_the_choice_of_the_launcher(commands, cli, tmp_path):
    commands("sinfo", "echo 'cpu*|(null)'")
    status, _, error = cli("launcher=slurm", "seed=0,1", "trainer=gpu", "hydra.sweep.dir=sweep")
    assert status == 1 and "0-unet-demo-0: trainer.accelerator=gpu: there is no GPU in the partition cpu" in error
    assert not [*(tmp_path / "work/sweep").glob("*/run.json")]
    status, _, error = cli("launcher=slurm", "launcher.partition=big", "seed=0,1")
    assert status == 1 and "launcher.partition big is not in this Slurm; known: cpu" in error


def test_lightning_leaves_signals_of_slurm_to_us(commands, monkeypatch):
    assert cluster() == []
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "1")
    (found,) = cluster()
    assert not found.auto_requeue and found.creates_processes_externally and found.world_size() == 2
