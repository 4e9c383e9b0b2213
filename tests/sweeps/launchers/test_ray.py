"""Tests of the Ray launcher, with a replacement for the package `ray` and, if marked, with the package itself."""

import importlib.util
import os
import subprocess
import sys
import time
from signal import SIGTERM
from types import SimpleNamespace

import psutil
import pytest

from tests.conftest import PROJECT, SHORT
from tests.sweeps.launchers.test_slurm import Notes, job_of, mark
from unbraid.runs.errors import InputError
from unbraid.sweeps.launchers import ray as module
from unbraid.sweeps.launchers.jobs import Job
from unbraid.sweeps.launchers.ray import Ray, run_here


class LostError(Exception):
    """Replace `RayError`."""


class StandIn:
    """Replace Ray by one machine that completes a task at each `wait`."""

    exceptions = SimpleNamespace(RayError=LostError)

    def __init__(self, **resources):
        self.resources, self.needs, self.cancelled, self.init_with, self.is_up = resources, [], [], None, False

    def init(self, address, **options):
        self.init_with, self.is_up = (address, options), True

    def shutdown(self):
        self.is_up = False

    def nodes(self):
        return [{"Alive": False, "Resources": {"CPU": 99, "GPU": 99}}, {"Alive": True, "Resources": self.resources}]

    def remote(self, **options):
        return lambda function: SimpleNamespace(options=lambda **need: self._task({**options, **need}))

    def _task(self, need):
        return SimpleNamespace(remote=lambda folder, *_: self.needs.append(need) or folder)

    def wait(self, tasks, num_returns=1, timeout=None):
        return tasks[:1], tasks[1:]

    def get(self, task):
        if task.endswith("1-run"):
            raise LostError

    def cancel(self, task):
        self.cancelled.append(task)


@pytest.fixture
def ray(monkeypatch):
    stand_in = StandIn(CPU=4, GPU=2)
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    return stand_in


def launcher(**options):
    return Ray(**{"address": None, "gpus": 2, "cpus": 4, "cpus_per_process": 2} | options)


def test_a_missing_package_is_an_error_with_a_hint(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as raised:
        launcher()
    assert "pip install 'unbraid[ray]'" in raised.value.hint


@pytest.mark.parametrize(("option", "value"), [("cpus_per_process", 0), ("cpus", 0), ("gpus", -1), ("address", "auto")])
def test_invalid_options_are_refused(ray, option, value):
    with pytest.raises(InputError) as raised:
        launcher(**{option: value})
    assert (raised.value.where, raised.value.found) == (option, value)


@pytest.mark.parametrize(
    ("needs", "key"),
    [
        ({"nodes": 2}, "trainer.num_nodes=2: "), ({"devices": None}, "trainer.devices: "),
        ({"on_gpu": True}, "trainer.accelerator=gpu: "),
    ],
)  # fmt: skip
def test_jobs_that_ray_cannot_run_are_refused(ray, tmp_path, needs, key):
    assert launcher(gpus=0).refusal(job_of(tmp_path, 0, **needs)).startswith(key)
    assert launcher(gpus=0).refusal(job_of(tmp_path, 1)) is None


def test_each_task_has_the_devices_of_its_job(ray, tmp_path, monkeypatch):
    jobs = [job_of(tmp_path, 0, "done"), job_of(tmp_path, 1, "running", on_gpu=None), job_of(tmp_path, 2, "failed", devices=2)]
    mark(jobs[1], "running", host="far")
    monkeypatch.setattr(Job, "is_busy", lambda job: job.number == 1)
    notes = Notes()
    launcher().run(jobs, notes)
    needs = [(need["num_cpus"], need["num_gpus"]) for need in ray.needs]
    assert needs == [(2, 0), (2, 1), (4, 0)] and all(need["max_retries"] == 0 for need in ray.needs)
    assert ray.init_with[0] == "local" and ray.init_with[1]["num_gpus"] == 2 and not ray.is_up
    assert notes == [
        (1, "started", "far"),
        (0, "done", None),
        (1, "interrupted", "its process was killed"),
        (2, "failed", None),
    ]


def test_a_job_too_large_for_every_machine_is_refused(ray, tmp_path):
    with pytest.raises(InputError) as raised:
        launcher().run([job_of(tmp_path, 0, devices=3, on_gpu=True)], Notes())
    assert raised.value.where == "0-run" and "3 GPUs and 6 cores" in raised.value.problem
    assert not ray.needs and not ray.is_up


def test_a_missing_cluster_is_an_error(ray, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no Ray\nhere")

    monkeypatch.setattr(ray, "init", fail, raising=False)
    with pytest.raises(InputError) as raised:
        launcher(address="auto", gpus=None, cpus=None).run([job_of(tmp_path, 0)], Notes())
    assert raised.value.where == "launcher.address=auto"


def test_ctrl_c_stops_all_runs(ray, tmp_path):
    jobs = [job_of(tmp_path, number) for number in range(2)]

    def stop(number):
        mark(jobs[1], "interrupted")
        raise KeyboardInterrupt

    notes = Notes(stop)
    with pytest.raises(KeyboardInterrupt):
        launcher().run(jobs, notes)
    assert ray.cancelled == [str(jobs[1].folder)] and notes[-1] == (1, "interrupted", None) and not ray.is_up


@pytest.mark.parametrize("stopped", [False, True])
def test_a_task_starts_and_ends_its_run(tmp_path, monkeypatch, stopped):
    started_with, signals = {}, []

    def poll():
        if stopped and not signals:
            raise KeyboardInterrupt
        return 3

    def start(folder, environment, log):
        started_with.update(environment, folder=folder)
        return SimpleNamespace(poll=poll, wait=poll, send_signal=signals.append, returncode=3)

    monkeypatch.setattr(module, "start", start)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    if stopped:
        with pytest.raises(KeyboardInterrupt):
            run_here(str(tmp_path / "run"), "/", 2)
    else:
        assert run_here(str(tmp_path / "run"), "/", 2) == 3
    assert signals == [SIGTERM] * stopped and os.getcwd() == "/"  # noqa: PTH109  # the task changes it
    keys = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "folder")
    assert [started_with[key] for key in keys] == ["1", "2", tmp_path / "run"]


@pytest.mark.ray
def test_four_runs_on_two_devices(songs, tmp_path):
    """Start Ray on this machine, in a network that has only loopback: `make test-ray`."""
    pytest.importorskip("ray")
    command = [
        sys.executable, str(PROJECT / "train.py"), "data=musdb", f"data.root={songs}", *SHORT, "trainer.accelerator=auto",
        "launcher=ray", "launcher.gpus=2", "launcher.cpus=2", "seed=0,1,2,3", "hydra.sweep.dir=sweep",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"})
    seen = set()
    while process.poll() is None:
        devices = dict(devices_below(psutil.Process(process.pid)))
        assert len({*devices.values()}) == len(devices)
        seen |= {*devices.items()}
        time.sleep(0.2)
    runs = [tmp_path / f"sweep/{seed}-unet-musdb-{seed}" for seed in range(4)]
    assert process.wait() == 0 and all((run / "scores.json").exists() for run in runs)
    assert {run for run, _ in seen} == {*map(str, runs)} and {device for _, device in seen} == {"0", "1"}


def devices_below(parent):
    """Yield the folder of each run and the devices that its process can use."""
    for process in parent.children(recursive=True):
        try:
            words, environment = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        if words[1:3] == ["-m", "unbraid.commands.train"]:
            yield words[3], environment["CUDA_VISIBLE_DEVICES"]
