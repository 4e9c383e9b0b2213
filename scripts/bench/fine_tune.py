"""Compare fine-tuning with training from random weights: validation uSDR after each epoch.

    python scripts/bench/fine_tune.py [models=unet_small,scnet_small] [epochs=6] [output=outputs/bench/fine_tune.csv]
        [trainer.accelerator=gpu] …

Words with a dot are keys of the training config. Each model is trained three times on demo songs:

- `first`: on 6 of the 12 training songs, from random weights, with as many steps as the other two.
- `scratch`: on all 12 training songs, from random weights.
- `tuned`: on all 12 training songs, from the weights of the best epoch of `first`.

`scratch` and `tuned` differ only in the initial weights. The validation songs are in none of the training sets. The script
prints the uSDR of the vocals in dB, as the median of the validation songs, and the steps after which each training first has
the uSDR that `scratch` has at its end. The table is also written to a csv file. The last line of the output is one JSON object.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

TRAIN = Path(__file__).parents[2] / "train.py"
DEFAULTS = {"models": "unet_small,scnet_small", "epochs": "6", "output": "outputs/bench/fine_tune.csv"}
WORDS = ["data=demo", "trainer=cpu", "test=false", "data.batch_size=4", "data.chunks_per_track=4", "optim.optimizer.lr=2e-3"]
COLUMN = "valid/uSDR/vocals"
Curve = dict[int, float]  # uSDR in dB by number of steps


def main() -> None:
    """Train the models that the command line names, and print the curves of their uSDR."""
    words = [word for word in sys.argv[1:] if "." in word.partition("=")[0]]
    arguments = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:] if word not in words)
    if unknown := arguments.keys() - DEFAULTS.keys():
        sys.exit(f"error: unknown argument {min(unknown)}; known: {', '.join(DEFAULTS)}")
    results, rows = {}, []
    for model in arguments["models"].split(","):
        curves = train_three_times([f"model={model}", *WORDS, *words], int(arguments["epochs"]))
        last = max(curves["scratch"])
        level = curves["scratch"][last]
        reached = {name: steps_to(level, curves[name]) for name in ("scratch", "tuned")}
        results[model] = {"usdr": curves, "steps": reached}
        print(f"\n{model:<20}{'steps':>8}{'scratch':>10}{'tuned':>10}")
        for steps, value in curves["scratch"].items():
            print(f"{'':<20}{steps:>8}{value:>10.2f}{curves['tuned'][steps]:>10.2f}")
            rows.append([model, steps, value, curves["tuned"][steps]])
        print(f"steps to {level:.2f} dB, the uSDR of scratch after {last} steps: {reached}", flush=True)
    path = Path(arguments["output"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["model", "steps", "scratch_db", "tuned_db"], *rows])
    print(f"\nwrote   {path}")
    print(json.dumps(results))


def train_three_times(words: list[str], epochs: int) -> dict[str, Curve]:
    """Train a model on half of the songs, and twice on all songs. Return the three curves."""
    with TemporaryDirectory() as folder:
        more = {
            "first": ["data.layout.train=6", f"trainer.max_epochs={2 * epochs}"],
            "scratch": [f"trainer.max_epochs={epochs}"],
            "tuned": [f"trainer.max_epochs={epochs}", f"init={folder}/first"],
        }
        return {name: train([*words, *more[name], f"hydra.run.dir={folder}/{name}"], Path(folder, name)) for name in more}


def train(words: list[str], folder: Path) -> Curve:
    """Call `train.py`, and return the uSDR after each epoch. The run folder must be among the words."""
    status = subprocess.run([sys.executable, str(TRAIN), *words], stdout=subprocess.DEVNULL).returncode
    if status:
        sys.exit(f"error: {' '.join(words)}: ended with status {status}")
    with (folder / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row[COLUMN]) for row in csv.DictReader(file)}


def steps_to(level: float, curve: Curve) -> int | None:
    """Return the number of steps after which a curve first has a uSDR; None if it never has it."""
    return next((steps for steps, value in curve.items() if value >= level), None)


if __name__ == "__main__":
    main()
