"""Write small data sets in the layouts of real ones. The name of a file determines its samples, so tests know all samples."""

import json
import zlib
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
import soundfile
import yaml

from unbraid.data.decoding import decode

RATE = 8000
SAMPLES = 400


def sound(name: str, samples: int = SAMPLES) -> np.ndarray:
    """Return noise that depends on the name, quiet enough for sums of five: int16 `[samples]`."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(-6000, 6000, samples).astype(np.int16)


def heard(*names: str, samples: int = SAMPLES) -> np.ndarray:
    """Return the sum of sounds as float32, as it is decoded: `[1, samples]`."""
    return sum(sound(name, samples).astype(np.float32)[None] / 32768 for name in names)


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


def empty(path: Path) -> Path:
    """Write an empty file, for tests of file names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def karaoke(root: Path, names: list[str]) -> Path:
    """Write iKala or MIR-1K: `Wavfile/<name>.wav` with the accompaniment left and the voice right."""
    for name in names:
        write(root / "Wavfile" / f"{name}.wav", np.stack([sound(f"{name} music"), sound(f"{name} voice")], axis=1))
    return root


def ikala(root: Path) -> Path:
    return karaoke(root, [f"{song}_{part}" for song in (10161, 21025, 31047, 45305) for part in ("verse", "chorus")])


def mir1k(root: Path) -> Path:
    return karaoke(root, [f"{s}_{song}_{clip:02d}" for s in ("amy", "bug", "jmzen") for song in (1, 2) for clip in (1, 2)])


def medleydb_track(folder: Path, instruments: list, **changes) -> dict:
    """Write a track of MedleyDB; `changes` are made to its metadata."""
    name = folder.name
    stems = {
        f"S{i:02d}": {"component": "", "filename": f"{name}_STEM_{i:02d}.wav", "instrument": instrument, "raw": {}}
        for i, instrument in enumerate(instruments, start=1)
    }
    for stem in stems.values():
        write(folder / f"{name}_STEMS" / stem["filename"], sound(stem["filename"]))
    write(folder / f"{name}_MIX.wav", sound(f"{name} mix"))
    metadata = {
        "artist": name.split("_")[0], "title": name.split("_")[1], "has_bleed": "no", "instrumental": "no",
        "mix_filename": f"{name}_MIX.wav", "stem_dir": f"{name}_STEMS", "stems": stems,
    }  # fmt: skip
    metadata |= changes
    (folder / f"{name}_METADATA.yaml").write_text(yaml.safe_dump(metadata))
    return metadata


def medleydb(root: Path) -> Path:
    """Write four tracks of three artists with voices, and one track for each reason of an exclusion."""
    band = ["female singer", "acoustic guitar", "drum set", ["male singer", "vocalists"]]
    for folder in ("V1/Liz_Rain", "V1/Liz_Cold", "V2/Meaxic_Step", "V2/Creepoid_Tree"):
        medleydb_track(root / folder, band)
    medleydb_track(root / "V1/Live_Stage", band, has_bleed="yes")
    medleydb_track(root / "V1/Delta_Jazz", ["trumpet", "piano"], instrumental="yes")
    medleydb_track(root / "V1/Choir_Alone", ["vocalists"])
    medleydb_track(root / "V2/Mixed_Stem", [["male singer", "piano"], "piano"])
    empty(root / "V2/Late_Entry/Late_Entry_STEMS/Late_Entry_STEM_01.wav")
    return root


def moisesdb_song(folder: Path, artist: str, recordings: dict[str, list[str]], /, **changes) -> dict:
    """Write a song of MoisesDB; `changes` are made to its metadata. The recording `x` holds the sound `<song> x`."""
    entries = [
        {
            "id": f"id-of-{stem}",
            "stemName": stem,
            "tracks": [{"id": name, "trackType": "a type", "extension": "wav", "has_bleed": False} for name in names],
        }
        for stem, names in recordings.items()
    ]
    for stem, names in recordings.items():
        for name in names:
            write(folder / stem / f"{name}.wav", sound(f"{folder.name} {name}"))
    metadata = {"song": f"song {folder.name}", "artist": artist, "genre": "rock", "stems": entries} | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.json").write_text(json.dumps(metadata))
    return metadata


def moisesdb(root: Path) -> Path:
    """Write songs of four artists, one with two songs. The songs have different stems."""
    place = root / "moisesdb_v0.1"
    moisesdb_song(place / "0a1b", "Firefly", {"vocals": ["lead", "choir"], "drums": ["kick", "snare"], "bass": ["bass"]})
    moisesdb_song(place / "1b2c", "Firefly", {"vocals": ["lead"], "guitar": ["left", "right"], "other_keys": ["pad"]})
    moisesdb_song(place / "2c3d", "ProRata", {"drums": ["kit"], "other": ["fx"], "percussion": ["shaker"]})
    moisesdb_song(place / "3d4e", "Battlestar", {"vocals": ["lead"], "bass": ["bass"], "piano": ["piano"]})
    moisesdb_song(place / "4e5f", "Fake Eyes", {"vocals": ["lead"], "bass": ["bass"]})
    return root


def slakh_track(folder: Path, classes: list[str], midi: str, suffix: str = "flac", **changes) -> dict:
    """Write a track of Slakh2100 with one more stem that was not rendered; `changes` are made to its metadata."""
    stems = {
        f"S{i:02d}": {
            "audio_rendered": True,
            "inst_class": name,
            "integrated_loudness": -16.5,
            "is_drum": name == "Drums",
            "midi_program_name": "a program",
            "midi_saved": True,
            "plugin_name": "a_plugin.nkm",
            "program_num": 1,
        }
        for i, name in enumerate(classes)
    }
    for key in stems:
        write(folder / "stems" / f"{key}.{suffix}", sound(f"{folder.name} {key}"))
    stems["S90"] = {"audio_rendered": False, "inst_class": "Sound Effects", "is_drum": False, "midi_saved": False}
    write(folder / f"mix.{suffix}", sound(f"{folder.name} mix"))
    empty(folder / "MIDI/S00.mid")
    metadata = {"UUID": midi, "audio_dir": f"{folder.name}/stems", "midi_dir": f"{folder.name}/MIDI", "stems": stems} | changes
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return metadata


def slakh(root: Path) -> Path:
    """Write the redux edition. The omitted tracks have the MIDI files of a training track and of a test track."""
    place = root / "slakh2100_flac_redux"
    band = ["Guitar", "Drums", "Piano", "Bass", "Strings (continued)", "Guitar", "Organ"]
    slakh_track(place / "train/Track00001", band, "1a81")
    slakh_track(place / "train/Track00002", ["Bass", "Drums", "Reed", "Pipe"], "2b92")
    slakh_track(place / "validation/Track01501", band, "3ca3")
    slakh_track(place / "test/Track01876", band, "4db4")
    slakh_track(place / "omitted/Track00049", band, "1a81")
    slakh_track(place / "omitted/Track00050", band, "4db4")
    return root


def baby_slakh(root: Path) -> Path:
    """Write wav files without split folders. Two tracks have the same MIDI file."""
    for number, midi in enumerate(("1a81", "2b92", "2b92", "3ca3", "4db4"), start=1):
        slakh_track(root / f"babyslakh_16k/Track{number:05d}", ["Guitar", "Drums", "Bass"], midi, "wav")
    return root


def dnr_clip(folder: Path, mixture: str, suffix: str, *more: str) -> Path:
    """Write a clip of Divide and Remaster. Its sounds are named by split, clip and stem."""
    for stem in (mixture, "speech", "music", "sfx", *more):
        write(folder / f"{stem}.{suffix}", sound(f"{folder.parent.name} {folder.name} {stem}"))
    return folder


def dnr(root: Path) -> Path:
    """Write version 2. A clip has the same number in two splits."""
    for split, clip in (("tr", "1002"), ("tr", "66831"), ("cv", "1002"), ("tt", "237")):
        empty(dnr_clip(root / "dnr_v2" / split / clip, "mix", "wav") / "annots.csv")
    return root


def dnr3(root: Path) -> Path:
    """Write version 3 in one language, with the two parts of the effects."""
    for split in ("train", "val", "test"):
        dnr_clip(root / "multi/audio" / split / "000000", "mixture", "flac", "sfx_fg", "sfx_bg")
        empty(root / "multi/manifest" / split / "000000/speech.csv")
        empty(root / "multi/audio_metadata" / split / "000000.csv")
    return root


def urmp_piece(folder: Path) -> Path:
    """Write a piece of URMP. Its name lists the players, and its sounds are named by piece and player."""
    number, title, *players = folder.name.split("_")
    for i, code in enumerate(players, start=1):
        write(folder / f"AuSep_{i}_{code}_{number}_{title}.wav", sound(f"{folder.name} {i}"))
        empty(folder / f"Notes_{i}_{code}_{number}_{title}.txt")
    write(folder / f"AuMix_{folder.name}.wav", sound(f"{folder.name} mix"))
    for name in (f"Sco_{folder.name}.mid", f"Vid_{folder.name}.mp4"):
        empty(folder / name)
    return folder


def urmp(root: Path) -> Path:
    """Write five pieces, two of them arrangements of the same title."""
    pieces = ("01_Jupiter_vn_vc", "02_Sonata_vn_vn", "11_Maria_ob_vc", "24_Pirates_vn_vn_va_vc", "25_Pirates_vn_vn_va_sax")
    for piece in pieces:
        urmp_piece(root / "Dataset" / piece)
    (root / "Dataset/Supplementary_Files").mkdir()
    return root


def msst_songs(folder: Path, stems=("vocals", "other"), mixture=False, songs=("Song 1", "Song 2")) -> Path:
    """Write songs of MSST's types 1 and 4, or validation songs whose mixtures differ from the sum."""
    for song in songs:
        for stem in (*stems, *(["mixture"] if mixture else [])):
            write(folder / song / f"{stem}.wav", sound(f"{folder.name} {song} {stem}"))
    return folder


def msst(root: Path) -> Path:
    """Write all types of training data of MSST, and validation songs."""
    msst_songs(root / "train")
    msst_songs(root / "valid", mixture=True)
    rows = []
    for stem in ("vocals", "other"):
        for number in (1, 2, 3):
            path = write(root / "train2" / stem / f"{stem}_{number}.wav", sound(f"{stem} {number}", SAMPLES + 10 * number))
            rows.append({"instrum": stem, "path": str(path) if number == 1 else f"../train2/{stem}/{path.name}"})
    manifest(root / "tables/train3.csv", rows)
    return root


def stems(root: Path) -> Path:
    """Write split folders with three formats. One track has a mixture file, which differs from the sum."""
    for split, track, suffix in (
        ("train", "one", "wav"),
        ("train", "two", "flac"),
        ("valid", "three", "aiff"),
        ("test", "four", "wav"),
    ):
        for stem in ("piano", "voice"):
            write(root / split / track / f"{stem}.{suffix}", sound(f"{track} {stem}"))
    write(root / "test/four/mixture.wav", sound("four mixture"))
    return root


def manifest(path: Path, rows: list[dict]) -> Path:
    """Write a table of tracks as CSV or JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n")
    return path


def singles(root: Path) -> Path:
    """Write five voices and three pianos of different lengths. Two pianos are in a subfolder."""
    for i in range(5):
        write(root / "voice" / f"take {i}.wav", sound(f"voice {i}", SAMPLES + 10 * i))
    for i in range(3):
        write(root / "piano" / ("room" if i else ".") / f"take {i}.wav", sound(f"piano {i}", SAMPLES + 5 * i))
    return root


def pairs(root: Path) -> Path:
    """Write mixtures a, b, c, d and instrumentals b, c, d, e. Pairing in sorted order would be wrong for all songs."""
    for name in "abcd":
        mixture = sound(f"{name} voice") + sound(f"{name} band")
        write(root / "mixture" / f"{name}.wav", mixture)
    for name in "bcde":
        write(root / "instrumental" / f"{name}.flac", sound(f"{name} band"))
    return root


def splits(listing) -> dict[str, str]:
    """Return the split of each track by name."""
    return {track.name: track.split for track in listing.tracks}


def decoded(listing, name: str):
    """Decode the track of a name."""
    (track,) = (track for track in listing.tracks if track.name == name)
    return decode(track)


UNTIDY_SOURCES = """\
vocals: ["*vox*", "*voc*"]
drums: ["*kick*", "*snare*", "*drums*", "!*room*"]
bass: ["*bass*"]
mixture: ["*mix*", "*master*"]
other: ["*"]
"""


def untidy(root: Path, seconds: float = 2.0) -> Path:
    """Write twelve songs with irregular names, lengths and sample rates, and a yaml that assigns their files to sources."""
    names = [f"{number:02d} Song" for number in range(1, 9)] + ["Café", "Live [2nd take]", "it's (100%) #1", "LOUD"]
    for number, name in enumerate(names):
        folder, rate = root / name, (44100, 48000, 22050)[number % 3]
        tracks = {
            f"{name} Lead VOX.WAV": rate,
            "Kick.wav": rate,
            "snare top.Flac": 22050 if number == 4 else rate,
            "Bass_DI.AIFF" if number % 2 else "bass.flac": rate,
            "gtr [left].wav": rate,
        }
        for k, (file, own_rate) in enumerate(tracks.items()):
            length = round(own_rate * (seconds + 0.1 * k + 1.5 * (number == 5 and k == 3)))
            write(folder / file, np.stack([sound(f"{name} {file} {side}", length) // 2 for side in (0, 1)], axis=1), own_rate)
    write(root / names[0] / "Bass_DI.mp3", sound("lossy", 40000).astype(np.float32) / 32768, 44100)
    (root / names[0] / "bass.flac").rename(root / names[0] / "Bass_DI.flac")
    (root / names[1] / f"{names[1]} Lead VOX.WAV").unlink()  # an instrumental
    write(root / names[6] / "Master MIX.wav", sound("mix", round(44100 * seconds)), 44100)
    write_piped_mp3(root / names[7] / "gtr [left].wav")
    write_surround_flac(root / names[8] / "Kick.wav")
    (root / names[2] / "._Kick.wav").write_bytes(b"made by macOS")
    (root / names[3] / "notes.txt").write_text("mixed at home")
    (root / "sources.yaml").write_text(UNTIDY_SOURCES)
    return root


def write_piped_mp3(wav: Path) -> None:
    """Replace a stereo wav file by an mp3 that was written to a pipe. Its header does not contain its length."""
    samples, rate = soundfile.read(wav, dtype="int16")
    wav.unlink()
    with wav.with_suffix(".mp3").open("wb") as file:
        encode(_Pipe(file), "mp3", "libmp3lame", "stereo", samples, rate)


def write_surround_flac(wav: Path) -> None:
    """Replace a stereo wav file by a 5.1 flac with its left channel in the centre and its right one in the effects channel."""
    samples, rate = soundfile.read(wav, dtype="int16")
    wav.unlink()
    surround = np.zeros((len(samples), 6), np.int16)
    surround[:, 2:4] = samples
    encode(str(wav.with_suffix(".flac")), "flac", "flac", "5.1", surround, rate)


def encode(target: Any, container: str, codec: str, layout: str, samples: np.ndarray, rate: int) -> None:
    """Write int16 samples `[samples, channels]` with FFmpeg."""
    with av.open(target, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        for start in range(0, len(samples), 1024):
            flat = np.ascontiguousarray(samples[start : start + 1024]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(flat, format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


class _Pipe:
    """Write a file that cannot seek."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write
