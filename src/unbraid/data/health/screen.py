"""Format the health report of a data set (measurements and warnings of each track) for the terminal and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from textwrap import wrap
from typing import Any

from unbraid.data.health.diagnosis import Entry, Finding
from unbraid.data.health.examination import Health
from unbraid.data.tracks import SPLITS

MOST_LINES = 200  # tracks in the table
MOST_PER_KIND = 20  # warnings of one kind
NAME_WIDTH = 30  # columns of a track name
WIDTH = 110  # columns of a line
HEADER = f"{'track':{NAME_WIDTH}} split  length    rate ch  residual clipped bandwidth  silent"


def table(entries: Sequence[Entry], findings: Sequence[Finding]) -> str:
    """Format the health report as text: one line per track, the totals per split, and the warnings by kind.

    Args:
        entries: name, split and measurements of each track, in any order. The text lists the tracks by split and name.
        findings: warnings about the tracks, see `diagnosis.findings`.

    Returns:
        Lines of at most `WIDTH` columns.
    """
    ordered = sorted(entries, key=lambda entry: (SPLITS.index(entry[1]), entry[0]))
    lines = [HEADER, *(_line(*entry) for entry in ordered[:MOST_LINES])]
    if len(ordered) > MOST_LINES:
        lines.append(f"and {len(ordered) - MOST_LINES} more tracks")
    return "\n".join([*lines, "", *_totals(entries), "", *_warnings(findings)])


def report(entries: Sequence[Entry], findings: Sequence[Finding]) -> dict[str, Any]:
    """Format the health report as plain JSON values.

    Args:
        entries: name, split and measurements of each track.
        findings: warnings about the tracks, see `diagnosis.findings`.

    Returns:
        The measurements by track (without fingerprints), the totals by split, and the warnings.
    """
    tracks = {
        name: {"split": split, "aligned": health.aligned, **{k: v for k, v in asdict(health).items() if k != "fingerprint"}}
        for name, split, health in sorted(entries, key=lambda entry: entry[0])
    }
    return {"tracks": tracks, "splits": _hours(entries), "findings": [asdict(finding) for finding in findings]}


def _line(name: str, split: str, health: Health) -> str:
    """Return the line of one track in the table of the health report, with the columns of `HEADER`."""
    seconds = round(health.duration_seconds)
    residual = "-" if health.residual_db is None else f"{health.residual_db:.1f} dB"
    ceiling = "-" if health.ceiling_hz is None else f"{health.ceiling_hz / 1000:.1f} kHz"
    line = (
        f"{_cut(name):{NAME_WIDTH}} {split:5} {seconds // 60:4}:{seconds % 60:02} {health.rate:7} {health.channels:2} "
        f"{residual:>9} {health.clipped_runs:7} {ceiling:>9}  {_silent(health)}"
    )
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _cut(name: str) -> str:
    """Shorten a track name to 30 characters. The middle is removed, because names often differ at the beginning or the end."""
    half = NAME_WIDTH // 2
    return name if len(name) <= NAME_WIDTH else f"{name[: half - 1]}…{name[half - NAME_WIDTH :]}"


def _silent(health: Health) -> str:
    """Return a text with the share of silence, in %, for each source with silent parts. The largest share comes first."""
    shares = sorted(health.silent_share.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares if share >= 0.005) or "-"


def _hours(entries: Sequence[Entry]) -> dict[str, dict[str, float]]:
    """Return the number of tracks and the total hours of each split."""
    seconds = {name: [health.duration_seconds for _, split, health in entries if split == name] for name in SPLITS}
    return {split: {"tracks": len(lengths), "hours": sum(sorted(lengths)) / 3600} for split, lengths in seconds.items()}


def _totals(entries: Sequence[Entry]) -> list[str]:
    return [f"{split:5} {total['tracks']:5} tracks {total['hours']:8.2f} h" for split, total in _hours(entries).items()]


def _warnings(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return ["no warnings"]
    lines = []
    for kind, group in groupby(sorted(findings, key=lambda f: (f.kind, f.track)), key=lambda f: f.kind):
        warnings = list(group)
        lines.append(f"warning: {kind} ({len(warnings)})")
        for finding in warnings[:MOST_PER_KIND]:
            sentence = f"{_cut(finding.track)}: {finding.sentence}"
            lines += wrap(sentence, WIDTH, initial_indent="  ", subsequent_indent="      ")
        if len(warnings) > MOST_PER_KIND:
            lines.append(f"  and {len(warnings) - MOST_PER_KIND} more")
    return lines
