"""Compare the scores of a model with the scores of other models by a paired test. All models have the same test tracks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unbraid.reports.tables import main_measure, tables
from unbraid.reports.variants import RunScores, Variant
from unbraid.reports.verdicts import verdicts
from unbraid.runs.errors import InputError


def compared(label: str, scores: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Describe in sentences how the scores of a model differ from the scores of other models.

    The compared score is the main measure of each target, see `main_measure`.

    Args:
        label: name of the model.
        scores: content of the `scores.json` of the model.
        others: dictionary from the name of each other model to the content of its `scores.json`. All models were scored under
            the same protocol.

    Returns:
        One sentence for each pair of a target and another model.

    Raises:
        InputError: two models were scored on different tracks.
    """
    sentences = []
    for name, other in others.items():
        if missing := {*scores["tracks"]} ^ {*other["tracks"]}:
            problem = "a paired test needs scores of the same tracks"
            found = f"tracks with scores of only one model: {', '.join(sorted(missing)[:5])}"
            raise InputError(f"compare_with={name}", problem, found=found, hint="Score both models on the same tracks")
        ours, theirs = (Variant(title, [_run(content)]) for title, content in ((label, scores), (name, other)))
        for table in tables([theirs, ours]):
            if (measure := main_measure(table)) and table.target in scores["summary"]:
                sentences += [verdict.words for verdict in verdicts([theirs, ours], theirs, table.target, measure)]
    return sentences


def _run(scores: Mapping[str, Any]) -> RunScores:
    return RunScores(Path(), (), "", "", {}, None, scores)
