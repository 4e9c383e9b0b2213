"""Tests of the Slurm launcher. Shell scripts replace the commands of Slurm."""

import subprocess
from itertools import count
from pathlib import Path

import pytest

from unbraid.runs.errors import InputError
from unbraid.runs.files import write_json
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
    """Make a command on an otherwise empty PATH. It writes its arguments to a file and runs a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name, script):
        path = folder / name
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{folder}/{name}.arguments\n{script}\n')
        path.chmod(0o755)
        return folder / f"{name}.arguments"

    make("sbatch", "echo 7")
    make("squeue", "exit 0")
    make("sinfo", "echo 'gpu|gpu:a100:4(S:0-1)'; echo 'cpu*|(null)'")
    return make


class Notes(list):
    """Record the events of a sweep; `ticks` is called with the number of each tick."""

    def __init__(self, ticks=lambda number: None):
        self.ticks, self.number = ticks, count()

    def started(self, job, where):
        self.append((job.number, "started", where))

    def ended(self, job, state, error):
        self.append((job.number, state, error))

    def tick(self):
        self.ticks(next(self.number))


def job_of(sweep, number, state="queued", devices=1, nodes=1, on_gpu=False):
    job = Job(number, sweep / f"{number}-run", devices, nodes, on_gpu)
    job.folder.mkdir(parents=True)
    mark(job, state)
    return job


def mark(job, state, **more):
    write_json(job.folder / "run.json", RECORD | {"state": state} | more)


def launcher(**options):
    return Slurm(**OPTIONS | options)


class Queue:
    """Replace `squeue` and `sbatch`: return one queue after the other, and record the scripts that are submitted."""

    def __init__(self, monkeypatch, *queues):
        self.queues, self.scripts = list(queues), []
        monkeypatch.setattr(slurm, "slurm_jobs", self.slurm_jobs)
        monkeypatch.setattr(slurm, "submit", self.submit)

    def submit(self, script, options, environment):
        self.scripts.append((script, options))
        return str(6 + len(self.scripts))

    def slurm_jobs(self):
        queue = self.queues.pop(0) if len(self.queues) > 1 else self.queues[0]
        if isinstance(queue, Exception):
            raise queue
        return [SlurmJob(array, index, state, "None", "n1", script) for array, index, state, script in queue]


def listed(index, state, array="7", script=Path("/other/slurm/1.sh")):
    return array, index, state, script


def test_a_machine_without_slurm_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError) as raised:
        launcher()
    assert raised.value.where == "launcher=slurm" and "sbatch" in raised.value.problem


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"partition": "gpus"}, "gpus"), ({"timeout_min": 1}, "1 (60 s)"), ({"cpus_per_task": 0}, 0), ({"requeues": -1}, -1),
        ({"poll_seconds": 0}, 0), ({"options": {"array": "1-9"}}, "array"), ({"options": {"wrap=rm": "x"}}, "wrap=rm"),
    ],
)  # fmt: skip
def test_invalid_options_are_refused(commands, options, found):
    with pytest.raises(InputError) as raised:
        launcher(**options)
    assert (raised.value.where, raised.value.found) == (next(iter(options)), found)


def test_errors_of_slurm_are_quoted(commands):
    commands("sinfo", "echo 'slurm_load_partitions: Unable to contact slurm controller (connect failure)' >&2; exit 1")
    with pytest.raises(InputError) as raised:
        launcher()
    assert raised.value.where == "sinfo" and "slurm_load_partitions: Unable to contact" in raised.value.problem
    commands("sinfo", "exit 0")
    with pytest.raises(InputError) as raised:
        launcher()
    assert raised.value.where == "launcher=slurm"


def test_a_refused_array_leaves_no_files(commands, tmp_path):
    commands("sbatch", "echo 'sbatch: error: first' >&2; echo 'sbatch: error: Batch job submission failed: No.' >&2; exit 1")
    with pytest.raises(InputError) as raised:
        launcher().run([job_of(tmp_path, 0)], Notes())
    assert raised.value.where == "sbatch" and raised.value.problem.endswith(": Batch job submission failed: No.")
    assert [*(tmp_path / "slurm").iterdir()] == []


def test_jobs_that_slurm_cannot_run_are_refused(commands, tmp_path):
    on_gpu, any_number = job_of(tmp_path, 0, on_gpu=True), job_of(tmp_path, 1, devices=None)
    assert launcher().refusal(on_gpu).startswith("trainer.accelerator=gpu: ")
    assert launcher(partition="gpu").refusal(on_gpu) is None
    assert launcher().refusal(any_number).startswith("trainer.devices: ")


def test_the_output_of_slurm_is_parsed(commands):
    arguments = commands("squeue", "echo '7|2|RUNNING|None|n1|/a b|c/slurm/1.sh'; echo '8|N/A|PENDING|Priority|n/a|bash'")
    (slurm_job,) = slurm_jobs()
    assert slurm_job == SlurmJob("7", 2, "RUNNING", "None", "n1", Path("/a b|c/slurm/1.sh")) and slurm_job.name == "7_2"
    assert "--states=all" in (words := arguments.read_text().splitlines()) and f"--format={FORMAT}" in words
    assert not slurm_job.has_ended and SlurmJob("7", 2, "TIMEOUT", "", "", Path()).has_ended
    assert partitions() == {"cpu": False, "gpu": True} and next(iter(partitions())) == "cpu"


def test_variables_of_an_allocation_are_not_passed_on(commands, monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_NTASKS", "5")
    monkeypatch.setenv("SLURM_CONF", "/conf")
    arguments = commands(
        "sbatch", "echo $SLURM_NTASKS $SLURM_CONF $MORE >&2; echo 12;cluster".replace(";cluster", "\\;cluster")
    )
    assert submit(tmp_path / "1.sh", {"mem": None, "time": 5, "exclusive": True}, {"MORE": "more"}) == "12"
    assert arguments.read_text().splitlines() == ["--parsable", "--time=5", "--exclusive", str(tmp_path / "1.sh")]
    commands("sbatch", "test -z $SLURM_NTASKS && test $SLURM_CONF$MORE = /confmore && echo 13")
    assert submit(tmp_path / "1.sh", {}, {"MORE": "more"}) == "13"


def test_jobs_with_the_same_needs_form_one_array(commands, monkeypatch, tmp_path):
    jobs = [
        job_of(tmp_path, 0), job_of(tmp_path, 1, on_gpu=True, devices=2), job_of(tmp_path, 2, on_gpu=None),
        job_of(tmp_path, 3, nodes=2), job_of(tmp_path, 4),
    ]  # fmt: skip
    queue = Queue(monkeypatch, [], [])
    monkeypatch.setattr(slurm, "LONGEST_ARRAY", 2)
    mine = launcher(partition="gpu", gpu_type="a100", max_parallel=4, timeout_min=60, mem_gb=8, options={"constraint": "x"})
    mine.run([*jobs, job_of(tmp_path, 5)], Notes())
    submitted = {script.with_suffix(".list").read_text(): options for script, options in queue.scripts}
    assert [*submitted] == ["0-run\n4-run\n", "5-run\n", "2-run\n", "1-run\n", "3-run\n"]
    common = {"partition": "gpu", "time": 60, "mem": "8G", "signal": "USR1@100", "constraint": "x", "requeue": True}
    assert all(common.items() <= options.items() for options in submitted.values())
    kinds = [(o["array"], o["nodes"], o["ntasks-per-node"], o["gres"]) for o in submitted.values()]
    assert kinds == [
        ("1-2%4", 1, 1, None), ("1-1%4", 1, 1, None), ("1-1%4", 1, 1, "gpu:a100:1"), ("1-1%4", 1, 2, "gpu:a100:2"),
        ("1-1%4", 2, 1, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "restarts", "again"), [(0, 0, False), (1, 0, False), (138, 0, True), (143, 2, True), (138, 3, False)]
)
def test_a_job_is_requeued_after_its_time_limit(commands, monkeypatch, tmp_path, status, restarts, again):
    sweep = tmp_path / "a $(touch broken) 'b\" %j"
    jobs = [job_of(sweep, number) for number in range(2)]
    queue = Queue(monkeypatch, [], [])
    launcher().run(jobs, Notes())
    ((script, options),) = queue.scripts
    srun = commands("srun", f"echo heard; exit {status}")
    requeued = commands("scontrol", "exit 0")
    environment = {"PATH": f"{srun.parent}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "2", "SLURM_JOB_ID": "9"}
    done = subprocess.run(["bash", script], env=environment | {"SLURM_RESTART_COUNT": str(restarts)}, cwd=tmp_path)
    assert done.returncode == status and srun.read_text().splitlines()[-2:] == ["unbraid.commands.train", str(jobs[1].folder)]
    assert "heard" in (jobs[1].folder / "log.txt").read_text() and not (jobs[0].folder / "log.txt").exists()
    assert requeued.exists() == again and not (tmp_path / "broken").exists()
    assert ("launcher.requeues" in (jobs[1].folder / "log.txt").read_text()) == (restarts == 3)
    assert options["output"] == f"{sweep}/slurm/%A_%a.txt".replace("%j", "%%j")


def test_a_job_is_watched_until_its_end(commands, monkeypatch, tmp_path):
    job = job_of(tmp_path, 0)
    states = ("PENDING", "RUNNING", "RUNNING", "PENDING", "RUNNING", "COMPLETED")
    Queue(monkeypatch, [], *[[listed(1, state)] for state in states])
    notes = Notes(lambda number: mark(job, "done") if number == 4 else None)
    launcher().run([job], notes)
    started, again = (0, "started", "n1, job 7_1"), (0, "interrupted", "job 7_1 is in the queue again")
    assert notes == [started, again, started, (0, "done", None)]


@pytest.mark.parametrize(
    ("before", "state", "ending"),
    [
        ("queued", "CANCELLED", ("interrupted", "job 7_1 was cancelled")),
        ("failed", "CANCELLED", ("interrupted", "job 7_1 was cancelled")),
        ("running", "TIMEOUT", ("interrupted", "job 7_1 reached its time limit")),
        ("running", "OUT_OF_MEMORY", ("interrupted", "job 7_1 used more memory than launcher.mem_gb")),
        ("queued", None, ("interrupted", "job 7_1 is not in Slurm's queue any more")),
        (
            "interrupted",
            "FAILED",
            ("interrupted", "its process was signalled to end and not queued again, see log.txt in its run folder"),
        ),
        ("queued", "FAILED", ("failed", "its process ended before the training began, see log.txt in its run folder")),
        ("failed", None, ("failed", "a sentence")),
        ("done", None, ("done", None)),
    ],
)
def test_the_end_of_a_job_is_noticed(commands, monkeypatch, tmp_path, before, state, ending):
    job = job_of(tmp_path, 0)
    mark(job, before, **({"error": "a sentence"} if before == "failed" else {}))
    Queue(monkeypatch, [], [listed(1, state)] if state else [])
    notes = Notes()
    launcher().run([job], notes)
    assert notes == [(0, *ending)]


def test_a_queued_run_is_not_submitted_again(commands, monkeypatch, tmp_path, capsys):
    jobs = [job_of(tmp_path, number) for number in range(3)]
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
    assert [words for _, _, words in notes] == [
        f"job {name} is not in Slurm's queue any more" for name in ("7_1", "5_2", "5_3")
    ]
    assert capsys.readouterr().out.split()[0] == "2"


def test_a_run_in_another_process_is_not_submitted(commands, monkeypatch, tmp_path):
    job = job_of(tmp_path, 0)
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


def test_jobs_stay_in_the_queue_after_ctrl_c(commands, monkeypatch, tmp_path, capsys):
    jobs = [job_of(tmp_path, number) for number in range(2)]
    Queue(monkeypatch, [], [listed(1, "RUNNING"), listed(2, "PENDING")])

    def stop(number):
        raise KeyboardInterrupt

    notes = Notes(stop)
    with pytest.raises(KeyboardInterrupt):
        launcher().run(jobs, notes)
    assert notes[1:] == [
        (0, "running", "stays in the queue of Slurm as job 7_1"),
        (1, "queued", "stays in the queue of Slurm as job 7_2"),
    ]
    assert "scancel 7" in capsys.readouterr().out


def test_squeue_may_fail_for_some_time(commands, monkeypatch, tmp_path):
    job = job_of(tmp_path, 0)
    Queue(monkeypatch, [], InputError("squeue", "away"), InputError("squeue", "away"), [listed(1, "CANCELLED")])
    notes = Notes()
    launcher().run([job], notes)
    assert notes == [(0, "interrupted", "job 7_1 was cancelled")]
    monkeypatch.setattr(slurm, "PATIENCE_SECONDS", 0)
    Queue(monkeypatch, [], InputError("squeue", "away"))
    with pytest.raises(InputError) as raised:
        launcher().run([job], notes)
    assert raised.value.where == "squeue" and "away" in raised.value.problem
    assert notes[-1] == (0, "queued", "stays in the queue of Slurm as job 7_1")


@pytest.mark.slow
def test_errors_of_the_launcher_end_the_command(commands, cli, tmp_path):
    commands("sinfo", "echo 'cpu*|(null)'")
    status, _, error = cli("launcher=slurm", "seed=0,1", "trainer=gpu", "hydra.sweep.dir=sweep")
    assert status == 1 and "0-unet-demo-0: trainer.accelerator=gpu: " in error
    assert not [*(tmp_path / "work/sweep").glob("*/run.json")]
    status, _, error = cli("launcher=slurm", "launcher.partition=big", "seed=0,1")
    assert status == 1 and "launcher.partition: " in error and "big" in error


def test_lightning_does_not_requeue_jobs(commands, monkeypatch):
    assert cluster() == []
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "1")
    (environment,) = cluster()
    assert not environment.auto_requeue and environment.creates_processes_externally and environment.world_size() == 2
