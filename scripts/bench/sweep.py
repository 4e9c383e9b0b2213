"""Measure the time between the runs of a sweep, and check that sweeps and runs can be resumed after `kill -9`.

    python scripts/bench/sweep.py [only=slots|sweep|run] [jobs=2] [rounds=2] [model=unet] [seed=0]

A slot is a place in which the launcher starts one run at a time. Without arguments the script runs three parts, in at most
5 minutes on 2 cores:

- `slots`: `jobs` equal runs of one thread each are trained on one slot, and then on two slots. This part measures both
  durations. It also measures the time from the end of a run to the start of the next run on the same slot; Python spends most
  of this time on imports.
- `sweep`: `jobs` runs are trained on two slots. The sweep and single runs are killed at random times, and the command is
  started again until all runs are done. The weights of the runs must equal the weights of a sweep that was not killed.
- `run`: a small network (`model`) is trained `rounds` times. Each training is killed at a random step and started again. The
  weights must equal the weights of a training that was not killed.

The script prints the results as a table. The last line of the output is one JSON object.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from unbraid.sweeps.ledger import read

TRAIN = [sys.executable, str(Path(__file__).parents[2] / "train.py")]
DEFAULTS = {"only": "slots,sweep,run", "jobs": "2", "rounds": "2", "model": "unet", "seed": "0"}
AUTOENCODER = ["model=deep_ae", "data=digits", "features=pixels", "trainer=cpu", "data.batch_size=64"]
SEPARATOR = [
    "data=demo", "data.layout.train=2", "data.layout.valid=1", "data.layout.test=1", "data.layout.seconds=12",
    "data.chunks_per_track=12", "data.batch_size=2", "data.num_workers=1", "trainer=cpu", "trainer.max_epochs=4",
    "callbacks.last.minutes=0",
]  # fmt: skip
SIZES = {"unet": "model.separator.net.channels=[2,2,4,4,4,4]"}  # other models: chunks of one second


def start(words: list[str], folder: Path, **environment: str) -> "subprocess.Popen[bytes]":
    """Start `train.py` with the given overrides and environment variables in a working directory; return the process."""
    return subprocess.Popen([*TRAIN, *words], cwd=folder, env=os.environ | environment, stdout=subprocess.DEVNULL)


def finish(words: list[str], folder: Path, **environment: str) -> float:
    """Run `train.py` with the given overrides until it ends, and return the duration in seconds."""
    began = time.monotonic()
    if status := start(words, folder, **environment).wait():
        raise SystemExit(f"error: {' '.join(words)}: ended with status {status}")
    return time.monotonic() - began


def measure_slots(folder: Path, jobs: int) -> dict[str, float]:
    """Run a sweep on one slot and on two slots. Return both durations and the median time between two runs in seconds."""
    words = ["-m", *AUTOENCODER, "trainer.max_epochs=5"]
    finish([*words, "seed=99", "hydra.sweep.dir=first"], folder)  # prepares the data and the caches
    words.append(f"seed=range({jobs})")
    one, two = (
        finish([*words, f"launcher.cpu_slots={count}", f"hydra.sweep.dir=on{count}"], folder, UNBRAID_CORES="1")
        for count in (1, 2)
    )
    gap = statistics.median(gaps(folder / "on1"))
    return {"one_slot_s": one, "two_slots_s": two, "two_slots_over_one": two / one, "gap_s": gap}


def gaps(sweep: Path) -> list[float]:
    """Return the times in seconds from the end of a run of a sweep to the start of the next run on the same slot."""
    order: dict[str, list[str]] = {}
    for line in read(sweep)[1:]:
        if line["state"] == "running":
            order.setdefault(line["where"], []).append(line["run"])
    records = {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/run.json")}
    return [
        (datetime.fromisoformat(records[after]["started"]) - datetime.fromisoformat(records[before]["changed"])).total_seconds()
        for runs in order.values()
        for before, after in pairwise(runs)
    ]


def weights(checkpoint: Path) -> dict[str, Any]:
    """Read the weights of the model and the state of the optimizer from a checkpoint."""
    state = torch.load(checkpoint, weights_only=True)
    return {"weights": state["state_dict"], "optimizer": state["optimizer_states"]}


def equal(left: Any, right: Any) -> bool:
    """Return whether two checkpoints (nested dictionaries and lists of tensors) are equal in every bit."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return bool(left == right)


def processes_of(folder: Path) -> list[int]:
    """Return the ids of all processes that train a run whose folder is below the given folder."""
    ids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # the process has ended
            continue
        if b"unbraid.commands.train" in words and any(word.startswith(str(folder).encode()) for word in words):
            ids.append(int(path.parent.name))
    return ids


def kill_sweep(folder: Path, jobs: int, chance: random.Random) -> dict[str, int]:
    """Kill a sweep and its runs at random times, and start it again until all runs are done.

    Compare the weights of the runs with the weights of a sweep that is not killed.
    """
    words = ["-m", *AUTOENCODER, "trainer.max_epochs=20", f"seed=range({jobs})", "launcher.cpu_slots=2"]
    whole = finish([*words, "hydra.sweep.dir=whole"], folder)
    kills = 0
    while True:
        process = start([*words, "hydra.sweep.dir=killed"], folder)
        try:
            process.wait(chance.uniform(0.1, 0.3) * whole)
            break
        except subprocess.TimeoutExpired:
            runs = processes_of(folder / "killed")
            if runs and chance.random() < 0.5:
                os.kill(chance.choice(runs), signal.SIGKILL)
                kills += 1
                time.sleep(chance.uniform(0, 5))
            process.kill()
            process.wait()
            kills += 1
    return {"kills_survived": kills, **compare_sweeps(folder / "whole", folder / "killed")}


def compare_sweeps(whole: Path, killed: Path) -> dict[str, int]:
    """Compare a sweep that was killed with a sweep that was not killed.

    Count the runs with equal weights in both sweeps, the finished runs, and how often a finished run was started again.
    """
    names = sorted(path.parent.name for path in whole.glob("*/run.json"))
    same = [equal(*(weights(sweep / name / "checkpoints/last.ckpt") for sweep in (whole, killed))) for name in names]
    done: set[str] = set()
    again = 0
    for line in read(killed)[1:]:
        again += line["run"] in done
        done |= {line["run"]} if line["state"] == "done" else set()
    return {"jobs_equal": sum(same), "jobs_done": len(done), "jobs_started_again": again}


def kill_run(folder: Path, rounds: int, model: str, chance: random.Random) -> dict[str, int]:
    """Kill a run at a random step and start it again, `rounds` times. Count the rounds with the weights of an unkilled run."""
    words = [f"model={model}", SIZES.get(model, "model.separator.chunk_seconds=1"), *SEPARATOR]
    process = start_and_wait([*words, "hydra.run.dir=whole"], folder, folder / "whole/checkpoints/last.ckpt")
    began = time.monotonic()
    if status := process.wait():
        raise SystemExit(f"error: {' '.join(words)}: ended with status {status}")
    duration = time.monotonic() - began
    expected = weights(folder / "whole/checkpoints/last.ckpt")
    same = kills = 0
    for number in range(rounds):
        name = f"round{number}"
        process = start_and_wait([*words, f"hydra.run.dir={name}"], folder, folder / name / "checkpoints/last.ckpt")
        time.sleep(chance.uniform(0, 0.7 * duration))
        kills += process.poll() is None
        process.kill()
        process.wait()
        if json.loads((folder / name / "run.json").read_text())["state"] != "done":
            finish([*words, f"hydra.run.dir={name}"], folder)
        same += equal(expected, weights(folder / name / "checkpoints/last.ckpt"))
    return {"rounds": rounds, "rounds_killed": kills, "rounds_equal": same}


def start_and_wait(words: list[str], folder: Path, file: Path) -> "subprocess.Popen[bytes]":
    """Start `train.py`, and wait until the run has written a file, or has ended. Return the process."""
    process = start(words, folder)
    while process.poll() is None and not file.exists():
        time.sleep(0.05)
    return process


def main() -> None:
    """Run the parts `slots`, `sweep` and `run`, or those that the argument `only` names, and print the results."""
    arguments = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := arguments.keys() - DEFAULTS:
        sys.exit(f"error: {min(unknown)}: not an argument, expected {', '.join(DEFAULTS)}")
    chance, jobs = random.Random(int(arguments["seed"])), int(arguments["jobs"])
    results: dict[str, Any] = {"cores": os.cpu_count(), "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "slots": lambda: measure_slots(folder, jobs),
            "sweep": lambda: kill_sweep(folder, jobs, chance),
            "run": lambda: kill_run(folder, int(arguments["rounds"]), arguments["model"], chance),
        }
        for name in arguments["only"].split(","):
            results |= parts[name]()
            print("\n".join(f"{key:<20}{value}" for key, value in results.items()), flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
