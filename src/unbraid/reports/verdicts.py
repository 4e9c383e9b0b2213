"""Compare the scores of each variant with the scores of the baseline, a chosen variant.

A variant is a group of runs that differ only in the seed. The result of a comparison is a verdict: numbers and a sentence.

The sentence ends with the words `hardly luck` only if p < 0.05. The p-value accounts for the choice of songs and seeds, and for
the number of comparisons (Holm's correction). If the variant or the baseline has only one seed, the sentence never ends with
these words: the effect of the config cannot be separated from the effect of the seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from unbraid.reports.variants import Variant
from unbraid.runs.errors import InputError, unknown
from unbraid.scoring.significance import ALPHA, Difference, difference, holm


@dataclass(frozen=True)
class Verdict:
    """Store the comparison of one variant with the baseline, for one target and measure.

    Args:
        variant: name of the variant.
        difference: score of the variant minus score of the baseline, as mean over the songs with a 95 % interval. None: no
            song has a score for the variant and a score for the baseline.
        p: p-value after Holm's correction for the number of variants; None if the p-value cannot be computed.
        words: sentence that describes the result of the comparison.
    """

    variant: str
    difference: Difference | None
    p: float | None
    words: str


def baseline_of(variants: Sequence[Variant], name: str | None) -> Variant:
    """Find the baseline, the variant with which all other variants are compared.

    Args:
        variants: all variants of the report, also those without scores.
        name: name of the baseline; None: the first variant with scores.

    Returns:
        The baseline.

    Raises:
        InputError: no variant has this name, or the variant with this name lacks scores.
    """
    if name is None:
        return next(variant for variant in variants if variant.runs)
    scored = {variant.name: variant for variant in variants if variant.runs}
    if name not in scored:
        if any(variant.name == name for variant in variants):
            raise InputError(
                f"baseline={name}", "this variant lacks scores, so it cannot be the baseline", hint="Choose another baseline"
            )
        raise InputError(f"baseline={name}", "no variant of the report has this name", hint=unknown(name, scored))
    return scored[name]


def verdicts(variants: Sequence[Variant], baseline: Variant, target: str, measure: str) -> list[Verdict]:
    """Compare each variant with the baseline, by the scores of one target and measure.

    Args:
        variants: all variants of the report, also those without scores.
        baseline: variant with which all other variants are compared.
        target: name of a source, such as `vocals`.
        measure: name of a measure, such as `SDR`.

    Returns:
        One verdict (result of the comparison) for each variant with scores. The baseline gets no verdict.
    """
    tracks = [*baseline.runs[0].scores["tracks"]]
    baseline_scores = baseline.of_tracks(target, measure, tracks)
    others = [variant for variant in variants if variant.runs and variant is not baseline]
    compared = [difference(variant.of_tracks(target, measure, tracks), baseline_scores) for variant in others]
    corrected = iter(holm([result.p for result in compared if result is not None and result.p is not None]))
    results = []
    for variant, result in zip(others, compared, strict=True):
        p = None if result is None or result.p is None else next(corrected)
        words = _sentence(variant, baseline, f"{target} {measure}", result, p, len(others))
        results.append(Verdict(variant.name, result, p, words))
    return results


def winner(variants: Sequence[Variant], target: str, measure: str) -> str:
    """Return the name of the variant that is better than every other variant, by the comparison of `verdicts`.

    Args:
        variants: variants with scores.
        target: name of a source, such as `vocals`.
        measure: name of a measure, such as `SDR`.

    Returns:
        Name of the variant with the highest score. It is empty if another variant is not worse in the mean over songs, if p is
        0.05 or more, or if a variant has only one seed.
    """
    scored = [(spread.mean, variant) for variant in variants if (spread := variant.summary(target, measure))]
    if len(scored) < 2:
        return ""
    _, best = max(scored, key=lambda pair: pair[0])
    others = verdicts([variant for _, variant in scored], best, target, measure)
    return best.name if all(_is_worse(verdict) for verdict in others) else ""


def _is_worse(verdict: Verdict) -> bool:
    result, p = verdict.difference, verdict.p
    return result is not None and p is not None and result.over_seeds and result.mean < 0 and p < ALPHA


def _sentence(variant: Variant, baseline: Variant, score: str, result: Difference | None, p: float | None, count: int) -> str:
    if result is None:
        return f"{variant.name}: no song has a defined {score} for both this variant and {baseline.name}."
    if not result.above and not result.below:
        return f"{variant.name} equals {baseline.name} in {score} of every song."
    side, songs = ("above", result.above) if result.mean >= 0 else ("below", result.below)
    statement = f"{variant.name} is {abs(result.mean):.2f} dB {side} {baseline.name} in {score}"
    if p is None:
        return f"{statement}: one song is not enough to exclude luck."
    p_text = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
    interval = f"95 % interval over {'songs and seeds' if result.over_seeds else 'songs only'}"
    return (
        f"{statement} (mean difference over songs; {interval} {result.low:+.2f} to {result.high:+.2f} dB; {side} in {songs} of "
        f"{result.tracks} songs; {p_text}{' after Holm' if count > 1 else ''}): {_judgement(result, p, variant, baseline)}"
    )


def _judgement(result: Difference, p: float, variant: Variant, baseline: Variant) -> str:
    if result.over_seeds:
        return "hardly luck." if p < ALPHA else "it may be luck."
    single = " and ".join(compared.name for compared in (variant, baseline) if len(compared.runs) == 1)
    explains = "hardly explains it" if p < ALPHA else "may explain it"
    return f"the choice of songs {explains}. One seed of {single}: other seeds may give another difference."
