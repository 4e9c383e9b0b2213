"""Format the scores of a separator as text: table of scores, tracks with undefined scores, and warnings."""

from collections.abc import Mapping
from typing import Any

from unbraid.evaluation.methods import BASELINES, MIXED, SILENCE
from unbraid.scoring.tables import Summary, refuse_mixed, table

NO_IMPROVEMENT = 0.5  # dB; a smaller SI-SDRi is reported, because the estimate is almost the mixture


def report(scores: Mapping[str, Any], label: str, beside: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Format a table of scores, with one row each for a model, other models, the unchanged mixture and oracles.

    Scores of different protocols raise InputError.

    Args:
        scores: scores of the model, the result of `Scorer.scores`.
        label: label of the model's row.
        beside: dictionary from the label of a row to the scores of another model, which are shown in this row.

    Returns:
        The table, followed by lines about tracks with undefined scores and lines with warnings.
    """
    others = dict(beside or {})
    refuse_mixed({label: scores["protocol"]} | {name: other["protocol"] for name, other in others.items()})
    rows: dict[str, Summary] = {label: scores["summary"]} | {name: other["summary"] for name, other in others.items()}
    models = [*rows]
    means = {name: other.get("mean_over_targets", {}) for name, other in {label: scores, **others}.items()}
    rows |= {BASELINES[MIXED]: scores["mixture"]}
    if scores.get(SILENCE):
        rows |= {BASELINES[SILENCE]: scores[SILENCE]}
    rows |= {_oracle_label(name, scores["settings"][name]): oracle for name, oracle in scores["oracle"].items()}
    lines = [table(rows, scores["protocol"], len(scores["tracks"]), models, means)]
    for track, sources in scores["silent"].items():
        lines.append(f"undefined: {track}, silent reference of {' and '.join(sources)}")
    for track, sources in scores.get("unknown", {}).items():
        lines.append(f"not scored: {track}, unknown reference of {' and '.join(sources)}")
    return "\n".join([*lines, *_warnings(scores, label)])


def _warnings(scores: Mapping[str, Any], label: str) -> list[str]:
    """Return one line of warning for each target with silent estimates, or with estimates almost equal to the mixture."""
    lines, statistic, tracks = [], scores["protocol"]["tracks"], len(scores["tracks"])
    for target, measures in scores["summary"].items():
        if silent := sum(target in names for names in scores.get("silent_estimates", {}).values()):
            lines.append(f"warning: {label}: the estimate of {target} is silent in {silent} of {tracks} tracks")
        improvement = measures.get("SI-SDRi", {}).get(statistic)
        if improvement is not None and improvement < NO_IMPROVEMENT:
            lines.append(f"warning: {label}: SI-SDRi of {target} is {improvement:.2f} dB; the mixture itself has 0 dB")
    return lines


def _oracle_label(name: str, settings: Mapping[str, Any]) -> str:
    """Return the label of an oracle's row in the table of scores, including the STFT options of the oracle."""
    return f"{BASELINES.get(name, name)}, STFT {settings['n_fft']}/{settings['hop_length']}"
