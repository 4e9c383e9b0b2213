"""Read the scores of other models. The command `evaluate` compares the scored model with these models."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from unbraid.evaluation.scorer import Scorer
from unbraid.interop.msst.pair import SUFFIXES, msst_pair
from unbraid.runs.errors import InputError
from unbraid.runs.files import distinct_name, refuse_missing
from unbraid.runs.records import own_choices
from unbraid.runs.scores import read_scores
from unbraid.scoring.tables import refuse_mixed

GIVE = "Give a run folder, a file scores.json, or a checkpoint of another tool"
OUTPUT = Path("outputs/scores")  # contains the scores of checkpoints of other tools


def read_others(config: DictConfig, scorer: Scorer, typed: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Read the scores of the models in the key `compare_with`.

    Args:
        config: config of the command.
        scorer: scorer of the command. The scores of a run folder, or of a checkpoint of another tool, must have the protocol
            and the tracks of the scorer.
        typed: keys that the user typed on the command line.

    Returns:
        A dictionary from the name of each model to the scores. The name of a model is the last part of its path, like the name
        of the scored run. If this name is used twice, and for a `scores.json` file, it is the whole path.
        A missing file raises InputError, as does a model without scores with the protocol and the tracks of the scorer.
    """
    scores: dict[str, Mapping[str, Any]] = {}
    run = None if config.run is None else Path(config.run).name
    for path in (Path(name).expanduser() for name in config.compare_with):
        name = path.name if path.name not in ("", run, *scores) else str(path)
        if path.is_dir() or path.suffix in (*SUFFIXES, ".yaml", ".yml"):
            scores[name] = _scores_of_model(path, config, scorer, typed)
            continue
        try:
            scores[str(path)] = read_scores(path, whole=True)
        except FileNotFoundError:
            refuse_missing(f"compare_with={path}", path, hint=GIVE)
    return scores


def _scores_of_model(model: Path, config: DictConfig, scorer: Scorer, typed: Sequence[str]) -> Mapping[str, Any]:
    """Return the scores of a run or of a checkpoint of another tool, with the protocol and the tracks of a scorer.

    Missing scores raise InputError.
    """
    if not model.exists():
        refuse_missing(f"compare_with={model}", model, hint=GIVE)
    if model.is_dir():
        checkpoint, places = None, {model / "scores.json", *(model / "scores").glob("*/scores.json")}
    else:
        checkpoint = Path(msst_pair(str(model), None)[0])
        places = {path for path in OUTPUT.glob("*/scores.json") if path.parent.name.endswith(f"-{distinct_name(checkpoint)}")}
    for path in sorted(places):
        try:
            found = read_scores(path, whole=True)
            refuse_mixed({"this": scorer.record, "other": found["protocol"]})
        except (OSError, InputError):  # scores of another protocol
            continue
        if checkpoint is not None and Path(str(found.get("checkpoint"))).resolve() != checkpoint.resolve():
            continue
        if {*found.get("tracks", ())} == {track.name for track in scorer.tracks}:
            return found
    words = [f"run={model}", f"protocol={config.protocol.name}"]
    if checkpoint == model:
        words.insert(1, "config=FILE")
    if "data" in typed or checkpoint is not None:
        data = HydraConfig.get().runtime.choices["data"] if "data" in typed else own_choices(Path(config.run)).get("data", "…")
        words += [f"data={data}", f"data.root={config.data.root}"]
    command = " ".join(map(shlex.quote, ["python", "scripts/evaluate.py", *words]))
    problem = "this model has not been scored with the same protocol on the same tracks"
    raise InputError(f"compare_with={model}", problem, hint=f"Type {command}")
