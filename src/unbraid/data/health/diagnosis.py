"""What is worth a warning, from the measurements of all tracks: every threshold stands here, with its reason.

Nothing here stops a training: what cannot be used (NaN, a file that is cut off) has been refused when it was decoded.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unbraid.data.health.alignment import LEAST_CORRELATION
from unbraid.data.health.duplicates import matches
from unbraid.data.health.examination import Health
from unbraid.data.health.fingerprint import HOP_SECONDS, from_text
from unbraid.data.tracks import Split

Entry = tuple[str, Split, Health]

# A tenth of the amplitude belongs to no source. The stem file that the stempeg wheel carries has -15 dB.
MOST_RESIDUAL_DB = -20.0
# Masters that are loud on purpose clip now and then; a recording that was overdriven does it all the time.
MOST_CLIPPED_RUNS_PER_MINUTE = 10.0
MOST_SILENT_SHARE = 0.9
# 128 kbit/s AAC and mp3 end at 15 to 16 kHz of 22.05, and 192 kbit/s at 19.
LEAST_CEILING_OF_NYQUIST = 0.75
# What is subtracted from the mixture makes it louder: nothing has cancelled.
MOST_REMAINDER_DB = 0.0
# Encoders add or lose some hundredths of a second; more is another edit of the song.
MOST_CUT_SECONDS = 0.5


@dataclass(frozen=True)
class Finding:
    """Something about a track that the user should look at, in one sentence; `kind` groups the same of other tracks."""

    track: str
    kind: str
    sentence: str


def findings(entries: Sequence[Entry]) -> list[Finding]:
    """All warnings, sorted by kind and track; the order of the entries does not matter.

    Args:
        entries: name, split and health of each track.
    """
    found = [finding for name, _, health in entries for finding in _of_one(name, health)]
    return sorted([*found, *_rates(entries), *_duplicates(entries)], key=lambda f: (f.kind, f.track, f.sentence))


def _of_one(name: str, health: Health) -> Iterator[Finding]:
    """What one track shows without the others."""
    if health.residual_db is not None and health.residual_db > MOST_RESIDUAL_DB:
        yield Finding(name, "residual", f"the mixture is not the sum of its sources: {health.residual_db:.1f} dB are left")
    if health.clipped_runs * 60 > MOST_CLIPPED_RUNS_PER_MINUTE * health.duration_seconds:
        yield Finding(name, "clipping", f"the mixture is clipped {health.clipped_runs} times")
    yield from repairs(name, health)
    yield from _silence(name, health)
    if health.ceiling_hz is not None and health.ceiling_hz < LEAST_CEILING_OF_NYQUIST * health.rate / 2:
        sentence = f"holds nothing above {health.ceiling_hz / 1000:.1f} kHz, though its rate of {health.rate} Hz could"
        yield Finding(name, "bandwidth", sentence)
    if health.swapped:
        sentence = "the accompaniment pauses more and has less bass than the voice: the channels may be swapped, listen"
        yield Finding(name, "swapped channels", sentence)
    yield from _pair(name, health)


def repairs(name: str, health: Health) -> Iterator[Finding]:
    """Yield what decoding changed so that the files of a track fit together."""
    if health.padded_seconds:
        sentence = f"its files differ in length: {health.padded_seconds:.2f} s of silence were appended to the shortest"
        yield Finding(name, "unequal lengths", sentence)
    if len(health.file_rates) > 1:
        rates = " and ".join(map(str, health.file_rates))
        yield Finding(name, "resampled files", f"its files have {rates} Hz: all were resampled to {health.rate} Hz")
    for message in health.messages:
        yield Finding(name, "remarks on files", message)


def _silence(name: str, health: Health) -> Iterator[Finding]:
    if health.silent_sources:
        verb = "is" if len(health.silent_sources) == 1 else "are"
        yield Finding(name, "silent source", f"{', '.join(health.silent_sources)} {verb} silent")
    for source, share in sorted(health.silent_share.items()):
        if MOST_SILENT_SHARE < share < 1:
            yield Finding(name, "mostly silent", f"{source} is silent for {100 * share:.0f} % of the time")


def _pair(name: str, health: Health) -> Iterator[Finding]:
    if health.aligned is False:
        assert health.correlation is not None
        sentence = f"the pair is {health.offset_ms:+.1f} ms apart and drifts by {health.drift_ms:+.1f} ms"
        if health.correlation < LEAST_CORRELATION:
            sentence = f"the pair does not look like one recording: its correlation is {health.correlation:.2f}"
        yield Finding(name, "misaligned pair", sentence)
    if health.remainder_db is not None and health.cut_seconds > MOST_CUT_SECONDS:
        yield Finding(name, "unequal lengths", f"mixture and instrumental differ in length by {health.cut_seconds:.1f} s")
    if health.remainder_db is not None and health.remainder_db > MOST_REMAINDER_DB:
        sentence = f"what is left of the mixture is louder than the mixture, {health.remainder_db:+.1f} dB: nothing cancels"
        yield Finding(name, "remainder", sentence)


def _rates(entries: Sequence[Entry]) -> Iterator[Finding]:
    counts = Counter(health.rate for _, _, health in entries)
    usual = max(counts, key=lambda rate: (counts[rate], rate), default=0)
    for name, _, health in entries:
        if health.rate != usual:
            yield Finding(name, "mixed sample rates", f"has {health.rate} Hz, most tracks have {usual} Hz")


def _duplicates(entries: Sequence[Entry]) -> Iterator[Finding]:
    entries = sorted(entries, key=lambda entry: (entry[0], entry[1]))
    for match in matches([from_text(health.fingerprint) for _, _, health in entries]):
        (name, split, _), (other, other_split, _) = entries[match.first], entries[match.second]
        kind = "duplicate in a split" if split == other_split else "duplicate across splits"
        seconds = match.offset_words * HOP_SECONDS
        begins = f", which begins {abs(seconds):.2f} s {'later' if seconds > 0 else 'earlier'}" if seconds else ""
        sentence = f"is in {split} and the same recording as {other} in {other_split}{begins}"
        yield Finding(name, kind, f"{sentence} ({100 * match.bit_error_rate:.0f} % of the bits differ)")
