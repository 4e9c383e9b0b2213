"""Runs of a sweep as tasks of Ray: a stand-in for the package, and the package itself where it is asked for."""

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
from tests.sweeps.launchers.test_slurm import Notes, arm_of, mark
from unbraid.runs.errors import InputError
from unbraid.sweeps.launchers import ray as module
from unbraid.sweeps.launchers.jobs import Job
from unbraid.sweeps.launchers.ray import Ray, run_here


class LostError(Exception):
    """As Ray's own."""


class StandIn:
    """Ray with one machine, which runs tasks when it is waited for."""

    exceptions = SimpleNamespace(RayError=LostError)

    def __init__(self, **resources):
        self.resources, self.asked, self.cancelled, self.init_with, self.is_up = resources, [], [], None, False

    def init(self, address, **options):
        self.init_with, self.is_up = (address, options), True

    def shutdown(self):
        self.is_up = False

    def nodes(self):
        return [{"Alive": False, "Resources": {"CPU": 99, "GPU": 99}}, {"Alive": True, "Resources": self.resources}]

    def remote(self, **options):
        return lambda function: SimpleNamespace(options=lambda **need: self._task({**options, **need}))

    def _task(self, need):
        return SimpleNamespace(remote=lambda folder, *_: self.asked.append(need) or folder)

    def wait(self, tasks, num_returns=1, timeout=None):
        return tasks[:1], tasks[1:]

    def get(self, task):
        if task.endswith("1-run"):
            raise LostError

    def cancel(self, task):
        self.cancelled.append(task)


@pytest.fixture
def ray(monkeypatch):
    found = StandIn(CPU=4, GPU=2)
    monkeypatch.setitem(sys.modules, "ray", found)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    return found


def launcher(**options):
    return Ray(**{"address": None, "gpus": 2, "cpus": 4, "cpus_per_process": 2} | options)


def test_without_ray_the_command_that_installs_it_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"Ray is not installed: pip install 'unbraid\[ray\]'"):
        launcher()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cpus_per_process": 0}, "cpus_per_process and cpus must be at least 1 and gpus 0, found 0, 4, 2"),
        ({"address": "auto"}, "address names a cluster, which knows its gpus and cpus; leave these null"),
    ],
)
def test_options_that_cannot_be_are_refused(ray, options, sentence):
    with pytest.raises(InputError, match=sentence):
        launcher(**options)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"nodes": 2}, "trainer.num_nodes=2: launcher=ray gives a run one machine; launcher=slurm has more"),
        ({"devices": None}, "trainer.devices: Ray must be told how many processes a run has; give a number"),
        ({"on_gpu": True}, "trainer.accelerator=gpu: there is no GPU here; choose trainer=cpu"),
    ],
)
def test_runs_that_it_cannot_run_are_refused(ray, tmp_path, asked, sentence):
    assert launcher(gpus=0).refusal(arm_of(tmp_path, 0, **asked)) == sentence
    assert launcher(gpus=0).refusal(arm_of(tmp_path, 1)) is None


def test_each_run_is_a_task_with_what_it_needs(ray, tmp_path, monkeypatch):
    jobs = [arm_of(tmp_path, 0, "done"), arm_of(tmp_path, 1, "running", on_gpu=None), arm_of(tmp_path, 2, "failed", devices=2)]
    mark(jobs[1], "running", host="far")
    monkeypatch.setattr(Job, "is_busy", lambda job: job.number == 1)
    notes = Notes()
    launcher().run(jobs, notes)
    needs = [(need["num_cpus"], need["num_gpus"]) for need in ray.asked]
    assert needs == [(2, 0), (2, 1), (4, 0)] and all(need["max_retries"] == 0 for need in ray.asked)
    assert ray.init_with[0] == "local" and ray.init_with[1]["num_gpus"] == 2 and not ray.is_up
    assert notes == [(1, "started", "far"), (0, "done", None), (1, "interrupted", "was killed"), (2, "failed", None)]


def test_what_no_machine_has_is_not_waited_for(ray, tmp_path):
    with pytest.raises(InputError, match="0-run: asks for 3 GPUs and 6 cores, which no machine of this Ray has"):
        launcher().run([arm_of(tmp_path, 0, devices=3, on_gpu=True)], Notes())
    assert not ray.asked and not ray.is_up


def test_a_cluster_that_is_not_there_is_said(ray, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no Ray\nhere")

    monkeypatch.setattr(ray, "init", fail, raising=False)
    with pytest.raises(InputError, match=r"launcher.address=auto: no Ray here"):
        launcher(address="auto", gpus=None, cpus=None).run([arm_of(tmp_path, 0)], Notes())


def test_ctrl_c_stops_all_runs(ray, tmp_path):
    jobs = [arm_of(tmp_path, number) for number in range(2)]

    def stop(number):
        mark(jobs[1], "interrupted")
        raise KeyboardInterrupt

    notes = Notes(stop)
    with pytest.raises(KeyboardInterrupt):
        launcher().run(jobs, notes)
    assert ray.cancelled == [str(jobs[1].folder)] and notes[-1] == (1, "interrupted", None) and not ray.is_up


@pytest.mark.parametrize("stopped", [False, True])
def test_a_task_is_its_run(tmp_path, monkeypatch, stopped):
    asked, signals = {}, []

    def poll():
        if stopped and not signals:
            raise KeyboardInterrupt
        return 3

    def start(folder, environment, log):
        asked.update(environment, folder=folder)
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
    assert signals == [SIGTERM] * stopped and os.getcwd() == "/"  # noqa: PTH109  # what the task changes
    assert (asked["CUDA_VISIBLE_DEVICES"], asked["OMP_NUM_THREADS"], asked["folder"]) == ("1", "2", tmp_path / "run")


@pytest.mark.ray
def test_four_runs_on_two_devices(songs, tmp_path):
    """With a Ray of this machine, in a network that has only loopback: `make test-ray`."""
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
    """The folder of each run, and the devices that it sees."""
    for process in parent.children(recursive=True):
        try:
            words, environment = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        if words[1:3] == ["-m", "unbraid.commands.train"]:
            yield words[3], environment["CUDA_VISIBLE_DEVICES"]
