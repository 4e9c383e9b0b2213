"""The parts of a score: notes, hits, phrases, sections, bars and the style of a song."""

from dataclasses import dataclass

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
}

STEPS = 16


@dataclass(frozen=True)
class Note:
    """One note; `glide` is the time constant with which its pitch leaves the note before, in seconds."""

    start: float
    seconds: float
    pitch: float
    velocity: float
    glide: float = 0.003


@dataclass(frozen=True)
class Hit:
    """One stroke on one piece of the drum kit."""

    start: float
    piece: str
    velocity: float


@dataclass(frozen=True)
class Phrase:
    """One breath of the singer: a note for each syllable, a syllable being a consonant and one or two vowels."""

    notes: tuple[Note, ...]
    syllables: tuple[tuple[str, str], ...]
    effort: float

    @property
    def end(self) -> float:
        return self.notes[-1].start + self.notes[-1].seconds


@dataclass(frozen=True)
class Section:
    """How hard the band plays in a section of the form (0 to 1), and who plays besides the drums."""

    energy: float
    players: tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """One bar: its section, the degree its chord stands on, and where in the section it lies."""

    number: int
    section: Section
    chord: int
    first: bool
    last: bool


@dataclass(frozen=True)
class Style:
    """What holds for a whole song: key, groove and habits of the players."""

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
        """Seconds at which a step of a bar falls; swing makes the middle of every group of `swing_steps` late."""
        group, place = divmod(step / self.swing_steps, 1.0)
        late = place * (1 + 2 * self.swing) if place < 0.5 else 1 - (1 - place) * (1 - 2 * self.swing)
        beats = bar * 4 + (group + late) * self.swing_steps / 4
        return beats * 60 / self.tempo

    def pitch(self, degree: int) -> int:
        """MIDI pitch of a scale degree; degree 0 is the tonic, 7 its octave."""
        return self.tonic + SCALES[self.mode][degree % 7] + 12 * (degree // 7)

    def voicing(self, chord: int, lowest: int) -> list[int]:
        """The pitches of a chord, all put into the octave above `lowest`, so that common tones stay where they are."""
        tones = (0, 2, 4, 6) if self.sevenths else (0, 2, 4)
        return sorted(lowest + (self.pitch(chord + tone) - lowest) % 12 for tone in tones)


@dataclass(frozen=True)
class Score:
    """A whole song on paper. `backing` is the second voice, empty in songs that have none."""

    style: Style
    drums: list[Hit]
    bass: list[Note]
    comping: list[Note]
    pads: list[Note]
    lead: list[Note]
    phrases: list[Phrase]
    backing: list[Phrase]
