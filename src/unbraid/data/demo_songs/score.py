"""Compose the demo songs: key, chords, form, rhythm and the notes of every part. The module `song` renders the score.

The songs follow simple rules of pop music in 4/4 time. A bar has 16 steps. A phrase of the voice has two bars, and
ends with a pause of about a third of these two bars. The lead instrument plays together with the voice in some phrases. After
some other phrases, the lead instrument plays an answer in the pause. All times are in seconds, all pitches in MIDI semitones
(69 is 440 Hz).
"""

from dataclasses import replace

import numpy as np

from unbraid.data.demo_songs.notation import SCALES, STEPS, Bar, Hit, Note, Phrase, Score, Section, Style

# Scale degrees (from 0) of the chord roots, one chord per bar.
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
# Sections with their numbers of bars. Sections with voice have an even number, because a phrase has two bars.
FORMS = (
    (("intro", 1), ("verse", 4), ("chorus", 4), ("break", 1)),
    (("verse", 4), ("chorus", 4), ("break", 1)),
    (("chorus", 2), ("break", 1), ("verse", 4), ("chorus", 4)),
    (("verse", 2), ("chorus", 2), ("break", 1), ("chorus", 4)),
)


def compose(rng: np.random.Generator, seconds: float) -> Score:
    """Compose a song of `seconds` seconds; the same generator state and duration give the same song."""
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
    """Draw the style of a song: tempo, key, rhythm patterns and vocal range."""
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
    """Return one random element of the tuple `options`."""
    return options[rng.integers(len(options))]


def lay_out(rng: np.random.Generator, style: Style, seconds: float) -> list[Bar]:
    """Return the bars of a song. A random form is repeated until the song has `seconds` seconds.

    Sections of the same name have the same chord progression.
    """
    # A song shorter than 8 s starts without an intro.
    form = pick(rng, FORMS if seconds >= 8 else FORMS[1:])
    chords = {name: pick(rng, PROGRESSIONS[style.mode]) for name in SECTIONS}
    bars: list[Bar] = []
    while style.time(len(bars), 0) < seconds:
        for name, count in form:
            for index in range(count):
                chord = chords[name][index % 4]
                bars.append(Bar(len(bars), SECTIONS[name], chord, index == 0, index == count - 1))
    return [bar for bar in bars if style.time(bar.number, 0) < seconds]


def drum_bar(rng: np.random.Generator, style: Style, bar: Bar) -> list[Hit]:
    """Return the drum strokes of one bar, with small random errors of time and velocity."""
    hits = []
    for step, piece, velocity in drum_pattern(rng, style, bar):
        start = max(0.0, style.time(bar.number, step) + rng.normal(0, style.looseness))
        hits.append(Hit(start, piece, velocity * rng.uniform(0.8, 1.0)))
    return hits


def drum_pattern(rng: np.random.Generator, style: Style, bar: Bar) -> list[tuple[int, str, float]]:
    """Return step, piece (drum or cymbal) and velocity of each stroke of a bar. The last beat of a section is a drum fill."""
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
    """Return the bass notes of one bar: root notes at the strokes of the bass drum, passing notes, and ghost notes."""
    root = 28 + (style.pitch(bar.chord) - 28) % 12
    passing = {int(step) for step in rng.integers(9, STEPS, 2) if rng.random() < 0.6}
    steps = sorted({*style.kick, *passing}) if bar.section.energy > 0.3 else [0]
    notes = []
    for step, following in zip(steps, [*steps[1:], STEPS], strict=True):
        start = style.time(bar.number, step)
        available = style.time(bar.number, following) - start
        ghost = step in passing and rng.random() < 0.4
        pitch = root + (int(rng.choice([0, 7, 12, 12])) if step in passing else 0)
        length = min(0.09, available) if ghost else available * rng.uniform(0.75, 0.98)
        velocity = 0.3 if ghost else rng.uniform(0.8, 1.0)
        notes.append(Note(start, length, pitch, velocity, glide=float(rng.choice([0.003, 0.003, 0.003, 0.04]))))
    return notes


def comping_bar(rng: np.random.Generator, style: Style, bar: Bar) -> list[Note]:
    """Return the chord notes of the rhythm instrument in one bar: arpeggios in eighth notes, or strummed chords."""
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
    """Return the notes of the sustained chord of one bar."""
    velocity = 0.5 + 0.4 * bar.section.energy
    return [Note(style.time(bar.number, 0), style.time(1, 0), pitch, velocity) for pitch in style.voicing(bar.chord, 60)]


def write_melody(rng: np.random.Generator, style: Style, bars: list[Bar], seconds: float) -> list[Phrase]:
    """Return the vocal phrases of a song. Each phrase has two bars. Verse and chorus have two alternating motifs each."""
    motifs = {energy: [write_motif(rng, style) for _ in range(2)] for energy in (0.6, 1.0)}
    phrases, index = [], 0
    for bar, following in zip(bars, [*bars[1:], bars[-1]], strict=True):
        index = 0 if bar.first else index + 1
        if "voice" in bar.section.players and index % 2 == 0:
            motif = motifs[bar.section.energy][index // 2 % 2]
            notes = write_phrase(rng, style, (bar, following), motif)
            # Notes that start in the last 0.3 s of the song are omitted.
            notes = [note for note in notes if note.start < seconds - 0.3]
            phrases.append(Phrase(tuple(notes), write_lyrics(rng, len(notes)), bar.section.energy))
    return [phrase for phrase in phrases if phrase.notes]


def write_motif(rng: np.random.Generator, style: Style) -> list[tuple[int, int, int]]:
    """Return a motif: three numbers for each note (first step, length in steps, interval).

    The interval is the distance to the previous note, in scale degrees.
    """
    step, end = int(rng.integers(0, 4)), int(rng.integers(18, 24))
    # A sixteenth note at 140 beats per minute is too short for a syllable.
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
    """Convert a motif to notes in two bars. A note that is long or accented is moved to the nearest tone of the chord."""
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
    """Return the scale degree with the pitch nearest to a MIDI pitch."""
    return min(range(-14, 22), key=lambda degree: abs(style.pitch(degree) - pitch))


def write_lyrics(rng: np.random.Generator, count: int) -> tuple[tuple[str, str], ...]:
    """Return `count` random syllables as pairs of a consonant and vowels."""
    return tuple((str(rng.choice(CONSONANTS)), str(rng.choice(VOWELS))) for _ in range(count))


def write_backing(rng: np.random.Generator, style: Style, phrases: list[Phrase]) -> list[Phrase]:
    """Return the phrases of a second voice. The result is empty for songs without a second voice, about 35 % of all songs.

    The second voice sings in unison with the first voice, two scale degrees above the first voice, or five scale degrees below
    the first voice. The second voice sings only phrases with high vocal effort.
    """
    if rng.random() < 0.35:
        return []
    interval = int(rng.choice([0, 2, -5]))
    return [transpose(style, phrase, interval) for phrase in phrases if phrase.effort > 0.8]


def transpose(style: Style, phrase: Phrase, degrees: int) -> Phrase:
    """Return a copy of a phrase. All notes of the copy are shifted by `degrees` scale degrees and start 15 ms later."""
    notes = []
    for note in phrase.notes:
        pitch = style.pitch(nearest_degree(style, note.pitch) + degrees)
        notes.append(replace(note, start=note.start + 0.015, pitch=pitch))
    return replace(phrase, notes=tuple(notes))


def write_lead(rng: np.random.Generator, style: Style, phrases: list[Phrase]) -> list[Note]:
    """Return the notes of the lead instrument. For each phrase, the instrument doubles the voice, answers it, or rests."""
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
    """Return the answer of the lead instrument: the last three notes of a phrase as eighth notes, an octave higher.

    The answer is played in the pause after the phrase.
    """
    eighth = style.time(0, 4) / 2
    tail = phrase.notes[-3:]
    return [Note(phrase.end + (i + 1) * eighth, eighth, n.pitch + 12, 0.8, 0.01) for i, n in enumerate(tail)]
