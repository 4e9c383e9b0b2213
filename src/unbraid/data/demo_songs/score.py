"""Composes the demo songs: key, chords, form, groove and the notes of every part, no sound yet.

The rules are those of a plain pop song in four-four time. A bar has 16 steps. A phrase of the voice takes two bars and
leaves the last third or so of them free; the lead instrument doubles one phrase, answers the next. `song` renders
what is written here. All times are in seconds, all pitches in MIDI semitones (69 is 440 Hz).
"""

from dataclasses import replace

import numpy as np

from unbraid.data.demo_songs.notation import SCALES, STEPS, Bar, Hit, Note, Phrase, Score, Section, Style

# Roots as scale degrees counted from 0, one chord a bar.
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 5, 4), (3, 0, 4, 5)),
    "mixolydian": ((0, 6, 3, 0), (0, 3, 6, 3), (0, 4, 6, 3), (3, 6, 0, 0)),
    "dorian": ((0, 3, 0, 3), (0, 6, 3, 0), (0, 2, 3, 6), (0, 4, 3, 6)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 4), (5, 6, 0, 0), (0, 6, 5, 6), (0, 2, 6, 3)),
}
KICKS = ((0, 8), (0, 6, 8), (0, 7, 10), (0, 4, 8, 12), (0, 3, 8, 11), (0, 6, 10), (0, 8, 10, 15))
SNARES = ((4, 12), (4, 12), (4, 12), (8,))
HATS = (tuple(range(0, 16, 2)), tuple(range(16)), (2, 6, 10, 14), tuple(range(0, 16, 4)), (0, 3, 4, 6, 8, 11, 12, 14))
STRUMS = ((0, 6, 8, 14), (0, 4, 6, 10, 12), (0, 3, 6, 8, 11, 14), (2, 6, 10, 14), (0, 2, 4, 6, 8, 10, 12, 14), (0, 8))
LEAD_ROLES = ("unison", "answer", "octave", "rest")
CONSONANTS = ("s", "sh", "f", "t", "k", "p", "h", "m", "n", "l", "")
VOWELS = ("a", "e", "i", "o", "u", "@", "ai", "ou", "ei", "ia")


SECTIONS = {
    "intro": Section(0.4, ("comping", "pads")),
    "verse": Section(0.6, ("bass", "comping", "voice")),
    "chorus": Section(1.0, ("bass", "comping", "pads", "voice")),
    "break": Section(0.25, ("bass", "pads")),
}
# Section and its bars. Sections that are sung have an even number of bars, because a phrase takes two.
FORMS = (
    (("intro", 1), ("verse", 4), ("chorus", 4), ("break", 1)),
    (("verse", 4), ("chorus", 4), ("break", 1)),
    (("chorus", 2), ("break", 1), ("verse", 4), ("chorus", 4)),
    (("verse", 2), ("chorus", 2), ("break", 1), ("chorus", 4)),
)


def compose(rng: np.random.Generator, seconds: float) -> Score:
    """Writes a song that fills `seconds`; the same generator state and length give the same song."""
    style = choose_style(rng)
    bars = lay_out(rng, style, seconds)
    phrases = write_melody(rng, style, bars, seconds)

    def playing(player: str) -> list[Bar]:
        return [bar for bar in bars if player in bar.section.players]

    return Score(
        style=style,
        drums=[hit for bar in bars for hit in drum_bar(rng, style, bar)],
        bass=[note for bar in playing("bass") for note in bass_bar(rng, style, bar)],
        comping=[note for bar in playing("comping") for note in comping_bar(rng, style, bar)],
        pads=[note for bar in playing("pads") for note in pad_bar(style, bar)],
        lead=write_lead(rng, style, phrases),
        phrases=phrases,
        backing=write_backing(rng, style, phrases),
    )


def choose_style(rng: np.random.Generator) -> Style:
    high_singer = rng.random() < 0.5
    return Style(
        tempo=rng.uniform(70, 140),
        swing=float(rng.choice([0.0, 0.0, rng.uniform(0.05, 0.16)])),
        swing_steps=int(rng.choice([2, 4])),
        tonic=int(rng.integers(48, 60)),
        mode=str(rng.choice(list(SCALES))),
        sevenths=bool(rng.random() < 0.4),
        kick=pick(rng, KICKS),
        snare=pick(rng, SNARES),
        hat=pick(rng, HATS),
        strum=pick(rng, STRUMS),
        arpeggio=bool(rng.random() < 0.35),
        voice_pitch=rng.uniform(61, 67) if high_singer else rng.uniform(50, 56),
        looseness=rng.uniform(0.003, 0.010),
    )


def pick(rng: np.random.Generator, options: tuple) -> tuple:
    return options[rng.integers(len(options))]


def lay_out(rng: np.random.Generator, style: Style, seconds: float) -> list[Bar]:
    """Repeats one of the forms until the song is filled; verse and chorus each keep their own chords."""
    # A short song has no time for an intro: everyone starts at once.
    form = pick(rng, FORMS if seconds >= 8 else FORMS[1:])
    chords = {name: pick(rng, PROGRESSIONS[style.mode]) for name in SECTIONS}
    bars: list[Bar] = []
    while style.time(len(bars), 0) < seconds:
        for name, count in form:
            for place in range(count):
                chord = chords[name][place % 4]
                bars.append(Bar(len(bars), SECTIONS[name], chord, place == 0, place == count - 1))
    return [bar for bar in bars if style.time(bar.number, 0) < seconds]


def drum_bar(rng: np.random.Generator, style: Style, bar: Bar) -> list[Hit]:
    """The strokes of one bar, timed and weighted by hand; its last beat is a fill where the section ends."""
    hits = []
    for step, piece, velocity in drum_pattern(rng, style, bar):
        start = max(0.0, style.time(bar.number, step) + rng.normal(0, style.looseness))
        hits.append(Hit(start, piece, velocity * rng.uniform(0.8, 1.0)))
    return hits


def drum_pattern(rng: np.random.Generator, style: Style, bar: Bar) -> list[tuple[int, str, float]]:
    """Step, piece and velocity of each stroke."""
    energy = bar.section.energy
    beat_end = 12 if bar.last else STEPS
    strokes = [(step, "hat", 0.9 if step % 4 == 0 else 0.55) for step in style.hat]
    if energy > 0.3:
        strokes += [(step, "kick", 1.0) for step in style.kick]
    if energy > 0.5:
        strokes += [(step, "snare", 1.0) for step in style.snare]
        strokes += [(int(step), "snare", 0.2) for step in rng.integers(1, STEPS, 2) if rng.random() < 0.5]
    if energy > 0.8:
        strokes += [(0, "crash", 0.9)] if bar.first else [(14, "open", 0.7)]
        strokes += [(step, "ride", 0.5) for step in range(0, STEPS, 4)]
    strokes = [stroke for stroke in strokes if stroke[0] < beat_end]
    if bar.last:
        fill = [str(rng.choice(["snare", "high tom", "low tom"])) for _ in range(4)]
        strokes += [(12 + i, piece, 0.5 + 0.12 * i) for i, piece in enumerate(fill)]
    return strokes


def bass_bar(rng: np.random.Generator, style: Style, bar: Bar) -> list[Note]:
    """The root on the strokes of the kick, with fifths and octaves as passing notes, slides and ghost notes."""
    root = 28 + (style.pitch(bar.chord) - 28) % 12
    passing = {int(step) for step in rng.integers(9, STEPS, 2) if rng.random() < 0.6}
    steps = sorted({*style.kick, *passing}) if bar.section.energy > 0.3 else [0]
    notes = []
    for step, following in zip(steps, [*steps[1:], STEPS], strict=True):
        start = style.time(bar.number, step)
        room = style.time(bar.number, following) - start
        ghost = step in passing and rng.random() < 0.4
        pitch = root + (int(rng.choice([0, 7, 12, 12])) if step in passing else 0)
        length = min(0.09, room) if ghost else room * rng.uniform(0.75, 0.98)
        velocity = 0.3 if ghost else rng.uniform(0.8, 1.0)
        notes.append(Note(start, length, pitch, velocity, glide=float(rng.choice([0.003, 0.003, 0.003, 0.04]))))
    return notes


def comping_bar(rng: np.random.Generator, style: Style, bar: Bar) -> list[Note]:
    """Chords of the rhythm instrument: broken into eighths, or strummed from the low string up."""
    chord = style.voicing(bar.chord, 53)
    chord = [chord[0] - 12, *chord]
    if style.arpeggio:
        order = [*chord, *chord[-2:0:-1]]
        return [
            Note(style.time(bar.number, step), style.time(0, 6), order[step // 2 % len(order)], rng.uniform(0.6, 1.0))
            for step in range(0, STEPS, 2)
        ]
    notes = []
    for step, following in zip(style.strum, [*style.strum[1:], STEPS], strict=True):
        start = style.time(bar.number, step)
        length = (style.time(bar.number, following) - start) * rng.uniform(0.6, 1.0)
        velocity, spread = rng.uniform(0.5, 0.8), rng.uniform(0.004, 0.015)
        notes += [Note(start + i * spread, length, pitch, velocity) for i, pitch in enumerate(chord)]
    return notes


def pad_bar(style: Style, bar: Bar) -> list[Note]:
    velocity = 0.5 + 0.4 * bar.section.energy
    return [Note(style.time(bar.number, 0), style.time(1, 0), pitch, velocity) for pitch in style.voicing(bar.chord, 60)]


def write_melody(rng: np.random.Generator, style: Style, bars: list[Bar], seconds: float) -> list[Phrase]:
    """Two-bar phrases; verse and chorus each alternate between two motifs, so that a song repeats itself as songs do."""
    motifs = {energy: [write_motif(rng, style) for _ in range(2)] for energy in (0.6, 1.0)}
    phrases, place = [], 0
    for bar, following in zip(bars, [*bars[1:], bars[-1]], strict=True):
        place = 0 if bar.first else place + 1
        if "voice" in bar.section.players and place % 2 == 0:
            motif = motifs[bar.section.energy][place // 2 % 2]
            notes = write_phrase(rng, style, (bar, following), motif)
            # What begins too close to the end of the song is not sung.
            notes = [note for note in notes if note.start < seconds - 0.3]
            phrases.append(Phrase(tuple(notes), write_lyrics(rng, len(notes)), bar.section.energy))
    return [phrase for phrase in phrases if phrase.notes]


def write_motif(rng: np.random.Generator, style: Style) -> list[tuple[int, int, int]]:
    """First step, steps held and leap in degrees of the notes of a phrase; the last note is the longest."""
    step, end = int(rng.integers(0, 4)), int(rng.integers(18, 24))
    # A sixteenth at 140 beats a minute is too short for a syllable.
    lengths = [2, 2, 2, 3, 4, 4, 6] if style.tempo < 105 else [2, 4, 4, 4, 6, 8]
    motif = []
    while step < end - 6:
        held = int(rng.choice(lengths))
        motif.append((step, held, int(rng.choice([-2, -1, -1, 0, 1, 1, 2, 3]))))
        step += held
    return [*motif, (step, max(end - step, 3), int(rng.choice([-1, 0, 1])))]


def write_phrase(
    rng: np.random.Generator, style: Style, bars: tuple[Bar, Bar], motif: list[tuple[int, int, int]]
) -> list[Note]:
    """Sets a motif to the chords of two bars: long and accented notes go to the nearest chord tone."""
    home = nearest_degree(style, style.voice_pitch)
    degree, notes = home, []
    for step, held, leap in motif:
        degree = int(np.clip(degree + leap, home - 4, home + 5))
        if held >= 4 or step % 8 == 0:
            chord = bars[step // STEPS].chord
            degree = min(range(degree - 2, degree + 3), key=lambda d: ((d - chord) % 7 not in (0, 2, 4), abs(d - degree)))
        start = max(0.0, style.time(bars[0].number, step) + rng.normal(0.01, style.looseness))
        length = style.time(bars[0].number, step + held) - start
        notes.append(Note(start, length * 0.97, style.pitch(degree), rng.uniform(0.8, 1.0), rng.uniform(0.015, 0.05)))
    return notes


def nearest_degree(style: Style, pitch: float) -> int:
    return min(range(-14, 22), key=lambda degree: abs(style.pitch(degree) - pitch))


def write_lyrics(rng: np.random.Generator, count: int) -> tuple[tuple[str, str], ...]:
    return tuple((str(rng.choice(CONSONANTS)), str(rng.choice(VOWELS))) for _ in range(count))


def write_backing(rng: np.random.Generator, style: Style, phrases: list[Phrase]) -> list[Phrase]:
    """A second voice in the loud phrases: the same line sung again, or a third above it or a sixth below."""
    if rng.random() < 0.35:
        return []
    interval = int(rng.choice([0, 2, -5]))
    return [transpose(style, phrase, interval) for phrase in phrases if phrase.effort > 0.8]


def transpose(style: Style, phrase: Phrase, degrees: int) -> Phrase:
    notes = []
    for note in phrase.notes:
        pitch = style.pitch(nearest_degree(style, note.pitch) + degrees)
        # The second singer follows the first.
        notes.append(replace(note, start=note.start + 0.015, pitch=pitch))
    return replace(phrase, notes=tuple(notes))


def write_lead(rng: np.random.Generator, style: Style, phrases: list[Phrase]) -> list[Note]:
    """Doubles the voice at the unison or the octave, or answers it in its rest, phrase by phrase in turn."""
    turn = int(rng.integers(len(LEAD_ROLES)))
    notes: list[Note] = []
    for i, phrase in enumerate(phrases):
        role = LEAD_ROLES[(turn + i) % len(LEAD_ROLES)]
        if role == "answer":
            notes += answer(style, phrase)
        elif role != "rest":
            shift = 12 if role == "octave" else 0
            notes += [replace(note, pitch=note.pitch + shift, glide=0.01) for note in phrase.notes]
    return notes


def answer(style: Style, phrase: Phrase) -> list[Note]:
    """The last notes of the phrase again in eighths, an octave up, in the pause that follows it."""
    eighth = style.time(0, 4) / 2
    tail = phrase.notes[-3:]
    return [Note(phrase.end + (i + 1) * eighth, eighth, n.pitch + 12, 0.8, 0.01) for i, n in enumerate(tail)]
