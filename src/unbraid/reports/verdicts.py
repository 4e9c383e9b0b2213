"""Compare each arm with the baseline, in figures and in a sentence.

The words `hardly luck` need p < 0.05 over songs and seeds, after Holm's correction. With one seed of either arm the sentence is
about the trained networks only and never uses these words: an architecture cannot be told from the luck of its seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from unbraid.reports.variants import Variant
from unbraid.runs.errors import InputError, unknown
from unbraid.scoring.significance import ALPHA, Difference, difference, holm


@dataclass(frozen=True)
class Verdict:
    """Hold the comparison of one arm with the baseline for one target and measure.

    Args:
        variant: name of the arm.
        found: difference to the baseline; None if no track is defined in both.
        p: p-value after Holm's correction for the number of arms; None if there is none.
        words: the comparison as a sentence.
    """

    variant: str
    found: Difference | None
    p: float | None
    words: str


def baseline_of(variants: Sequence[Variant], asked: str | None) -> Variant:
    """The arm that others are compared with: the first, or the one that was asked for.

    Raises:
        InputError: there is no arm of this name, or it has no scores.
    """
    if asked is None:
        return next(variant for variant in variants if variant.runs)
    scored = {variant.name: variant for variant in variants if variant.runs}
    if asked not in scored:
        if any(variant.name == asked for variant in variants):
            raise InputError(f"baseline={asked}: has no scores to compare others with")
        raise InputError(f"baseline={asked}: there is no such arm; {unknown(asked, scored)}")
    return scored[asked]


def verdicts(variants: Sequence[Variant], baseline: Variant, target: str, measure: str) -> list[Verdict]:
    """Compare all arms that have scores with the baseline."""
    tracks = [*baseline.runs[0].scores["tracks"]]
    own = baseline.of_tracks(target, measure, tracks)
    others = [variant for variant in variants if variant.runs and variant is not baseline]
    found = [difference(variant.of_tracks(target, measure, tracks), own) for variant in others]
    corrected = iter(holm([one.p for one in found if one is not None and one.p is not None]))
    verdicts = []
    for variant, one in zip(others, found, strict=True):
        p = None if one is None or one.p is None else next(corrected)
        words = _sentence(variant, baseline, f"{target} {measure}", one, p, len(others))
        verdicts.append(Verdict(variant.name, one, p, words))
    return verdicts


def _sentence(variant: Variant, baseline: Variant, what: str, found: Difference | None, p: float | None, variants: int) -> str:
    if found is None:
        return f"{variant.name}: {what} is defined in no song of both this arm and {baseline.name}."
    if not found.above and not found.below:
        return f"{variant.name} equals {baseline.name} in {what} of every song."
    side, count = ("above", found.above) if found.mean >= 0 else ("below", found.below)
    method = f"{variant.name} is {abs(found.mean):.2f} dB {side} {baseline.name} in {what}"
    if p is None:
        return f"{method}: one song cannot tell it from luck."
    return (
        f"{method} (95 % interval over {'songs and seeds' if found.over_seeds else 'songs only'} {found.low:+.2f} to "
        f"{found.high:+.2f} dB; {side} in {count} of {found.tracks} songs; {_p_text(p)}"
        f"{' after Holm' if variants > 1 else ''}): "
        f"{_judgement(found, p, variant, baseline)}"
    )


def _p_text(p: float) -> str:
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def _judgement(found: Difference, p: float, variant: Variant, baseline: Variant) -> str:
    if found.over_seeds:
        return "hardly luck." if p < ALPHA else "it may be luck."
    single = " and ".join(one.name for one in (variant, baseline) if len(one.runs) == 1)
    explains = "hardly explains it" if p < ALPHA else "may explain it"
    return f"the choice of songs {explains}. One seed of {single}: other seeds may give another difference."
