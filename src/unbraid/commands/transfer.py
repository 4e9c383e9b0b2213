"""Command `transfer`: play the melody of a recording with a trained DDSP synthesizer (timbre transfer)."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from omegaconf import DictConfig
from tqdm import tqdm

from unbraid import audio
from unbraid.commands.keys import check_range, require
from unbraid.evaluation import pictures
from unbraid.evaluation.resynthesis import curves
from unbraid.inference.loading import load
from unbraid.inference.transfer import Moved, TransferOptions, VoiceControls, check_voice, listen, moved, played, voiced_share
from unbraid.models.instruments import Player
from unbraid.nets.ddsp import Sounding, semitones
from unbraid.runs.config import check
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.text import echo
from unbraid.training.interruption import interruptible

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")
COLUMNS = 4000  # largest number of frames in the picture


@dataclass
class TransferConfig:
    """Command-line keys of `scripts/transfer.py`. The class `TransferOptions` describes the remaining keys.

    Args:
        run: folder of a run that has trained a DDSP synthesizer of one instrument.
        checkpoint: checkpoint of the run: best, last or a file.
        plugins: packages whose classes the model may use, see `unbraid.runs.plugins`.
        input: audio file with one voice.
        output: audio file. The control curves of the synthesizer are written next to this file as .png and .npz.
        least_voiced: number in [0, 1]. Of the frames that are not silent, at least this share must have a pitch. Otherwise the
            input is rejected, because the input may contain several voices.
    """

    run: str | None
    checkpoint: str
    plugins: list[str]
    input: str | None
    output: str | None
    least_voiced: float
    shift: float | Literal["auto"]
    loudness: Literal["match", "keep"]
    silence_db: float
    reverb: bool
    seed: int


def transfer(config: DictConfig) -> None:
    """Play the melody of the input with a trained DDSP synthesizer of one instrument, and write the sound.

    The control curves of the synthesizer, such as pitch and loudness, are written to two more files.

    Args:
        config: composed config, see `TransferConfig`.

    Raises:
        InputError: a key is invalid, the run contains no DDSP synthesizer, or the input is unreadable, silent or polyphonic.
    """
    check(config, TransferConfig)
    require(config, run="FOLDER", input="FILE", output="FILE")
    options = TransferOptions(**{field.name: config[field.name] for field in fields(TransferOptions)})
    source, output = (Path(config[name]).expanduser() for name in ("input", "output"))
    if output.suffix.lower() not in SUFFIXES:
        raise InputError("output", found=output, expected=f"a name that ends in {', '.join(SUFFIXES)}")
    if output.is_dir():
        raise InputError(f"output={output}", "the output is an existing folder", expected="a file")
    check_range(config, "least_voiced", 0, 1)
    if output.exists() and source.exists() and output.samefile(source):
        raise InputError(f"output={output}", "the output would replace the input file", expected="another file")
    torch.set_flush_denormal(True)
    with interruptible():
        player = load(config.run, config.checkpoint)
        if not isinstance(player, Player):
            raise InputError(f"run={config.run}", "the run contains no DDSP synthesizer", expected="a run of model=ddsp")
        with audio.open_audio(source) as file:
            mono = (audio.to_channels(block, 1) for block in file)
            voice = listen(player, (block[0] for block in audio.resample_blocks(mono, file.rate, player.sample_rate)))
        check_voice(voice.controls, player.features, config.least_voiced, f"input={source}")
        controls = moved(voice.controls, player.features, player.instrument.training_range, options)
        output.parent.mkdir(parents=True, exist_ok=True)
        _write(player, voice, controls, options, output)
        echo(_summary(player, voice, controls, output))


def _write(player: Player, voice: VoiceControls, controls: Moved, options: TransferOptions, output: Path) -> None:
    rate, seconds = player.sample_rate, player.instrument.hop_length / player.sample_rate
    with _curves_file(len(controls.f0), player, output) as curves_file, atomic_write(output) as partial:
        pieces = played(player.instrument, controls, voice, options)
        with tqdm(total=round(voice.samples / rate), unit="s", desc="playing", leave=False, disable=None) as bar:
            blocks = (_advance(sound, bar, rate) for sound in curves_file.take(pieces))
            audio.write_blocks(partial, blocks, rate, 1, voice.samples, 24, {})
        curves_file.add(controls, voice, player)
        every = -(-len(controls.f0) // COLUMNS)
        sounding = Sounding(*(torch.from_numpy(array[::every].copy()) for array in curves_file.arrays))
        played_controls = voice.controls._replace(f0=controls.f0, loudness=controls.loudness)
        shown = curves(type(played_controls)(*(curve[::every] for curve in played_controls)), sounding)
        with atomic_write(output.with_suffix(".png")) as picture:
            pictures.controls(picture, output.name, shown, every * seconds)


def _advance(sound: torch.Tensor, bar: "tqdm[Any]", rate: int) -> np.ndarray:
    """Advance the progress bar by the length of a piece of sound, and return the piece as an array [1, samples]."""
    bar.update(len(sound) / rate)
    return sound.numpy()[None]


class _CurvesFile:
    """Write the control curves of a sound to files piece by piece, because the curves may not fit into memory."""

    def __init__(self, folder: Path, points: int, player: Player) -> None:
        self.folder, self.start = folder, 0
        shapes = {"amplitude": (points,), "harmonic_distribution": (points, player.instrument.harmonics)}
        shapes |= {"noise_bands": (points, player.instrument.bands)}
        self.arrays = [
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape) for name, shape in shapes.items()
        ]

    def take(self, pieces: Iterator[tuple[torch.Tensor, Sounding]]) -> Iterator[torch.Tensor]:
        """Write the control curves of each piece of sound to the temporary files, and yield the waveform of the piece."""
        for sound, sounding in pieces:
            stop = self.start + sounding.amplitude.shape[1]
            for array, part in zip(self.arrays, sounding, strict=True):
                array[self.start : stop] = part[0].numpy()
            self.start = stop
            yield sound

    def add(self, controls: Moved, voice: VoiceControls, player: Player) -> None:
        """Write the pitch and loudness curves of the input and of the output to temporary files."""
        values = {
            "f0": controls.f0, "loudness": controls.loudness, "gate": controls.gate, "input_f0": voice.controls.f0,
            "input_loudness": voice.controls.loudness, "periodicity": voice.controls.periodicity,
            "frames_per_second": torch.tensor(player.frames_per_second),
        }  # fmt: skip
        for name, value in values.items():
            np.save(self.folder / f"{name}.npy", value.numpy())


@contextmanager
def _curves_file(points: int, player: Player, output: Path) -> Iterator[_CurvesFile]:
    """Yield a writer of control curves. If the `with` block succeeds, store the curves in an .npz file next to `output`."""
    with TemporaryDirectory(prefix=".partial-", dir=output.parent) as folder:
        curves_file = _CurvesFile(Path(folder), points, player)
        yield curves_file
        for array in curves_file.arrays:
            array.flush()
        with atomic_write(output.with_suffix(".npz")) as partial, zipfile.ZipFile(partial, "w") as archive:
            for path in sorted(Path(folder).iterdir()):
                archive.write(path, path.name)


def _summary(player: Player, voice: VoiceControls, controls: Moved, output: Path) -> str:
    """Return the text that is printed at the end: voiced frames, pitch in the input and the output, and paths of the files."""
    voiced = player.features.voiced(voice.controls)
    share = voiced_share(voice.controls, player.features)
    before, after = (float(semitones(hz[voiced]).median()) for hz in (voice.controls.f0, controls.f0))
    trained = player.instrument.training_range
    return (
        f"voice   {share:.0%} of the sounding frames are voiced, median pitch {before:.1f} (MIDI)\n"
        f"played  {controls.shift:+g} semitones, median pitch {after:.1f}, "
        f"trained on {trained.lowest:.1f} to {trained.highest:.1f}\n"
        f"output  {output}, with its control curves as .png and .npz"
    )
