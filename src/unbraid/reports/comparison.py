"""Compare the scores of one trained model with those of another one on the same tracks, by a paired test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unbraid.reports.tables import main_measure, tables
from unbraid.reports.variants import RunScores, Variant
from unbraid.reports.verdicts import verdicts
from unbraid.runs.errors import InputError


def compared(label: str, scores: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Compare a model with other models. For each target, the first measure of the reports is compared.

    Args:
        label: name of the model.
        scores: content of the `scores.json` of the model.
        others: contents of the `scores.json` of the other models under the same protocol, by the name of the model.

    Returns:
        A sentence for each target and other model.

    Raises:
        InputError: two models were scored on different tracks.
    """
    sentences = []
    for name, other in others.items():
        if missing := {*scores["tracks"]} ^ {*other["tracks"]}:
            problem = "the two models were scored on different tracks, so their scores cannot be compared"
            raise InputError(
                f"compare_with={name}", problem, found=f"scores of only one model for {', '.join(sorted(missing)[:5])}"
            )
        ours, theirs = (Variant(title, [_run(content)]) for title, content in ((label, scores), (name, other)))
        for table in tables([theirs, ours]):
            if (measure := main_measure(table)) and table.target in scores["summary"]:
                sentences += [verdict.words for verdict in verdicts([theirs, ours], theirs, table.target, measure)]
    return sentences


def _run(scores: Mapping[str, Any]) -> RunScores:
    return RunScores(Path(), (), "", "", {}, None, scores)
