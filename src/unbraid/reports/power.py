"""Print how many seeds and songs the verdicts of a report need for a difference: `plan=true power=0.5`."""

from pathlib import Path

from unbraid.reports.tables import main_measure, tables
from unbraid.reports.variants import runs_of, variants_of
from unbraid.runs.errors import InputError
from unbraid.scoring.power import DEMO, MOST_TRACKS, Deviations, smallest_difference, tracks_needed

SEEDS = (2, 3, 5, 10, 20, 50)


def deviations_of(sweep: str | None) -> dict[str, Deviations]:
    """Estimate standard deviations from the scores of a sweep.

    Args:
        sweep: folder of the sweep; None for those of the demo songs.

    Returns:
        Deviations by the name of what they were measured on.

    Raises:
        InputError: the folder is not a sweep with scores, or has too few arms, songs or seeds.
    """
    if sweep is None:
        return {"NSDR of vocals in the skip ablation on demo songs": DEMO}
    variants = [variant for variant in variants_of(runs_of(Path(sweep).expanduser(), "power_from")) if variant.runs]
    tracks = [*variants[0].runs[0].scores["tracks"]]
    found = {}
    for table in tables(variants):
        if measure := main_measure(table):
            name = f"{measure} of {table.target} in {sweep}"
            deviations = Deviations.of([variant.of_tracks(table.target, measure, tracks) for variant in variants])
            if deviations is None:
                expected = "two arms, two songs in which all runs have scores, and an arm with two seeds"
                raise InputError(f"power_from={sweep}", f"too few scores for the deviations of {name}", expected=expected)
            found[name] = deviations
    return found


def power_text(difference: float, name: str, deviations: Deviations, seeds: int, songs: int | None) -> str:
    """Return the songs that each number of seeds needs, and the smallest difference that the planned runs detect.

    Args:
        difference: true difference in dB.
        name: what the deviations were measured on.
        deviations: standard deviations of the scores.
        seeds: number of seeds per arm of the planned runs.
        songs: number of their test songs; None if it is unknown.
    """
    needed = [tracks_needed(difference, deviations, count) for count in SEEDS]
    cells = [f">{MOST_TRACKS}" if count is None else str(count) for count in needed]
    measured = f"songs {deviations.tracks:.2f}, seeds {deviations.seeds:.2f}, rest {deviations.rest:.2f} dB"
    lines = [
        f"to detect a difference of {difference:g} dB (p < 0.05 with 80 % probability, one comparison)",
        f"  seeds per arm {''.join(f'{count:>7}' for count in SEEDS)}",
        f"  songs needed  {''.join(f'{cell:>7}' for cell in cells)}",
        f"  standard deviations: {measured}; {name}",
    ]
    if seeds < 2:
        lines.append("  these runs have one seed per arm, which detects no difference between arms; type seed=0,1,2")
    elif songs is not None and songs > 1:
        smallest = smallest_difference(deviations, seeds, songs)
        lines.append(f"  these runs: {seeds} seeds per arm and {songs} test songs detect {smallest:.2f} dB")
    return "\n".join(lines)
