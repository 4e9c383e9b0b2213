"""Compare two treatments of missing stems: unknown (left out of the loss) and silent.

    python scripts/bench/unknown_stems.py [share=0.4] [seeds=3] [epochs=10] [parallel=2]

The script copies the demo songs and removes a random share of the stems of the training songs. The mixtures stay complete, and
each song keeps at least one stem. For each seed, another set of stems is removed. `unet_softmax` with few channels is then
trained twice on four targets: with `data.layout.missing=unknown` and with `data.layout.missing=silence`.

The last line of the output is one JSON object. `gain` is the mean uSDR over the targets and the complete test songs with
`unknown`, minus the same value with `silence`, in dB, for each seed.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from unbraid.data.layouts.demo import DemoSongs

TRAIN = Path(__file__).parents[2] / "train.py"
STEMS = ("bass", "drums", "other", "vocals")


def without_stems(songs: Path, folder: Path, share: float, seed: int) -> int:
    """Copy data, and remove stems of the training songs. Return the number of removed files."""
    shutil.copytree(songs, folder)
    draws = random.Random(seed)
    removed = 0
    for song in sorted((folder / "train").iterdir()):
        names = [name for name in STEMS if draws.random() < share]
        for name in names[: len(STEMS) - 1]:
            (song / f"{name}.wav").unlink()
            removed += 1
    return removed


def trained_score(root: Path, missing: str, seed: int, epochs: int, folder: Path) -> float:
    """Train a separator in one thread. Return its mean uSDR over the targets and the test songs, in dB."""
    options = [
        "data=stems", f"data.root={root}", f"data.layout.missing={missing}", "targets=all", "model=unet_softmax",
        "model.separator.net.channels=[4,8,16,32,64,64]", "trainer=demo", f"trainer.max_epochs={epochs}",
        "data.chunks_per_track=16", "data.batch_size=8", "optim.optimizer.lr=3e-3", "evaluation.clips=0", f"seed={seed}",
        f"hydra.run.dir={folder}",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(TRAIN), *options], check=True, stdout=sys.stderr, env=environment)
    summary = json.loads((folder / "scores.json").read_text())["summary"]
    score = sum(summary[target]["uSDR"]["mean"] for target in STEMS) / len(STEMS)
    print(f"seed {seed}, {missing}: {score:.2f} dB", flush=True)
    return score


def main(share: float = 0.4, seeds: int = 3, epochs: int = 10, parallel: int = 2) -> None:
    """Train all models, `parallel` models at the same time, and print the scores."""
    with TemporaryDirectory() as temporary, ThreadPoolExecutor(parallel) as pool:
        place = Path(temporary)
        DemoSongs(12, 2, 3, 20, 0).fetch(place / "demo")
        songs = next(path for path in (place / "demo").iterdir() if path.is_dir())
        removed = [without_stems(songs, place / f"songs {seed}", share, seed) for seed in range(seeds)]
        jobs = {
            missing: [
                pool.submit(trained_score, place / f"songs {seed}", missing, seed, epochs, place / f"{missing} {seed}")
                for seed in range(seeds)
            ]
            for missing in ("unknown", "silence")
        }
        scores = {missing: [job.result() for job in started] for missing, started in jobs.items()}
    gain = [a - b for a, b in zip(scores["unknown"], scores["silence"], strict=True)]
    print(json.dumps({"share": share, "removed": removed, "epochs": epochs, **scores, "gain": gain}))


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    options: Any = {key: (float if key == "share" else int)(value) for key, value in given.items()}
    main(**options)
