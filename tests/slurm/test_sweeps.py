"""Tests of sweeps with a real Slurm of two nodes on this machine: `make test-slurm`."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import NARROW, PROJECT
from tests.slurm.box import ask, box, missing, wait_for

pytestmark = pytest.mark.slurm
RUN = [
    "data.layout.train=2", "data.layout.valid=2", "data.layout.test=1", "data.layout.seconds=4", "data.num_workers=1", NARROW,
    "trainer=cpu", "trainer.max_epochs=null", "trainer.max_steps=4", "data.batch_size=2", "data.chunks_per_track=4",
    "launcher=slurm", "launcher.cpus_per_task=1", "launcher.poll_seconds=0.5", "hydra.sweep.dir=sweep",
]  # fmt: skip
LONG = ["trainer.max_steps=200", "data.chunks_per_track=20"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if names := missing():
        pytest.skip(f"missing: {', '.join(names)}. Type make test-slurm as root to install them")
    with box(tmp_path_factory.mktemp("slurm") / "box") as environment:
        yield environment


@pytest.fixture(scope="module")
def environment(slurm, tmp_path_factory):
    """Return environment variables for sweeps. Processes of a run connect by address: the node names are not real."""
    more = {"UNBRAID_CACHE": str(tmp_path_factory.mktemp("cache")), "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    return slurm | more


@pytest.fixture
def sweep(environment, tmp_path):
    """Return a function that starts a sweep in an empty folder."""
    started = []

    def start(*overrides):
        command = [sys.executable, str(PROJECT / "train.py"), *RUN, *overrides]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
    ask(environment, "scancel", "--me")
    wait_for(lambda: ask(environment, "squeue", "--me", "--noheader") == "")


def finished(process):
    """Wait for a process, and return its exit status and its output."""
    out, _ = process.communicate(timeout=300)
    return process.returncode, out.decode()


def state(run):
    return json.loads((run / "run.json").read_text())["state"]


def has_trained(run):
    """Return whether an epoch has ended, so that a signal makes the run write a checkpoint."""
    table = run / "metrics.csv"
    return table.exists() and "\n1," in table.read_text()


def weights(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_a_sweep_of_six_runs(sweep, tmp_path):
    status, out = finished(sweep("model=unet,unet_noskip", "seed=0,1,2", "launcher.max_parallel=4"))
    runs = sorted((tmp_path / "sweep").glob("*/run.json"))
    assert status == 0, out
    assert [state(path.parent) for path in runs] == ["done"] * 6 and "6 runs, by Slurm in the partition main, at most 4" in out
    status, out = finished(sweep("model=unet,unet_noskip", "seed=0,1,2"))
    assert status == 0 and "6 already finished" in out


def send_time_limit_signal(environment, run):
    """Wait until the run has trained for an epoch, and send the signal that Slurm sends before the time limit."""
    wait_for(lambda: has_trained(run), 120)
    ask(environment, "scancel", "--signal=USR1", "--jobname=unbraid-sweep", "--state=RUNNING")
    wait_for(lambda: state(run) == "interrupted")
    assert (run / "checkpoints/last.ckpt").exists() and not [*run.glob("hpc_ckpt*")]


def test_a_run_on_two_machines_is_requeued(sweep, environment, tmp_path):
    process = sweep("seed=0", "trainer.strategy=ddp", "trainer.num_nodes=2", *LONG, "data.batch_size=1")
    run = tmp_path / "sweep/0-unet-demo-0"
    send_time_limit_signal(environment, run)
    status, out = finished(process)
    assert status == 0 and "is in the queue again" in out, out
    log = (run / "log.txt").read_text()
    assert state(run) == "done" and log.count("MEMBER: 2/2") == 2 and "checkpoints/last.ckpt" in log
    assert json.loads((run / "scores.json").read_text())["summary"]["vocals"]["uSDR"]["n"] == 1
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["resumption"]["processes"] == 2


def test_a_requeued_run_has_the_same_weights(sweep, environment, tmp_path):
    process, undisturbed = sweep("seed=0", *LONG), sweep("seed=0", *LONG, "hydra.sweep.dir=undisturbed")
    run = tmp_path / "sweep/0-unet-demo-0"
    send_time_limit_signal(environment, run)
    process.kill()  # its jobs stay in the queue
    status, out = finished(sweep("seed=0", *LONG))
    assert status == 0 and ("already in the queue of Slurm" in out or "1 already finished" in out), out
    assert len([*tmp_path.glob("sweep/slurm/*.sh")]) == 1  # nothing was submitted again
    assert "checkpoints/last.ckpt" in (run / "log.txt").read_text() and finished(undisturbed)[0] == 0
    first, second = weights(run), weights(tmp_path / "undisturbed/0-unet-demo-0")
    assert {*first} == {*second} and all(torch.equal(first[name], second[name]) for name in first)


def test_a_cancelled_job_is_noticed(sweep, environment, tmp_path):
    process = sweep("seed=0", *LONG)
    wait_for(lambda: has_trained(tmp_path / "sweep/0-unet-demo-0"), 120)
    ask(environment, "scancel", "--jobname=unbraid-sweep")
    status, out = finished(process)
    assert status == 1 and "was cancelled" in out
    assert "failed: 0-unet-demo-0" in out and state(tmp_path / "sweep/0-unet-demo-0") == "interrupted"


def test_a_job_gets_its_own_gpu(environment, tmp_path):
    from unbraid.sweeps.launchers.queue import partitions, submit

    script = tmp_path / "1.sh"
    script.write_text("#!/bin/sh\nsrun sh -c 'echo $CUDA_VISIBLE_DEVICES >>devices; sleep 2'\n")
    os.environ["SLURM_CONF"] = environment["SLURM_CONF"]
    try:
        assert partitions() == {"main": True, "gpu": True}
        options = {"array": "1-2", "gres": "gpu:1", "partition": "gpu", "output": f"{tmp_path}/out", "chdir": str(tmp_path)}
        submit(script, options, {})
    finally:
        del os.environ["SLURM_CONF"]
    wait_for(lambda: (tmp_path / "devices").exists() and len((tmp_path / "devices").read_text().split()) == 2)
    assert sorted((tmp_path / "devices").read_text().split()) == ["0", "1"]
