"""Transfer: one voice of an audio file, played by a trained instrument."""

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
COLUMNS = 4000  # of a picture


@dataclass
class Transfer:
    """What is played by whom; see `TransferOptions` for most of it.

    Args:
        run: folder of a trained run of an instrument.
        checkpoint: of the run: best, last or a file.
        input: an audio file with one voice.
        output: an audio file; its control curves lie beside it as .png and .npz.
        least_voiced: share of what sounds in the input that must have a pitch; of a band less has.
    """

    run: str | None
    checkpoint: str
    input: str | None
    output: str | None
    least_voiced: float
    shift: float | Literal["auto"]
    loudness: Literal["match", "keep"]
    silence_db: float
    reverb: bool
    seed: int


def transfer(config: DictConfig) -> None:
    """Write the audio and its control curves, each whole or not at all.

    Raises:
        InputError: the run is of no instrument, or the input cannot be used, is silent or has several voices.
    """
    check(config, Transfer)
    for name in ("run", "input", "output"):
        if config[name] is None:
            raise InputError(f"{name} has no default and must be given: {name}={'FOLDER' if name == 'run' else 'FILE'}")
    options = TransferOptions(**{field.name: config[field.name] for field in fields(TransferOptions)})
    source, output = (Path(config[name]).expanduser() for name in ("input", "output"))
    if output.suffix.lower() not in SUFFIXES:
        raise InputError(f"output={output}: expected a name that ends in {', '.join(SUFFIXES)}")
    if output.is_dir():
        raise InputError(f"output={output}: is a folder, expected a file")
    if not 0 <= config.least_voiced <= 1:
        raise InputError(f"least_voiced must lie in [0, 1], found {config.least_voiced}")
    if output.exists() and source.exists() and output.samefile(source):
        raise InputError(f"output={output}: is the input, expected another file")
    torch.set_flush_denormal(True)
    with interruptible():
        player = load(config.run, config.checkpoint)
        if not isinstance(player, Player):
            raise InputError(f"run={config.run}: has no instrument, expected a run of model=ddsp")
        with audio.open_audio(source) as file:
            mono = (audio.to_channels(block, 1) for block in file)
            heard = listen(player, (block[0] for block in audio.resample_blocks(mono, file.rate, player.sample_rate)))
        check_voice(heard.controls, player.features, config.least_voiced, f"input={source}")
        asked = moved(heard.controls, player.features, player.instrument.training_range, options)
        output.parent.mkdir(parents=True, exist_ok=True)
        _write(player, heard, asked, options, output)
        echo(_said(player, heard, asked, output))


def _write(player: Player, heard: VoiceControls, asked: Moved, options: TransferOptions, output: Path) -> None:
    rate, seconds = player.sample_rate, player.instrument.hop_length / player.sample_rate
    with _kept(len(asked.f0), player, output) as kept, atomic_write(output) as partial:
        pieces = played(player.instrument, asked, heard, options)
        with tqdm(total=round(heard.samples / rate), unit="s", desc="playing", leave=False, disable=None) as bar:
            blocks = (_heard(sound, bar, rate) for sound in kept.take(pieces))
            audio.write_blocks(partial, blocks, rate, 1, heard.samples, 24, {})
        kept.add(asked, heard, player)
        every = -(-len(asked.f0) // COLUMNS)
        sounding = Sounding(*(torch.from_numpy(array[::every].copy()) for array in kept.arrays))
        controls = heard.controls._replace(f0=asked.f0, loudness=asked.loudness)
        shown = curves(type(controls)(*(curve[::every] for curve in controls)), sounding)
        with atomic_write(output.with_suffix(".png")) as picture:
            pictures.controls(picture, output.name, shown, every * seconds)


def _heard(sound: torch.Tensor, bar: "tqdm[Any]", rate: int) -> np.ndarray:
    bar.update(len(sound) / rate)
    return sound.numpy()[None]


class _Kept:
    """Control curves on the disk while they grow: they take more room than the sound."""

    def __init__(self, folder: Path, points: int, player: Player) -> None:
        self.folder, self.start = folder, 0
        shapes = {"amplitude": (points,), "harmonic_distribution": (points, player.instrument.harmonics)}
        shapes |= {"noise_bands": (points, player.instrument.bands)}
        self.arrays = [
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape) for name, shape in shapes.items()
        ]

    def take(self, pieces: Iterator[tuple[torch.Tensor, Sounding]]) -> Iterator[torch.Tensor]:
        """Hand the sounds on, and keep what goes with them."""
        for sound, sounding in pieces:
            stop = self.start + sounding.amplitude.shape[1]
            for array, part in zip(self.arrays, sounding, strict=True):
                array[self.start : stop] = part[0].numpy()
            self.start = stop
            yield sound

    def add(self, asked: Moved, heard: VoiceControls, player: Player) -> None:
        """The curves that are in memory."""
        values = {
            "f0": asked.f0, "loudness": asked.loudness, "gate": asked.gate, "input_f0": heard.controls.f0,
            "input_loudness": heard.controls.loudness, "periodicity": heard.controls.periodicity,
            "frames_per_second": torch.tensor(player.frames_per_second),
        }  # fmt: skip
        for name, value in values.items():
            np.save(self.folder / f"{name}.npy", value.numpy())


@contextmanager
def _kept(points: int, player: Player, output: Path) -> Iterator[_Kept]:
    """An .npz beside the output once all is well."""
    with TemporaryDirectory(prefix=".partial-", dir=output.parent) as folder:
        kept = _Kept(Path(folder), points, player)
        yield kept
        for array in kept.arrays:
            array.flush()
        with atomic_write(output.with_suffix(".npz")) as partial, zipfile.ZipFile(partial, "w") as archive:
            for path in sorted(Path(folder).iterdir()):
                archive.write(path, path.name)


def _said(player: Player, heard: VoiceControls, asked: Moved, output: Path) -> str:
    voiced = player.features.voiced(heard.controls)
    share = voiced_share(heard.controls, player.features)
    before, after = (float(semitones(hz[voiced]).median()) for hz in (heard.controls.f0, asked.f0))
    known = player.instrument.training_range
    return (
        f"voice   {share:.0%} of what sounds is voiced, median pitch {before:.1f} (MIDI)\n"
        f"played  {asked.shift:+g} semitones, median pitch {after:.1f}; trained on {known.lowest:.1f} to {known.highest:.1f}\n"
        f"output  {output}, with its control curves as .png and .npz"
    )
