"""Compare the measurements of all tracks with thresholds, and return warnings.

The thresholds are constants in this module. Warnings do not stop a training. Unusable files, for example truncated files, raise
an error earlier, during decoding.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unbraid.data.health.alignment import LEAST_CORRELATION
from unbraid.data.health.duplicates import matches
from unbraid.data.health.examination import Health
from unbraid.data.health.fingerprint import HOP_SECONDS, from_text
from unbraid.data.tracks import Split

Entry = tuple[str, Split, Health]  # name, split and measurements of a track

# A tenth of the amplitude of the mixture is missing in the sources. The stem file in the stempeg wheel has -15 dB.
MOST_RESIDUAL_DB = -20.0
# Loud masters clip now and then. An overdriven recording clips all the time.
MOST_CLIPPED_RUNS_PER_MINUTE = 10.0
MOST_SILENT_SHARE = 0.9
# AAC and mp3 at 128 kbit/s end at 15 to 16 kHz (Nyquist is 22.05 kHz), and at 192 kbit/s at 19 kHz.
LEAST_CEILING_OF_NYQUIST = 0.75
# If the mixture is louder after the instrumental is subtracted, the two did not cancel.
MOST_REMAINDER_DB = 0.0
# Encoders add or remove some hundredths of a second. A larger difference is another edit of the song.
MOST_CUT_SECONDS = 0.5


@dataclass(frozen=True)
class Finding:
    """A warning about a track.

    Args:
        track: name of the track.
        kind: kind of the warning, such as `clipping`; the report groups warnings by kind.
        sentence: description of the problem with the measured values, one sentence.
    """

    track: str
    kind: str
    sentence: str


def findings(entries: Sequence[Entry]) -> list[Finding]:
    """Return the warnings about a data set.

    Args:
        entries: name, split and measurements (`Health`) of each track, in any order.

    Returns:
        All warnings, sorted by kind and track.
    """
    single = [finding for name, _, health in entries for finding in _of_one_track(name, health)]
    return sorted([*single, *_rates(entries), *_duplicates(entries)], key=lambda f: (f.kind, f.track, f.sentence))


def _of_one_track(name: str, health: Health) -> Iterator[Finding]:
    """Yield the warnings that follow from the measurements of one track alone, such as clipping or silence."""
    if health.residual_db is not None and health.residual_db > MOST_RESIDUAL_DB:
        sentence = f"the mixture is not the sum of its sources: the level of the difference is {health.residual_db:.1f} dB"
        yield Finding(name, "residual", sentence)
    if health.clipped_runs * 60 > MOST_CLIPPED_RUNS_PER_MINUTE * health.duration_seconds:
        yield Finding(name, "clipping", f"the mixture is clipped {health.clipped_runs} times")
    yield from repairs(name, health)
    yield from _silence(name, health)
    if health.ceiling_hz is not None and health.ceiling_hz < LEAST_CEILING_OF_NYQUIST * health.rate / 2:
        cut = f"frequencies above {health.ceiling_hz / 1000:.1f} kHz are missing in the mixture"
        sentence = f"{cut}, though its sample rate of {health.rate} Hz allows {health.rate / 2000:.1f} kHz"
        yield Finding(name, "bandwidth", sentence)
    if health.swapped:
        sentence = (
            "the channels may be swapped: the accompaniment has more pauses and less bass than the voice. Listen to the file"
        )
        yield Finding(name, "swapped channels", sentence)
    yield from _pair(name, health)


def repairs(name: str, health: Health) -> Iterator[Finding]:
    """Yield a warning for each change that decoding made to combine the files of a track.

    Args:
        name: name of the track.
        health: measurements of the track.

    Yields:
        Warnings about unequal lengths, about unequal sample rates, and about changes that the audio reader reports.
    """
    if health.padded_seconds:
        sentence = f"the files differ in length: {health.padded_seconds:.2f} s of silence were appended to the shortest file"
        yield Finding(name, "unequal lengths", sentence)
    if len(health.file_rates) > 1:
        rates = " and ".join(map(str, health.file_rates))
        sentence = f"the files have sample rates of {rates} Hz: all were resampled to {health.rate} Hz"
        yield Finding(name, "resampled files", sentence)
    for message in health.messages:
        yield Finding(name, "remarks on files", message)


def _silence(name: str, health: Health) -> Iterator[Finding]:
    """Yield the warnings about sources of a track that are silent for the whole track or for most of the track."""
    if health.silent_sources:
        verb = "is" if len(health.silent_sources) == 1 else "are"
        yield Finding(name, "silent source", f"{', '.join(health.silent_sources)} {verb} silent")
    for source, share in sorted(health.silent_share.items()):
        if MOST_SILENT_SHARE < share < 1:
            yield Finding(name, "mostly silent", f"{source} is silent for {100 * share:.0f} % of the time")


def _pair(name: str, health: Health) -> Iterator[Finding]:
    """Yield the warnings about a pair of recordings, the mixture and the instrumental version of a track."""
    if health.aligned is False:
        assert health.correlation is not None
        sentence = f"mixture and instrumental are {health.offset_ms:+.1f} ms apart and drift by {health.drift_ms:+.1f} ms"
        if health.correlation < LEAST_CORRELATION:
            sentence = f"mixture and instrumental look like different recordings: their correlation is {health.correlation:.2f}"
        yield Finding(name, "misaligned pair", sentence)
    if health.remainder_db is not None and health.cut_seconds > MOST_CUT_SECONDS:
        yield Finding(name, "unequal lengths", f"mixture and instrumental differ in length by {health.cut_seconds:.1f} s")
    if health.remainder_db is not None and health.remainder_db > MOST_REMAINDER_DB:
        sentence = f"mixture minus instrumental is {health.remainder_db:+.1f} dB louder than the mixture: they do not cancel"
        yield Finding(name, "remainder", sentence)


def _rates(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Yield a warning for each track whose sample rate is not the most frequent sample rate of the data set."""
    counts = Counter(health.rate for _, _, health in entries)
    usual = max(counts, key=lambda rate: (counts[rate], rate), default=0)
    for name, _, health in entries:
        if health.rate != usual:
            yield Finding(name, "mixed sample rates", f"the sample rate is {health.rate} Hz, but most tracks have {usual} Hz")


def _duplicates(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Yield a warning for each pair of tracks with the same recording."""
    entries = sorted(entries, key=lambda entry: (entry[0], entry[1]))
    for match in matches([from_text(health.fingerprint) for _, _, health in entries]):
        (name, split, _), (other, other_split, _) = entries[match.first], entries[match.second]
        kind = "duplicate in a split" if split == other_split else "duplicate across splits"
        seconds = match.offset_words * HOP_SECONDS
        begins = f", which begins {abs(seconds):.2f} s {'later' if seconds > 0 else 'earlier'}" if seconds else ""
        sentence = f"this track in {split} is the same recording as {other} in {other_split}{begins}"
        yield Finding(name, kind, f"{sentence} ({100 * match.bit_error_rate:.0f} % of the fingerprint bits differ)")
