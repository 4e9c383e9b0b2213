"""Published figures, and how far the scores of a run are from them, where both are of the same data under the same protocol."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unbraid.runs.errors import InputError


@dataclass(frozen=True)
class PublishedScores:
    """The figures of one published table.

    Args:
        name: the source of the figures: authors, where, which table.
        data: the choice of data that they hold for.
        protocol: the name of the protocol that they were found under.
        statistic: over the tracks, which they are.
        figures: in dB: the choice of model, the target, the measure, its figure.

    Raises:
        InputError: a figure is not a finite number.
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
                        raise InputError(f"figures: {model}.{target}.{measure} must be a number of dB, found {figure}")

    def compare(self, scores: Mapping[str, Any], data: str, model: str, trained_on: Collection[str] = ()) -> dict[str, Any]:
        """What `scores.json` holds of the reference.

        Args:
            scores: of a run, as `unbraid.evaluation.scorer.Scorer.scores` gives them.
            data: the choice of data that was scored.
            model: the choice of model that was scored.
            trained_on: names of scored tracks that the run was trained or validated on; the reference has none.

        Returns:
            `distances`, for each target that was scored and each measure: what was `found`, the `reference` and their
            `distance`, found and distance None where the score is undefined; or, where the two do not compare, `differs`: why.
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
        found = {"data": data, "protocol": scores["protocol"]["name"]}
        for key, value in found.items():
            if value != getattr(self, key):
                return f"reference is for {key}={getattr(self, key)}, found {key}={value}"
        if model not in self.figures:
            return f"reference is for model={' or '.join(self.figures)}, found model={model}"
        if not {*self.figures[model]} & {*scores["summary"]}:
            return f"reference is of {' + '.join(self.figures[model])}, found {' + '.join(scores['summary'])}"
        return None


def _distance(found: float | None, figure: float) -> dict[str, float | None]:
    return {"found": found, "reference": figure, "distance": None if found is None else found - figure}


def comparison_text(compared: Mapping[str, Any]) -> str:
    """Return the result of `PublishedScores.compare` as a line for each target, or the reason why there is no distance."""
    if "differs" in compared:
        return f"no distance to reference ({compared['name']}): {compared['differs']}"
    return "\n".join(
        f"distance to reference ({compared['name']}): {target} "
        + ", ".join(f"{measure} {_said_distance(**numbers)}" for measure, numbers in measures.items())
        for target, measures in compared["distances"].items()
    )


def _said_distance(found: float | None, reference: float, distance: float | None) -> str:
    if found is None:
        return f"undefined in every track, reference {reference:.2f} dB"
    return f"{found:.2f} - {reference:.2f} = {distance:+.2f} dB"
