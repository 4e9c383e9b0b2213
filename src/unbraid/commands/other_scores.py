"""Read the scores of other models. The command `evaluate` compares the scored model with these models."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from unbraid.evaluation.scorer import Scorer
from unbraid.runs.errors import InputError
from unbraid.runs.scores import read_scores
from unbraid.scoring.tables import refuse_mixed

GIVE = "Give a run folder or a file scores.json"


def read_others(config: DictConfig, scorer: Scorer, typed: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Read the scores of the models in the key `compare_with`.

    Args:
        config: config of the command.
        scorer: scorer of the command. The scores in a run folder must have the protocol and the tracks of the scorer.
        typed: keys that the user typed on the command line.

    Returns:
        A dictionary from the path of each run folder or `scores.json` file to the scores.

    Raises:
        InputError: a file does not exist, or a run folder lacks scores with the protocol and the tracks of the scorer.
    """
    scores: dict[str, Mapping[str, Any]] = {}
    for path in map(Path, config.compare_with):
        if path.is_dir():
            scores[str(path)] = _scores_of_run(path, config, scorer, typed)
            continue
        try:
            scores[str(path)] = read_scores(path, whole=True)
        except FileNotFoundError as error:
            raise InputError(f"compare_with={path}", "this file does not exist", hint=GIVE) from error
    return scores


def _scores_of_run(run: Path, config: DictConfig, scorer: Scorer, typed: Sequence[str]) -> Mapping[str, Any]:
    """Return the scores of a run with the protocol and the tracks of a scorer. Missing scores raise InputError."""
    for path in sorted({run / "scores.json", *(run / "scores").glob("*/scores.json")}):
        try:
            found = read_scores(path, whole=True)
            refuse_mixed({"this": scorer.record, "other": found["protocol"]})
        except (OSError, InputError):  # scores of another protocol
            continue
        if {*found.get("tracks", ())} == {track.name for track in scorer.tracks}:
            return found
    words = [f"run={run}", f"protocol={config.protocol.name}"]
    if "data" in typed:
        words += [f"data={HydraConfig.get().runtime.choices['data']}", f"data.root={config.data.root}"]
    command = " ".join(map(shlex.quote, ["python", "scripts/evaluate.py", *words]))
    problem = "this run has not been scored with the same protocol on the same tracks"
    raise InputError(f"compare_with={run}", problem, hint=f"Type {command}")
