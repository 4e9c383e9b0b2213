"""What a sweep costs and what it survives: runs side by side, the gap between them, and `kill -9` of everything.

    python scripts/bench/sweep.py [only=slots|sweep|run] [rounds=20] [seed=0]

`slots`: eight equal runs of one thread each, on one slot and then on two; and from their records the gap between the end of a
run and the start of the next one on its slot, which is mostly imports. `sweep`: twelve runs on two slots; the sweep and single
runs are killed at random moments and the same command typed again, until all are done; then their weights are compared with
those of a sweep that nobody disturbed. `run`: the same of one U-Net, `rounds` times, killed at a random step amid an epoch.

Where nothing is chosen, all three. The last line is one JSON object.
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
AUTOENCODER = ["model=deep_ae", "data=digits", "features=pixels", "trainer=cpu", "data.batch_size=64"]
UNET = [
    "model=unet", "model.separator.net.channels=[2,2,4,4,4,4]", "data=demo", "data.layout.train=2", "data.layout.valid=1",
    "data.layout.test=1", "data.layout.seconds=12", "data.chunks_per_track=12", "data.batch_size=2", "data.num_workers=1",
    "trainer=cpu", "trainer.max_epochs=4", "callbacks.last.minutes=0",
]  # fmt: skip


def start(words: list[str], folder: Path, **environment: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([*TRAIN, *words], cwd=folder, env=os.environ | environment, stdout=subprocess.DEVNULL)


def finish(words: list[str], folder: Path, **environment: str) -> float:
    """Seconds it took."""
    began = time.monotonic()
    if status := start(words, folder, **environment).wait():
        raise SystemExit(f"{' '.join(words)} ended with status {status}")
    return time.monotonic() - began


def slots(folder: Path) -> dict[str, float]:
    words = ["-m", *AUTOENCODER, "trainer.max_epochs=15", "seed=range(8)"]
    finish([*words[:-1], "seed=99", "hydra.sweep.dir=first"], folder)  # data and caches
    took = {
        count: finish([*words, f"launcher.cpu_slots={count}", f"hydra.sweep.dir=on{count}"], folder, UNBRAID_CORES="1")
        for count in (1, 2)
    }
    found = {"one_slot_s": took[1], "two_slots_s": took[2], "two_slots_over_one": took[2] / took[1]}
    return found | {"gap_s": statistics.median(gaps(folder / "on1"))}


def gaps(sweep: Path) -> list[float]:
    """Seconds from the end of each run to the start of the next on the same slot."""
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
    state = torch.load(checkpoint, weights_only=True)
    return {"weights": state["state_dict"], "optimizer": state["optimizer_states"]}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def processes_of(folder: Path) -> list[int]:
    """That run something frozen below a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # gone since
            continue
        if b"unbraid.commands.train" in words and any(word.startswith(str(folder).encode()) for word in words):
            found.append(int(path.parent.name))
    return found


def sweep(folder: Path, chance: random.Random) -> dict[str, int]:
    words = ["-m", *AUTOENCODER, "trainer.max_epochs=40", "seed=range(12)", "launcher.cpu_slots=2"]
    whole = finish([*words, "hydra.sweep.dir=whole"], folder)
    kills = 0
    while True:
        process = start([*words, "hydra.sweep.dir=killed"], folder)
        try:
            process.wait(chance.uniform(0.15, 0.4) * whole)
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
    return {"kills_survived": kills, **judged(folder / "whole", folder / "killed")}


def judged(whole: Path, killed: Path) -> dict[str, int]:
    """How many runs have ended as those of the undisturbed sweep, and how many were run again after they had been done."""
    names = sorted(path.parent.name for path in whole.glob("*/run.json"))
    same = [equal(*(weights(sweep / name / "checkpoints/last.ckpt") for sweep in (whole, killed))) for name in names]
    done: set[str] = set()
    again = 0
    for line in read(killed)[1:]:
        again += line["run"] in done
        done |= {line["run"]} if line["state"] == "done" else set()
    return {"arms_equal": sum(same), "arms_done": len(done), "rerun_arms": again}


def run(folder: Path, chance: random.Random, rounds: int) -> dict[str, int]:
    finish([*UNET, "hydra.run.dir=warm", "trainer.max_epochs=1"], folder)
    took = finish([*UNET, "hydra.run.dir=whole"], folder)
    expected, same = weights(folder / "whole/checkpoints/last.ckpt"), 0
    kills = 0
    for number in range(rounds):
        name = f"round{number}"
        process = start([*UNET, f"hydra.run.dir={name}"], folder)
        while process.poll() is None and not (folder / name / "checkpoints/last.ckpt").exists():
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.5 * took))
        kills += process.poll() is None
        process.kill()
        process.wait()
        if json.loads((folder / name / "run.json").read_text())["state"] != "done":
            finish([*UNET, f"hydra.run.dir={name}"], folder)
        same += equal(expected, weights(folder / name / "checkpoints/last.ckpt"))
    return {"rounds": rounds, "rounds_killed": kills, "rounds_equal": same}


def main() -> None:
    given = dict(word.split("=") for word in sys.argv[1:])
    chance = random.Random(int(given.get("seed", 0)))
    found: dict[str, Any] = {"cores": os.cpu_count(), "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "slots": lambda: slots(folder),
            "sweep": lambda: sweep(folder, chance),
            "run": lambda: run(folder, chance, int(given.get("rounds", 20))),
        }
        for name in [given["only"]] if "only" in given else parts:
            found |= parts[name]()
            print("\n".join(f"{key:<20}{value}" for key, value in found.items()), flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
