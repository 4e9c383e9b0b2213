"""Data classes of a score: notes, drum hits, phrases, sections, bars and the style of a song.

All times are in seconds, all pitches in MIDI semitones (69 is 440 Hz), all velocities in [0, 1].
"""

from dataclasses import dataclass

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
}

STEPS = 16  # steps (sixteenth notes) per bar


@dataclass(frozen=True)
class Note:
    """A note of a melody or chord.

    Args:
        start: time at which the note starts, in seconds.
        seconds: duration in seconds.
        pitch: MIDI pitch.
        velocity: loudness in [0, 1].
        glide: time constant of the pitch glide from the previous note, in seconds.
    """

    start: float
    seconds: float
    pitch: float
    velocity: float
    glide: float = 0.003


@dataclass(frozen=True)
class Hit:
    """A stroke on one piece (drum or cymbal) of the drum kit.

    Args:
        start: time of the stroke in seconds.
        piece: name of the drum or cymbal, a key of the result of `band.build_kit`.
        velocity: loudness in [0, 1].
    """

    start: float
    piece: str
    velocity: float


@dataclass(frozen=True)
class Phrase:
    """A phrase of the singer, sung in one breath.

    Args:
        notes: notes of the phrase, one for each syllable.
        syllables: syllables as pairs of a consonant and one or two vowels, see `voice`.
        effort: vocal effort in [0, 1]; it changes the brightness of the voice.
    """

    notes: tuple[Note, ...]
    syllables: tuple[tuple[str, str], ...]
    effort: float

    @property
    def end(self) -> float:
        """Return the time at which the last note ends, in seconds."""
        return self.notes[-1].start + self.notes[-1].seconds


@dataclass(frozen=True)
class Section:
    """A section of the song form, such as verse or chorus.

    Args:
        energy: loudness and density of the playing, in [0, 1].
        players: names of the instruments and voices that play in addition to the drums.
    """

    energy: float
    players: tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """A bar of the song.

    Args:
        number: number of the bar in the song, from 0.
        section: section that contains the bar.
        chord: scale degree of the root of the chord, from 0.
        first: whether the bar is the first of its section.
        last: whether the bar is the last of its section.
    """

    number: int
    section: Section
    chord: int
    first: bool
    last: bool


@dataclass(frozen=True)
class Style:
    """Properties of a whole song: key, rhythm and playing style.

    Args:
        tempo: tempo in beats per minute.
        swing: delay of the second note of each pair of notes (swing group), as a share of the duration of the pair.
        swing_steps: duration of a swing group, in steps (sixteenth notes).
        tonic: MIDI pitch of the tonic.
        mode: name of the scale, a key of `SCALES`.
        sevenths: whether chords contain the seventh.
        kick: steps of a bar (sixteenth notes) at which the bass drum is played.
        snare: steps of a bar at which the snare drum is played.
        hat: steps of a bar at which the hi-hat is played.
        strum: steps of a bar at which chords are played.
        arpeggio: whether chords are played as arpeggios.
        voice_pitch: middle of the singer's range, as MIDI pitch.
        looseness: standard deviation of the random timing errors, in seconds.
    """

    tempo: float
    swing: float
    swing_steps: int
    tonic: int
    mode: str
    sevenths: bool
    kick: tuple[int, ...]
    snare: tuple[int, ...]
    hat: tuple[int, ...]
    strum: tuple[int, ...]
    arpeggio: bool
    voice_pitch: float
    looseness: float

    def time(self, bar: int, step: float) -> float:
        """Return the time of a step of a bar, with swing, in seconds since the start of the song."""
        group, place = divmod(step / self.swing_steps, 1.0)
        late = place * (1 + 2 * self.swing) if place < 0.5 else 1 - (1 - place) * (1 - 2 * self.swing)
        beats = bar * 4 + (group + late) * self.swing_steps / 4
        return beats * 60 / self.tempo

    def pitch(self, degree: int) -> int:
        """Return the MIDI pitch of a scale degree. Degree 0 is the tonic, and degree 7 is one octave above the tonic."""
        return self.tonic + SCALES[self.mode][degree % 7] + 12 * (degree // 7)

    def voicing(self, chord: int, lowest: int) -> list[int]:
        """Return the sorted MIDI pitches of a chord, all in the octave above the MIDI pitch `lowest`.

        `chord` is the scale degree of the root.
        """
        tones = (0, 2, 4, 6) if self.sevenths else (0, 2, 4)
        return sorted(lowest + (self.pitch(chord + tone) - lowest) % 12 for tone in tones)


@dataclass(frozen=True)
class Score:
    """The notes of all parts of a song.

    Args:
        style: style of the song.
        drums: strokes of the drums.
        bass: notes of the bass.
        comping: notes of the chords of the rhythm instrument.
        pads: notes of the sustained chords.
        lead: notes of the lead instrument.
        phrases: phrases of the lead voice.
        backing: phrases of the second voice; empty for a song with one voice.
    """

    style: Style
    drums: list[Hit]
    bass: list[Note]
    comping: list[Note]
    pads: list[Note]
    lead: list[Note]
    phrases: list[Phrase]
    backing: list[Phrase]
