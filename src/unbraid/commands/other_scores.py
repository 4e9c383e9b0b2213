"""Read the scores of other models. The command `evaluate` compares the scored model with these models."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from unbraid.data.tracks import few
from unbraid.evaluation.scorer import Scorer
from unbraid.interop.msst.pair import SUFFIXES, msst_pair
from unbraid.runs.errors import InputError
from unbraid.runs.files import distinct_name, refuse_missing
from unbraid.runs.records import own_choices
from unbraid.runs.scores import read_scores
from unbraid.scoring.tables import refuse_mixed

GIVE = "Give a run folder, a file scores.json, or a checkpoint of another tool"
OUTPUT = Path("outputs/scores")  # contains the scores of checkpoints of other tools


def read_others(
    configs: Sequence[DictConfig], scorers: Sequence[Scorer], typed: Sequence[str]
) -> list[dict[str, Mapping[str, Any]]]:  # fmt: skip
    """Read the scores of the models in the key `compare_with` under all protocols of the command.

    Args:
        configs: config of the command for each protocol.
        scorers: scorer of the command for each protocol. The scores must have its protocol and its tracks.
        typed: keys that the user typed on the command line.

    Returns:
        For each protocol, a dictionary from the name of each model to the scores. The name of a model is the last part of its
        path, like the name of the scored run. If this name is used twice, and for a `scores.json` file, it is the whole path.

    Raises:
        InputError: a file does not exist, or a model lacks scores with a protocol or with the tracks of the scorers.
    """
    others: list[dict[str, Mapping[str, Any]]] = [{} for _ in configs]
    missing: dict[Path, list[str]] = {}
    used = {"", None if configs[0].run is None else Path(configs[0].run).name}
    for path in (Path(name).expanduser() for name in configs[0].compare_with):
        is_model = path.is_dir() or path.suffix in (*SUFFIXES, ".yaml", ".yml")
        name = path.name if is_model and path.name not in used else str(path)
        used.add(name)
        for found, scorer, protocol in zip(others, scorers, _protocol_names(configs[0], typed), strict=True):
            scores = _scores_of_model(path, scorer) if is_model else _scores_in_file(path, scorer)
            if scores is None:
                missing.setdefault(path, []).append(protocol)
            else:
                found[name] = scores
    if missing:
        commands = " && ".join(_command(path, protocols, configs[0], typed) for path, protocols in missing.items())
        problem = "this model has not been scored with the same protocol on the same tracks"
        raise InputError(f"compare_with={', '.join(map(str, missing))}", problem, hint=f"Type {commands}")
    return others


def _protocol_names(config: DictConfig, typed: Sequence[str]) -> list[str]:
    first = HydraConfig.get().runtime.choices["protocol"] if "protocol" in typed else config.protocol.name
    return [first, *config.more_protocols]


def _scores_in_file(path: Path, scorer: Scorer) -> Mapping[str, Any]:
    """Read a `scores.json`. InputError is raised if its protocol or its tracks are not those of the scorer."""
    try:
        scores = read_scores(path, whole=True)
    except FileNotFoundError:
        refuse_missing(f"compare_with={path}", path, hint=GIVE)
    refuse_mixed({"this command": scorer.record, str(path): scores["protocol"]})
    if different := {*scores["tracks"]} ^ {track.name for track in scorer.tracks}:
        found = f"tracks with scores of only one model: {few(sorted(different), 5)}"
        problem = "a paired test needs scores of the same tracks"
        raise InputError(f"compare_with={path}", problem, found=found, hint="Score both models on the same tracks")
    return scores


def _scores_of_model(model: Path, scorer: Scorer) -> Mapping[str, Any] | None:
    """Return the scores of a run or of a checkpoint of another tool, with the protocol and the tracks of a scorer.

    The result is None if the model has no such scores.
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
    return None


def _command(model: Path, protocols: Sequence[str], config: DictConfig, typed: Sequence[str]) -> str:
    """Return the command that scores a model under protocols on the data of this command, quoted for the shell."""
    names = ",".join(protocols)
    words = [f"run={model}", f"protocol={names if len(protocols) == 1 else f'[{names}]'}"]
    if not model.is_dir():
        words += ["config=FILE"] if model == Path(msst_pair(str(model), None)[0]) else []
        if "data" not in typed and config.run is not None:
            words.append(f"data={own_choices(Path(config.run)).get('data', 'NAME')}")
        if "data.root" not in typed and config.data.get("root") is not None:
            words.append(f"data.root={config.data.root}")
    words += [
        word for word in HydraConfig.get().overrides.task if word.lstrip("+~").startswith(("data=", "data.", "protocol."))
    ]
    return shlex.join(["python", "scripts/evaluate.py", *words])
