"""Measure the time and memory of data sets of many tracks and of sweeps of many runs.

    python scripts/bench/scale.py [only=tracks|sweep] [tracks=100000] [runs=1000] [folder=FOLDER]

- `tracks`: songs of half a second with two sources each, in a table of tracks. At most 2,000 songs are decoded with one process
  and with two. The full store consists of copies of one entry with the names of all songs, which takes less time. With the
  full store, a new process lists and opens all songs and loads the first training batch, and another process writes the health
  report of a fifth of the songs. 100,000 songs need 4 GB on the disk.
- `sweep`: run folders with scores, and their ledger. The script measures reading the ledger, the progress table and the report,
  and the dry run of a sweep of as many runs.

The files are written to `folder` and kept there; without `folder`, to a temporary folder. Each step is a new process.
`cpu_…` is the processor time, which depends less on other programs than the duration. `growth` is the processor time of all
songs divided by the time of a tenth, divided by 10: 1 is linear. `peak_mb` is the largest resident memory. The last line of the
output is one JSON object.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

RATE, SECONDS = 8192, 0.5
SOURCES = ("accompaniment", "vocals")
MODEL = ("model=unet_small", "targets=vocals", "data=stems", "data.layout.mixture=mixture", "trainer=cpu")
PROJECT = Path(__file__).parents[2]


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Write mono int16 samples as a WAV file. This is faster than an audio library."""
    size = samples.nbytes
    words = [b"RIFF", (36 + size).to_bytes(4, "little"), b"WAVEfmt ", (16).to_bytes(4, "little"), (1).to_bytes(2, "little")]
    words += [
        (1).to_bytes(2, "little"),
        RATE.to_bytes(4, "little"),
        (2 * RATE).to_bytes(4, "little"),
        (2).to_bytes(2, "little"),
    ]
    path.write_bytes(b"".join([*words, (16).to_bytes(2, "little"), b"data", size.to_bytes(4, "little"), samples.tobytes()]))


def write_songs(folder: Path, count: int) -> None:
    """Write songs of noise, and a table of all songs and of a tenth. Songs that exist are kept."""
    generator = np.random.default_rng(0)
    noise = (3000 * generator.standard_normal(1 << 20)).astype(np.int16)
    rows = ["track,split," + ",".join(SOURCES)]
    for number in range(count):
        split = ("test", "valid")[number % 10] if number % 10 < 2 and number < 100 else "train"
        files = [f"audio/{number // 1000}/{number}-{name}.wav" for name in SOURCES]
        for place, file in enumerate(files):
            path = folder / file
            if number % 1000 == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                start = (number * 7 + place * 499_979) % (len(noise) - RATE)
                write_wav(path, noise[start : start + round(SECONDS * RATE)])
        rows.append(",".join([f"song {number}", split, *files]))
    (folder / f"{count}.csv").write_text("\n".join(rows) + "\n")


def run_step(step: str, **options: Any) -> dict[str, Any]:
    """Run a step of this script in a new process, and return its JSON line."""
    words = [sys.executable, __file__, f"step={step}", *(f"{key}={value}" for key, value in options.items())]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(step, json.dumps(found), flush=True)
    return found


def timed(parts: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Call functions one after the other, and return their durations in seconds and the peak memory in MB."""
    found: dict[str, Any] = {}
    for name, function in parts:
        began, used = time.monotonic(), time.process_time()
        function()
        found[name] = round(time.monotonic() - began, 2)
        found[f"cpu_{name}"] = round(time.process_time() - used, 2)
    return found | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def data_module(folder: Path, tracks: int, *options: str) -> Any:
    """Return the data module of a training on the songs."""
    from unbraid import compose
    from unbraid.runs.config import build

    return build(compose(*MODEL, *table_of(folder, tracks), "data.residency=disk", *options).data)


def table_of(folder: Path, tracks: int) -> list[str]:
    """Return the options of the command line for the table and the store of the songs."""
    return [f"data.root={folder}", f"data.layout.manifest={tracks}.csv", f"data.cache_dir={folder / 'cache'}"]


def store(folder: Path, tracks: int, workers: int) -> dict[str, Any]:
    """Decode the songs into an empty store, and return the number of songs per second."""
    shutil.rmtree(folder / "stored", ignore_errors=True)
    data = data_module(folder, tracks, f"data.cache_dir={folder / 'stored'}", f"data.num_decode_workers={workers}")
    began, used = time.monotonic(), processor_seconds()
    data.prepare_data()
    seconds, cpu = time.monotonic() - began, processor_seconds() - used
    return {"tracks": tracks, "per_s": round(tracks / seconds, 1), "cpu_ms_per_track": round(1000 * cpu / tracks, 2)}


def processor_seconds() -> float:
    """Return the processor time that this process and its ended child processes have used."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in times)


def copy_entries(folder: Path, tracks: int) -> dict[str, Any]:
    """Fill the store: write the samples of the first song as the entry of each song that is not in the store."""
    from unbraid.data.fill import Order, fill, fingerprints

    data = data_module(folder, tracks)
    songs = data.listing().tracks
    orders = [
        Order(song, data.store.sample_rate, data.store.channels, data.store.folder, data.store.surround) for song in songs
    ]
    (data.store.folder / "locks").mkdir(parents=True, exist_ok=True)
    fill(orders[0])
    contents = {path.name: path.read_bytes() for path in orders[0].entry.iterdir()}
    meta = json.loads(contents.pop("meta.json"))
    checksums = meta.pop("checksums")
    new = 0
    for order in orders:
        entry = order.entry
        if not entry.exists():
            entry.mkdir()
            for name, content in contents.items():
                (entry / name).write_bytes(content)
            meta["files"] = fingerprints(order.track)
            checksums["meta.json"] = zlib.crc32(json.dumps(meta).encode())
            (entry / "meta.json").write_text(json.dumps(meta | {"checksums": checksums}))
            new += 1
    return {"copied": new}


def first_batch(folder: Path, tracks: int) -> dict[str, Any]:
    """List and open the stored songs, and load the first training batch."""
    data = data_module(folder, tracks)
    return timed(
        [
            ("list_and_open_s", data.prepare_data),
            ("setup_s", lambda: data.setup("fit")),
            ("batch_s", lambda: next(iter(data.train_dataloader()))),
        ]
    )


def health(folder: Path, tracks: int) -> dict[str, Any]:
    """Print and write the health report of stored songs with the command `prepare`."""
    words = ["data=stems", "data.layout.mixture=mixture", "targets=vocals", *table_of(folder, tracks)]
    return command("prepare.py", words, folder) | {"tracks": tracks}


def command(script: str, words: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run a script, and return its duration, processor time, number of lines and peak memory."""
    began = time.monotonic()
    place = PROJECT / script if script == "train.py" else PROJECT / "scripts" / script
    done = subprocess.run([sys.executable, place, *words], check=True, cwd=folder, stdout=subprocess.PIPE)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": round(time.monotonic() - began, 1), "cpu_s": round(used.ru_utime + used.ru_stime, 1),
            "lines": done.stdout.count(b"\n"), "peak_mb": used.ru_maxrss // 1024}  # fmt: skip


def write_sweep(folder: Path, runs: int) -> dict[str, Any]:
    """Write the run folders of a sweep over 100 learning rates and several seeds, and its ledger."""
    from omegaconf import OmegaConf

    from unbraid import compose
    from unbraid.runs.files import write_json
    from unbraid.runs.records import experiment_of, identity
    from unbraid.sweeps.ledger import Ledger

    config = compose("model=unet_small", "data=demo")
    text, numbers = OmegaConf.to_yaml(config, resolve=True), np.random.default_rng(0)
    record: dict[str, Any] = {"identity": identity(config), "experiment": experiment_of(config), "state": "done"}
    record |= {"choices": {"model": "unet_small", "data": "demo"}}
    ledger = Ledger(folder, "sweep")
    ledger.open()
    began = time.monotonic()
    for number in range(runs):
        seed, variant = divmod(number, 100)
        run = folder / f"{number}-variant={variant}-seed={seed}"
        run.mkdir(parents=True)
        words = [f"optim.optimizer.lr={(variant + 1) / 1e5:g}", f"seed={seed}"]
        changed = text.replace("    lr: 0.001", f"    lr: {(variant + 1) / 1e5:g}").replace("seed: 0", f"seed: {seed}")
        (run / "config.yaml").write_text(changed)
        write_json(run / "run.json", record | {"identity": f"{number:016x}", "overrides": words})
        rows = [f"{epoch},{epoch * 100},2.5,{1 / (epoch + 1)}" for epoch in range(100)]
        (run / "metrics.csv").write_text("\n".join(["epoch,step,seconds,valid/loss", *rows]) + "\n")
        write_json(run / "scores.json", scores(numbers.normal(variant / 50, 1, 10).tolist()))
        for state in ("running", "done"):
            ledger.record(run, record | {"overrides": words, "state": state})
    return {"runs": runs, "seconds": round(time.monotonic() - began, 1)}


def scores(values: list[float]) -> dict[str, Any]:
    """Return the content of `scores.json` with the given NSDR of each song."""
    summary = {"mean": sum(values) / len(values), "median": sorted(values)[len(values) // 2], "n": len(values)}
    protocol = {"name": "ikala_nsdr", "tracks": "mean", "frames": "mean", "window_seconds": None, "rest": None}
    return {
        "protocol": protocol, "checkpoint": "x", "summary": {"vocals": {"NSDR": summary}},
        "tracks": {f"song {number}": {"vocals": {"NSDR": value}} for number, value in enumerate(values)},
        "mixture": {"vocals": {"NSDR": summary}}, "oracle": {"irm": {"vocals": {"NSDR": summary}}},
        "cost": {"parameters": 1_000_000, "memory": 2**30, "device": "cpu", "devices": 1},
    }  # fmt: skip


def read_sweep(folder: Path, runs: int) -> dict[str, Any]:
    """Read the ledger, compute the progress of each run as the progress table does, and write the report."""
    from unbraid.reports.making import make
    from unbraid.reports.variants import runs_of
    from unbraid.runs.config import read_config
    from unbraid.sweeps.ledger import read
    from unbraid.sweeps.progress import progress

    folders = runs_of(folder)
    config = read_config(folders[0] / "config.yaml")
    return timed(
        [
            ("ledger_s", lambda: read(folder)),
            ("table_s", lambda: [progress(run, config) for run in folders]),
            ("report_s", lambda: make(folders, folder / f"report-{time.time():.0f}", "sweep")),
        ]
    )


def plan(folder: Path, runs: int) -> dict[str, Any]:
    """Print the dry run of a sweep."""
    words = ["-m", "model=unet_small", "data=demo", f"seed=range({runs})", "trainer=cpu", "plan=true"]
    return command("train.py", words, folder) | {"runs": runs}


STEPS: dict[str, Any] = {
    "store": store,
    "copy_entries": copy_entries,
    "first_batch": first_batch,
    "health": health,
    "write_sweep": write_sweep,
    "read_sweep": read_sweep,
    "plan": plan,
}


def measure_tracks(folder: Path, tracks: int) -> dict[str, Any]:
    """Measure storing, and opening the full store, with a tenth of the songs and with all songs."""
    few, decoded = tracks // 10, min(tracks, 2000)
    for count in {decoded, few, tracks // 5, tracks}:
        write_songs(folder, count)
    stored = [run_step("store", folder=folder, tracks=decoded, workers=workers) for workers in (1, 2)]
    run_step("copy_entries", folder=folder, tracks=tracks)
    part, whole = (run_step("first_batch", folder=folder, tracks=count) for count in (few, tracks))
    times = [sum(value for name, value in found.items() if name.startswith("cpu_")) for found in (part, whole)]
    report = run_step("health", folder=folder, tracks=tracks // 5)
    return {"store": stored, "open": whole, "growth": round(times[1] / times[0] / 10, 2), "health": report}


def measure_sweep(folder: Path, runs: int) -> dict[str, Any]:
    """Measure the ledger, the progress table, the report and the dry run of a sweep."""
    sweep = folder / f"sweep-{runs}"
    run_step("write_sweep", folder=sweep, runs=runs)
    return run_step("read_sweep", folder=sweep, runs=runs) | {"plan": run_step("plan", folder=folder, runs=runs)}


def main(words: Sequence[str]) -> None:
    """Run one step, or all measurements."""
    options = dict(word.split("=", 1) for word in words)
    if step := options.pop("step", None):
        print(json.dumps(STEPS[step](Path(options.pop("folder")), **{key: int(value) for key, value in options.items()})))
        return
    sizes = {"tracks": int(options.pop("tracks", "100000")), "sweep": int(options.pop("runs", "1000"))}
    only = options.pop("only", "tracks,sweep").split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.pop("folder", temporary)).resolve()
        if options:
            sys.exit(f"error: {min(options)}: unknown argument, expected only, tracks, runs or folder")
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"tracks": measure_tracks, "sweep": measure_sweep}
        print(json.dumps({name: parts[name](folder, sizes[name]) for name in only}))


if __name__ == "__main__":
    main(sys.argv[1:])
