"""Write a MUSHRA listening test of training runs as a folder with a web page.

MUSHRA (ITU-R Recommendation BS.1534-3, 2015) is a blind test of systems with audible differences. For each item (an excerpt of
a target of a test track), the listener rates all stimuli from 0 to 100 by comparison with the reference, the true target. The
stimuli are the estimates of all systems, the reference again (the hidden reference), and two anchors:

- the reference after a low-pass filter with a pass band up to 3.5 kHz, the low anchor of BS.1534-3. The filter attenuates by
  more than 50 dB from 4.5 kHz;
- the mixture, which shows how a listener rates no separation at all.

The folder contains `page/`, which is given to the listeners, and `key.json`, which is not. The names of the audio files in
`page/` are random, and only `key.json` assigns them to systems. The page stores the ratings in a JSON file.
`unbraid.reports.mushra_results` reads these files.

For tests of small differences, use the blind A/B comparison of a report (`unbraid.reports.listening`) instead.
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from unbraid import audio
from unbraid.reports.listening import MIXTURE, ListeningSet, TrackClips, heard, songs_of, targets_of
from unbraid.reports.variants import Variant
from unbraid.reports.web import POLICY, STYLE, copy_static, environment, write_script
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.files import rename_synced, write_json

FEWEST_SYSTEMS, MOST_SYSTEMS = 2, 8  # BS.1534-3 allows 12 stimuli; the page has one key for each
PASS_HZ, STOP_HZ = 3500, 4500  # edges of the pass band and of the stop band of the low anchor
KAISER_BETA = 5.65  # of the window of the low-pass filter, for an attenuation of 60 dB
FADE_SECONDS = 0.01
MADE_BY = "unbraid listening"  # in key.json and in the files of the listeners
PAGE, KEY = "page", "key.json"
STATIC = ("style.css", "theme.js", "deck.js", "mushra.js")
TITLE = "Listening test"
REFERENCE, SYSTEM, ANCHOR = "reference", "system", "anchor"  # kinds of conditions


@dataclass(frozen=True)
class _Item:
    """Store an item of the test: an excerpt of a target of a track, under all conditions in the order of `key.json`.

    Args:
        track: name of the track.
        target: name of the target.
        rate: sample rate in Hz.
        stimuli: excerpt under each condition [channels, samples]. The first is the reference.
    """

    track: str
    target: str
    rate: int
    stimuli: Sequence[np.ndarray]


def make_test(
    variants: Sequence[Variant], output: Path, songs: int, seconds: float, target: str | None = None
) -> tuple[int, list[str]]:
    """Write the folder of a MUSHRA test: the page for the listeners, and the key that assigns the audio files to systems.

    Each variant is one system. The page plays the audio files of one run of each variant. Each pair of a test track and a
    target is an item if all runs have the audio files.

    Args:
        variants: variants of the runs, also those without scores.
        output: new folder.
        songs: largest number of test tracks.
        seconds: length of each excerpt in s. The excerpt with the largest energy of the target is taken.
        target: name of the only target that is rated; None: all targets.

    Returns:
        The number of items, and the reasons why tracks are not in the test.

    Raises:
        InputError: the number of systems is not in [2, 8], the target is unknown, or no track has the audio files of all runs.
    """
    players = heard(variants)
    _check(players, target)
    output = output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=output.parent) as partial:
        fresh = Path(partial) / output.name
        (fresh / PAGE).mkdir(parents=True)
        missing: list[str] = []
        items = [_write_item(item, fresh / PAGE, n) for n, item in enumerate(_items(players, songs, seconds, target, missing))]
        if not items:
            hint = "Evaluate the runs with evaluation.clips=5"
            raise InputError("runs", f"no test track has the audio files of all runs: {'; '.join(missing[:3])}", hint=hint)
        _write_page(fresh, items, _conditions(players, output))
        rename_synced(fresh, output)
    return len(items), missing


def _check(players: Sequence[ListeningSet], target: str | None) -> None:
    if not FEWEST_SYSTEMS <= len(players) <= MOST_SYSTEMS:
        problem, expected = "the number of systems is outside the allowed range", f"{FEWEST_SYSTEMS} to {MOST_SYSTEMS} variants"
        raise InputError("runs", problem, found=len(players), expected=expected, hint="Select runs with 'runs=[FOLDER,FOLDER]'")
    if target is not None and target not in targets_of(players):
        raise InputError(f"target={target}", "no run has a target of this name", hint=unknown(target, targets_of(players)))


def _items(
    players: Sequence[ListeningSet], songs: int, seconds: float, target: str | None, missing: list[str]
) -> Iterator[_Item]:
    """Yield the items of the first `songs` tracks that have the audio files of all runs. Add reasons to `missing`."""
    targets, complete = targets_of(players), 0
    for track in songs_of(players, len(players[0].run.scores["tracks"])):
        clips, found = TrackClips(players, track, targets), False
        for name in [target] if target is not None else targets:
            if reason := _reason_missing(clips, players, name):
                missing.append(f"{track}, {name}: {reason}")
            else:
                found = True
                yield _item(clips, players, track, name, seconds)
        complete += found
        if complete == songs:
            return


def _reason_missing(clips: TrackClips, players: Sequence[ListeningSet], target: str) -> str | None:
    """Return the reason why a target of a track cannot be an item; None if it can."""
    keys = [(None, MIXTURE), (None, target), *((player.number, target) for player in players)]
    if absent := next((key for key in keys if key not in clips.clips), None):
        return clips.missing.get(absent, "no audio file")
    if unlevelled := next((player for player in players if clips.levels[player.number] is None), None):
        return f"{unlevelled.run.folder.name} lacks the file of the mixture, so its loudness is unknown"
    rate = clips.clips[None, target].rate
    return f"the sample rate of {rate} Hz is too low for the low anchor" if rate < PASS_HZ + STOP_HZ else None


def _item(clips: TrackClips, players: Sequence[ListeningSet], track: str, target: str, seconds: float) -> _Item:
    keys = [(None, target), *((player.number, target) for player in players), (None, MIXTURE)]
    rate = clips.clips[None, target].rate
    whole = [audio.resample(clips.clips[key].samples(), clips.clips[key].rate, rate) for key in keys]
    whole.append(low_pass(whole[0], rate))
    length = min(samples.shape[1] for samples in whole)
    count = min(length, round(seconds * rate))
    start = loudest(whole[0][:, :length], count)
    fade = np.minimum(1, np.minimum(np.arange(1, count + 1), np.arange(count, 0, -1)) / max(1, round(FADE_SECONDS * rate)))
    return _Item(track, target, rate, [fade * samples[:, start : start + count] for samples in whole])


def loudest(samples: np.ndarray, count: int) -> int:
    """Find the excerpt with the largest energy.

    Args:
        samples: signal.
        count: length of the excerpt in samples.

    Shape:
        samples: [channels, samples].

    Returns:
        The index of the first sample of the excerpt.
    """
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=float).sum(axis=0))])
    return int(np.argmax(energy[count:] - energy[: len(energy) - count]))


def low_pass(samples: np.ndarray, rate: int) -> np.ndarray:
    """Apply the low-pass filter of the low anchor, without delay.

    The filter is a sinc with a Kaiser window. It changes frequencies up to 3.5 kHz by less than 0.1 dB, and attenuates
    frequencies from 4 kHz by more than 25 dB and from 4.5 kHz by more than 50 dB, as BS.1534-3 requires.

    Args:
        samples: signal.
        rate: sample rate in Hz.

    Shape:
        [channels, samples] -> [channels, samples].

    Returns:
        The filtered signal.
    """
    cutoff, width = 2 * (PASS_HZ + 250) / rate, 500 / rate  # as parts of the Nyquist frequency and of the sample rate
    half = round(1.85 / width)  # half the length of the filter, in samples
    taps = cutoff * np.sinc(cutoff * np.arange(-half, half + 1)) * np.kaiser(2 * half + 1, KAISER_BETA)
    size = samples.shape[1] + 2 * half
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(taps / taps.sum(), size)
    filtered: np.ndarray = np.fft.irfft(spectrum, size)[:, half : half + samples.shape[1]]
    return filtered


def _write_item(item: _Item, page: Path, number: int) -> dict[str, Any]:
    """Write the audio files of an item with one gain. Return the entry of the item in `key.json`."""
    gain = 1 / max(1.0, *(float(np.abs(samples).max(initial=0)) for samples in item.stimuli))
    names = [secrets.token_hex(8) for _ in item.stimuli]
    folder = page / "audio" / str(number + 1)
    folder.mkdir(parents=True)
    files = dict(zip([REFERENCE, *names], [item.stimuli[0], *item.stimuli], strict=True))
    for name in sorted(files):  # the times of the files do not show the order of the systems
        integers = np.rint(32767 * gain * files[name]).astype(np.int16)
        audio.write(folder / f"{name}.flac", integers, item.rate)
    seconds = item.stimuli[0].shape[1] / item.rate
    return {"item": number + 1, "track": item.track, "target": item.target, "seconds": seconds, "stimuli": names}


def _conditions(players: Sequence[ListeningSet], output: Path) -> list[dict[str, str]]:
    """Return the conditions in the order of the stimuli of each item. A path of a run is relative to a folder next to it."""
    runs = [(player.variant.name, player.run.folder.resolve()) for player in players]
    paths = [os.path.relpath(run, output) if run.is_relative_to(output.parent) else str(run) for _, run in runs]
    return [
        {"kind": REFERENCE, "name": "hidden reference"},
        *({"kind": SYSTEM, "name": name, "run": path} for (name, _), path in zip(runs, paths, strict=True)),
        {"kind": ANCHOR, "name": "anchor: mixture"},
        {"kind": ANCHOR, "name": "anchor: 3.5 kHz"},
    ]


def _write_page(folder: Path, items: Sequence[dict[str, Any]], conditions: Sequence[dict[str, str]]) -> None:
    """Write the page, and the key. The data of the page list the stimuli of an item in alphabetical order."""
    test, page = secrets.token_hex(8), folder / PAGE
    shown = [{key: item[key] for key in ("item", "target", "seconds")} | {"stimuli": sorted(item["stimuli"])} for item in items]
    copy_static(STATIC, page)
    write_script(page / "mushra-data.js", "TEST", {"made_by": MADE_BY, "test": test, "items": shown})
    made = f"{datetime.now():%Y-%m-%d %H:%M}"
    text = environment().get_template("mushra.html.j2").render(report={"title": TITLE}, made=made, policy=POLICY + STYLE)
    (page / "index.html").write_text(text, encoding="utf-8")
    write_json(folder / KEY, {"made_by": MADE_BY, "test": test, "conditions": conditions, "items": items})
