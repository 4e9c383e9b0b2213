"""Is it luck: each arm beside the baseline, track by track, in figures and in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from unbraid.errors import InputError, unknown
from unbraid.reporting.arms import Arm
from unbraid.scoring.significance import Difference, difference, holm, smallest_p

ALPHA = 0.05


@dataclass(frozen=True)
class Verdict:
    """On one arm, target and measure.

    Args:
        arm: its name.
        found: the difference to the baseline; None where no track is defined in both.
        p: of the test, after Holm's correction for the number of arms.
        words: all of it in a sentence.
    """

    arm: str
    found: Difference | None
    p: float | None
    words: str


def baseline_of(arms: Sequence[Arm], asked: str | None) -> Arm:
    """The arm that others are compared with: the first, or the one that was asked for.

    Raises:
        InputError: there is no arm of this name, or it has no scores.
    """
    if asked is None:
        return next(arm for arm in arms if arm.runs)
    scored = {arm.name: arm for arm in arms if arm.runs}
    if asked not in scored:
        if any(arm.name == asked for arm in arms):
            raise InputError(f"baseline={asked}: has no scores to compare others with")
        raise InputError(f"baseline={asked}: there is no such arm; {unknown(asked, scored)}")
    return scored[asked]


def verdicts(arms: Sequence[Arm], baseline: Arm, target: str, measure: str) -> list[Verdict]:
    """On all arms with scores but the baseline."""
    tracks = [*baseline.runs[0].scores["tracks"]]
    own = baseline.of_tracks(target, measure, tracks)
    others = [arm for arm in arms if arm.runs and arm is not baseline]
    found = [difference(arm.of_tracks(target, measure, tracks), own) for arm in others]
    corrected = iter(holm([one.p for one in found if one is not None]))
    verdicts = []
    for arm, one in zip(others, found, strict=True):
        p = None if one is None else next(corrected)
        words = _said(arm, baseline, f"{target} {measure}", one, p, len(others))
        verdicts.append(Verdict(arm.name, one, p, words))
    return verdicts


def _said(arm: Arm, baseline: Arm, what: str, found: Difference | None, p: float | None, arms: int) -> str:
    if found is None or p is None:
        return f"{arm.name}: {what} is defined in no song of both this arm and {baseline.name}."
    if not found.above and not found.below:
        return f"{arm.name} equals {baseline.name} in {what} of every song."
    side, count = ("above", found.above) if found.mean >= 0 else ("below", found.below)
    songs = f"{count} of {found.tracks} song{'s' * (found.tracks != 1)}"
    return (
        f"{arm.name} is {abs(found.mean):.2f} dB {side} {baseline.name} in {what} (95 % interval {found.low:+.2f} to "
        f"{found.high:+.2f} dB; {side} in {songs}; p = {_said_p(p)}{' after Holm' if arms > 1 else ''}): "
        f"{_judged(found, p, arms)}{_seeds(arm, baseline)}"
    )


def _said_p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def _judged(found: Difference, p: float, arms: int) -> str:
    if smallest_p(found.tracks) * arms >= ALPHA and p >= ALPHA:
        return "so few songs cannot tell it from luck."
    beyond = found.low > 0 or found.high < 0
    if p < ALPHA and beyond:
        return "hardly luck."
    if p < ALPHA:
        return "songs agree, and other seeds might not; it may be luck."
    return "it may be luck."


def _seeds(arm: Arm, baseline: Arm) -> str:
    """What the seeds leave open."""
    if min(len(arm.runs), len(baseline.runs)) > 1:
        return ""
    alone = " and ".join(one.name for one in (arm, baseline) if len(one.runs) == 1)
    return f" One seed of {alone}: how far seeds lie apart is not known."
