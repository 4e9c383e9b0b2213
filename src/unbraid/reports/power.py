"""Print how many seeds and test songs a sweep (a group of training runs) needs to detect a given difference.

The given difference is the true difference between the scores of two variants (configs). For example, `train.py plan=true
power=0.5` prints the text for a difference of 0.5 dB.
"""

from pathlib import Path

from unbraid.reports.tables import main_measure, tables
from unbraid.reports.variants import runs_of, variants_of
from unbraid.runs.errors import InputError
from unbraid.scoring.power import DEMO, MOST_TRACKS, Deviations, smallest_difference, tracks_needed

SEEDS = (2, 3, 5, 10, 20, 50)


def deviations_of(sweep: str | None) -> dict[str, Deviations]:
    """Read the scores of a sweep. Compute how much the scores vary between songs, between seeds, and for other reasons.

    Args:
        sweep: folder of the sweep; None: use values that were measured on the demo songs.

    Returns:
        Dictionary from a description of the scores (measure, target and sweep) to the standard deviations of the scores.

    Raises:
        InputError: the folder is not a sweep with scores, or the sweep has too few variants, songs or seeds.
    """
    if sweep is None:
        return {"NSDR of vocals in the skip ablation on demo songs": DEMO}
    variants = [variant for variant in variants_of(runs_of(Path(sweep).expanduser(), "power_from")) if variant.runs]
    tracks = [*variants[0].runs[0].scores["tracks"]]
    by_name = {}
    for table in tables(variants):
        if measure := main_measure(table):
            name = f"{measure} of {table.target} in {sweep}"
            deviations = Deviations.of([variant.of_tracks(table.target, measure, tracks) for variant in variants])
            if deviations is None:
                expected = "at least two variants, two seeds of one variant, and two songs that are scored in all runs"
                problem = f"too few scores to estimate standard deviations (measure {measure}, target {table.target})"
                raise InputError(f"power_from={sweep}", problem, expected=expected)
            by_name[name] = deviations
    return by_name


def power_text(difference: float, name: str, deviations: Deviations, seeds: int, songs: int | None) -> str:
    """Describe how many test songs are needed to detect a given difference between two variants.

    The text also states the smallest difference that the planned sweep can detect.

    Args:
        difference: true difference between two variants in dB.
        name: description of the scores from which the standard deviations were estimated.
        deviations: standard deviations of scores: between songs, between seeds, and of the remaining random variation.
        seeds: number of seeds per variant in the planned sweep.
        songs: number of test songs in the planned sweep; None if it is unknown.

    Returns:
        The text, in several lines.
    """
    needed = [tracks_needed(difference, deviations, count) for count in SEEDS]
    cells = [f">{MOST_TRACKS}" if count is None else str(count) for count in needed]
    measured = f"songs {deviations.tracks:.2f}, seeds {deviations.seeds:.2f}, rest {deviations.rest:.2f} dB"
    lines = [
        f"to detect a difference of {difference:g} dB (p < 0.05 with 80 % probability, one comparison)",
        f"  seeds per variant {''.join(f'{count:>7}' for count in SEEDS)}",
        f"  songs needed      {''.join(f'{cell:>7}' for cell in cells)}",
        f"  standard deviations: {measured}; {name}",
    ]
    enough = [count for count, songs_needed in zip(SEEDS, needed, strict=True) if songs_needed is not None]
    if enough != [*SEEDS]:
        advice = f"train at least {enough[0]} seeds per variant" if enough else f"{SEEDS[-1]} seeds do not suffice either"
        lines.append(f"  >{MOST_TRACKS}: {MOST_TRACKS} songs do not suffice; {advice}")
    if deviations == DEMO:
        lines.append("  these are the deviations of a small model on demo songs; power_from=SWEEP uses those of your own sweep")
    if seeds < 2:
        lines.append("  these runs have one seed per variant, which detects no difference between variants; type seed=0,1,2")
    elif songs is not None and songs > 1:
        smallest = smallest_difference(deviations, seeds, songs)
        lines.append(f"  these runs: {seeds} seeds per variant and {songs} test songs detect {smallest:.2f} dB")
    return "\n".join(lines)
