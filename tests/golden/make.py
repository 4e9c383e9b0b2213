"""Record the behaviour of whole commands, to check that a change of the code does not change it.

`python -m tests.golden.make` writes `values.json` and `configs/` next to this file; `git diff` shows each number that changed.
On another processor the last digits differ: `tests/golden/test_golden.py` compares with a tolerance.
"""

import contextlib
import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from omegaconf import OmegaConf

from tests.conftest import load_script
from tests.data import twins
from tests.test_configs import CONF, compose
from unbraid.runs.config import build

HERE = Path(__file__).parent
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml") if not path.stem.endswith("_large"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
PROTOCOLS = sorted(path.stem for path in (CONF / "protocol").glob("*.yaml"))
TRAINING = [
    "trainer=cpu", "trainer.max_steps=2", "data.batch_size=2", "data.chunks_per_track=1", "evaluation.clips=0",
]  # fmt: skip
SONGS = [f"data.layout.{key}" for key in ("train=4", "valid=1", "test=1", "seconds=12")]
SMALLER = {
    "roformer": ["data.batch_size=1", "model.separator.net.depth=1", "model.separator.chunk_seconds=2"]
}  # to use less memory
SMALLER |= {
    "ddsp": ["data=demo_leads", "pitch=crepe_tiny"],
    "hdemucs": ["data.batch_size=1"],
    "conv_tasnet": ["data.batch_size=1"],
    "htdemucs_small": [],
    "htdemucs": ["data.batch_size=1", "model.separator.net.channels=16", "model.separator.chunk_seconds=3"],
    "scnet_small": [],
    "scnet": ["data.batch_size=1", "model.separator.net.channels=[8,16]", "model.separator.chunk_seconds=2"],
    "mdx23c_small": [],
    "mdx23c": ["data.batch_size=1", "model.separator.net.channels=8", "model.separator.net.growth=4"],
}
LAYOUTS: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "ikala": (twins.ikala, []),
    "mir1k": (twins.mir1k, []),
    "medleydb": (twins.medleydb, []),
    "moisesdb": (twins.moisesdb, []),
    "slakh": (twins.slakh, ["targets=drums"]),
    "dnr": (twins.dnr, ["targets=speech"]),
    "urmp": (twins.urmp, ["targets=violin"]),
    "msst": (twins.msst, []),
    "stems": (twins.stems, ["targets=voice"]),
    "pairs": (twins.pairs, []),
    "singles": (twins.singles, ["targets=voice"]),
}


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """Change to an empty folder that is removed at the end."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield Path(folder)


def run(script: str, *arguments: str) -> str:
    """Run a script in this process and return its output.

    Raises:
        RuntimeError: the script failed.
    """
    sys.argv = [script, *arguments]
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            load_script(script)()
    except SystemExit as error:
        if error.code:
            raise RuntimeError(f"{script} {' '.join(arguments)}: {out.getvalue()}") from error
    return out.getvalue()


def summary(values: np.ndarray) -> list[float]:
    """Return the norm of an array and its product with fixed random numbers, which together change if any value does."""
    flat = values.astype(np.float64).ravel()
    direction = np.random.default_rng(0).standard_normal(flat.size)
    return [float(np.sqrt(flat @ flat)), float(flat @ direction)]


def train(model: str, *overrides: str) -> Path:
    """Train a model for two steps in the working folder and return the folder of its run."""
    smaller = next((words for name, words in SMALLER.items() if name in model), [])
    run("train.py", f"model={model}", *TRAINING, *SONGS, *smaller, f"hydra.run.dir={model}", *overrides)
    return Path(model)


def after_two_steps(model: str) -> dict[str, Any]:
    """Return losses, weights and scores of a model after two steps of training."""
    with working_folder():
        folder = train(model)
        weights = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
        with (folder / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        scores = json.loads((folder / "scores.json").read_text())
        losses = [float(value) for row in rows for name, value in row.items() if name.endswith("/loss") and value]
        tensors = [weights[name].float().numpy().ravel() for name in sorted(weights)]
        return {"losses": losses, "weights": summary(np.concatenate(tensors)), "scores": numbers(scores["summary"])}


def numbers(tree: Any, name: str = "") -> dict[str, float]:
    """Return every number of nested dictionaries by its path."""
    if isinstance(tree, dict):
        return {path: value for key, item in tree.items() for path, value in numbers(item, f"{name}/{key}").items()}
    return {name.lstrip("/"): float(tree)} if isinstance(tree, (int, float)) else {}


def first_batch(layout: str) -> list[float]:
    """Return the summary of the first training batch of a small data set in a layout."""
    make, overrides = LAYOUTS[layout]
    with working_folder() as folder:
        root = make(folder / "root")
        config = compose(
            f"data={layout}", f"data.root={root}", f"data.cache_dir={folder / 'cache'}", "model.separator.sample_rate=8000",
            "data.sample_rate=8000", "data.chunk_seconds=0.04", "data.batch_size=3", "data.chunks_per_track=2", *overrides,
        )  # fmt: skip
        data = build(config.data)
        data.prepare_data()
        data.setup("fit")
        batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())))
        return summary(batch.sources.float().numpy()) + summary(batch.mixture.float().numpy())


def scores_by_protocol() -> dict[str, dict[str, float]]:
    """Return the scores of one song under each protocol, of a U-Net after two steps."""
    with working_folder():
        folder = train("unet_small", "targets=vocals_accompaniment")
        scored = {}
        for protocol in PROTOCOLS:
            run("scripts/evaluate.py", f"run={folder}", f"protocol={protocol}")
            (path,) = folder.glob(f"scores/{protocol}/scores.json")
            scores = json.loads(path.read_text())
            scored[protocol] = numbers({key: scores[key] for key in ("summary", "mixture", "oracle")})
        return scored


def resolved(experiment: str) -> str:
    """Return the config of an experiment as `--cfg job --resolve` prints it, without the paths of this machine."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", [f"experiment={experiment}", "name=golden"])
    if OmegaConf.is_missing(config.data, "root"):
        config.data.root = "data"
    if "cache_dir" in config.data:
        config.data.cache_dir = "cache"
    return OmegaConf.to_yaml(config, resolve=True)


def main() -> None:
    """Write all golden files, or only the values of the models in the arguments."""
    named = sys.argv[1:]
    torch.set_num_threads(1)  # the number of threads changes the order of sums and the last digits
    os.environ["UNBRAID_CACHE"] = tempfile.mkdtemp()
    path = HERE / "values.json"
    values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"models": {}}
    for model in named or MODELS:
        values["models"][model] = after_two_steps(model)
        path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
        print(model, values["models"][model]["losses"], flush=True)
    if not named:
        values["batches"] = {layout: first_batch(layout) for layout in LAYOUTS}
        values["protocols"] = scores_by_protocol()
        (HERE / "configs").mkdir(exist_ok=True)
        for experiment in EXPERIMENTS:
            (HERE / f"configs/{experiment}.yaml").write_text(resolved(experiment))
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
