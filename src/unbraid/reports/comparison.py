"""Compare the scores of a model with the scores of other models by a paired test. All models have the same test tracks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unbraid.reports.tables import main_measure, tables
from unbraid.reports.variants import RunScores, Variant
from unbraid.reports.verdicts import verdicts


def compared(label: str, scores: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Describe in sentences how the scores of other models differ from the scores of a model.

    The compared score is the main measure of each target, see `main_measure`. For several other models, the p-values are
    corrected with Holm's method.

    Args:
        label: name of the model.
        scores: content of the `scores.json` of the model.
        others: dictionary from the name of each other model to the content of its `scores.json`. All models were scored under
            the same protocol on the same tracks.

    Returns:
        One sentence for each pair of a target and another model.
    """
    if not others:
        return []
    ours, *theirs = (Variant(name, [_run(content)]) for name, content in ((label, scores), *others.items()))
    measures = {table.target: main_measure(table) for table in tables([ours, *theirs])}
    results = [verdicts([ours, *theirs], ours, target, measure) for target, measure in measures.items() if measure]
    return [verdict.words for of_target in results for verdict in of_target]


def _run(scores: Mapping[str, Any]) -> RunScores:
    return RunScores(Path(), (), "", "", {}, None, scores)
