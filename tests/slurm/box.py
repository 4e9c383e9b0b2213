"""Start a Slurm of two nodes on this machine for a test session: loopback only, as root, without systemd.

Its daemons are child processes of the tests. All its files are in one folder; files below /etc are neither read nor written.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
NODES = 2
# A requeued job waits until its old credential has expired. Slurm accepts times from 5 s.
CONFIG = """
ClusterName=box
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
MpiDefault=none
KillWait=10
GresTypes=gpu
NodeName=n1 NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[1]} CPUs=2 RealMemory=16000 Gres=gpu:2
NodeName=n2 NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[2]} CPUs=2 RealMemory=16000
PartitionName=gpu Nodes=n1 DefMemPerCPU=4000
PartitionName=main Nodes=n1,n2 Default=YES DefMemPerCPU=4000
"""


def missing() -> list[str]:
    """Return the names of missing programs, and `root` if the user is not root."""
    return [name for name in PROGRAMS if shutil.which(name) is None] + ([] if os.geteuid() == 0 else ["root"])


@contextmanager
def box(folder: Path) -> Iterator[dict[str, str]]:
    """Start Slurm for the block, and yield the environment variables for its commands."""
    host, ports = socket.gethostname().split(".")[0], free_ports(1 + NODES)
    (folder / "state").mkdir(parents=True)
    (folder / "slurm.conf").write_text(CONFIG.format(host=host, ports=ports, folder=folder))
    for number in range(2):  # any character device works; jobs that use it get CUDA_VISIBLE_DEVICES
        os.mknod(folder / f"gpu{number}", 0o20666, os.makedev(1, 3))
    (folder / "gres.conf").write_text(f"NodeName=n1 Name=gpu File={folder}/gpu[0-1]\n")
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    munge = [
        f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "key-file", "pid-file", "seed-file", "log-file")
    ]
    commands = [["munged", "--foreground", "--force", *munge], ["slurmctld", "-D"]]
    commands += [["slurmd", "-D", "-N", f"n{number + 1}"] for number in range(NODES)]
    daemons = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"daemon-{number}.log").open("wb") as log:
                daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
            time.sleep(0.3)
        wait_for(
            lambda: ask(environment, "sinfo", "--noheader", "--partition=main", "--states=idle", "--format=%D").strip() == "2"
        )
        yield environment
    finally:
        ask(environment, "scancel", "--user=root")
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()


def ask(environment: dict[str, str], *command: str) -> str:
    """Return the output of a command of Slurm."""
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true after {seconds} s"
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports
