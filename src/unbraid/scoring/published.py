"""Compare the scores of a run with scores that a paper published for the same data, protocol and model.

To compare two systems whose scores of each track are known, use `unbraid.scoring.significance`.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unbraid.runs.errors import InputError


@dataclass(frozen=True)
class PublishedScores:
    """Store the scores of one table of a publication.

    Args:
        name: authors of the publication, conference or journal, and number of the table.
        data: name of the data config (config group `data`) for which the scores are valid.
        protocol: name of the protocol of the scores.
        statistic: published statistic over the tracks, mean or median.
        figures: scores in dB, as nested dictionaries. The keys are the name of the model config, then the target, then the
            measure.

    Raises:
        InputError: a score is NaN or infinite.
    """

    name: str
    data: str
    protocol: str
    statistic: Literal["mean", "median"]
    figures: dict[str, dict[str, dict[str, float]]]

    def __post_init__(self) -> None:
        for model, targets in self.figures.items():
            for target, measures in targets.items():
                for measure, figure in measures.items():
                    if not math.isfinite(figure):
                        problem = f"the published score {model}.{target}.{measure} is not finite"
                        raise InputError("figures", problem, found=figure, expected="a finite score in dB")

    def compare(self, scores: Mapping[str, Any], data: str, model: str, trained_on: Collection[str] = ()) -> dict[str, Any]:
        """Compare the scores of a run with the published scores, for the entry `reference` of `scores.json`.

        Args:
            scores: scores of a run, as returned by `unbraid.evaluation.scorer.Scorer.scores`.
            data: name of the data config of the scored data.
            model: name of the model config of the scored model.
            trained_on: names of the scored tracks that were used to train or validate the run.

        Returns:
            A dictionary that names the publication. If the scores cannot be compared, the key `differs` contains the reason.
            Otherwise, the key `distances` contains three values for each target and measure: `found` (the score of the run),
            `reference` (the published score) and `distance` (`found` minus `reference`). `found` and `distance` are None if
            the score of the run is undefined.
        """
        source = {"name": self.name, "statistic": self.statistic}
        differs = self._difference(scores, data, model)
        if trained_on and not differs:
            differs = f"the run was trained or validated on {len(trained_on)} of the {len(scores['tracks'])} scored tracks"
        if differs:
            return source | {"differs": differs}
        distances = {
            target: {
                measure: _distance(scores["summary"][target].get(measure, {}).get(self.statistic), figure)
                for measure, figure in measures.items()
            }
            for target, measures in self.figures[model].items()
            if target in scores["summary"]
        }
        return source | {"model": model, "distances": distances}

    def _difference(self, scores: Mapping[str, Any], data: str, model: str) -> str | None:
        for key, value in {"data": data, "protocol": scores["protocol"]["name"]}.items():
            if value != getattr(self, key):
                return f"reference is for {key}={getattr(self, key)}, found {key}={value}"
        if model not in self.figures:
            return f"reference is for model={' or '.join(self.figures)}, found model={model}"
        if not {*self.figures[model]} & {*scores["summary"]}:
            return f"reference is for {' + '.join(self.figures[model])}, found {' + '.join(scores['summary'])}"
        return None


def _distance(found: float | None, figure: float) -> dict[str, float | None]:
    return {"found": found, "reference": figure, "distance": None if found is None else found - figure}


def comparison_text(compared: Mapping[str, Any]) -> str:
    """Format the comparison of a run with published scores as text for the terminal.

    Args:
        compared: result of `PublishedScores.compare`.

    Returns:
        One line for each target, or one line with the reason why the scores cannot be compared.
    """
    if "differs" in compared:
        return f"no distance to reference ({compared['name']}): {compared['differs']}"
    return "\n".join(
        f"distance to reference ({compared['name']}): {target} "
        + ", ".join(f"{measure} {_distance_text(**numbers)}" for measure, numbers in measures.items())
        for target, measures in compared["distances"].items()
    )


def _distance_text(found: float | None, reference: float, distance: float | None) -> str:
    if found is None:
        return f"undefined in every track, reference {reference:.2f} dB"
    return f"{found:.2f} - {reference:.2f} = {distance:+.2f} dB"
