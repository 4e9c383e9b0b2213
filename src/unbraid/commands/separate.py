"""Separate: stems of audio files of any kind and length, by a trained run."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from omegaconf import DictConfig
from tqdm import tqdm

from unbraid.audio import AudioInput, Bits, ChannelChoice, seconds
from unbraid.commands.cli import sentence
from unbraid.data.layouts.folders import audio_files_below, preferred, without_stem
from unbraid.inference.chunked import InferenceOptions, Precision
from unbraid.inference.loading import load_separator
from unbraid.inference.stems import STEM_FILE, OutputFormat, write_stems
from unbraid.runs.config import check
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.text import echo
from unbraid.training.interruption import interruptible

STANDARD_INPUT = "-"
FIELDS = ("track", "target")


@dataclass
class SeparateConfig:
    """What to separate, by what, and to what; see `InferenceOptions` and `OutputFormat` for most of it.

    Args:
        run: what `unbraid.load` takes.
        checkpoint: of a run: best, last or a file.
        input: a file, a folder, a pattern, several of them, or `-` for standard input.
        output: folder of the stems.
        name: of an output below that folder, without its suffix; `%track` and `%target` stand for names.
        overwrite: files that are there already are replaced.
        stream: index of the audio stream of a file with several, such as a film.
        channels: how stereo is made of more than two channels; front: front left and right alone.
    """

    run: str | None
    checkpoint: str
    input: str | list[str] | None
    output: str
    name: str | None
    overwrite: bool
    stream: int
    channels: ChannelChoice
    format: str
    bits: Bits
    residual: bool
    accompaniment: bool
    peaks: Literal["scale", "clip"]
    tags: bool
    chunk_seconds: float | None
    overlap: float | None
    batch_size: int | None
    shifts: int
    precision: Precision
    device: str | None


def separate(config: DictConfig) -> None:
    """Write the stems of every input; one that cannot be used is named, and the others go on.

    Raises:
        InputError: nothing can be done, or some of the inputs could not be used.
    """
    check(config, SeparateConfig)
    if config.run is None or config.input is None:
        missing = "run" if config.run is None else "input"
        raise InputError(f"{missing} has no default and must be given: {missing}={'FOLDER' if missing == 'run' else 'FILE'}")
    options, output_format = _part(InferenceOptions, config), _part(OutputFormat, config)
    torch.set_flush_denormal(True)
    with interruptible(), _inputs([config.input] if isinstance(config.input, str) else list(config.input)) as inputs:
        loaded = load_separator(config.run, config.checkpoint, config.device)
        outputs = {track: _outputs(config, output_format, track, output_format.names(loaded.targets)) for track in inputs}
        _check_outputs(outputs, config.overwrite, inputs)
        failed = []
        for track, path in inputs.items():
            source = AudioInput(path, config.stream, config.channels)
            try:
                with progress(track, path) as heard:
                    said = write_stems(loaded, source, outputs[track], output_format, options, heard, config.overwrite)
            except (InputError, OSError) as error:
                if len(inputs) == 1:
                    raise
                echo(f"error: {sentence(error, 'separate', path)}", file=sys.stderr)
                failed.append(track)
            else:
                echo(*filter(None, [said, f"stems   {_common(outputs[track])}"]), sep="\n")
    if failed:
        raise InputError(f"{len(failed)} of {len(inputs)} inputs could not be separated: {', '.join(failed)}")


def _part(kind: Any, config: DictConfig) -> Any:
    return kind(**{field.name: config[field.name] for field in fields(kind)})


@contextmanager
def _inputs(asked: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Files by the names of their tracks; standard input is copied to a file, since some formats need seeking."""
    found: dict[str, Path] = {}
    with TemporaryDirectory() as folder:
        for word in asked:
            for track, path in _standard_input(Path(folder)) if word == STANDARD_INPUT else _files(word):
                if track in found:
                    raise InputError(f"{path}: has the same name as {found[track]}, expected one input '{track}'")
                found[track] = path
        if not found:
            raise InputError("input: none given, expected a file, a folder, a pattern or several of them")
        yield found


def _standard_input(folder: Path) -> list[tuple[str, Path]]:
    path = folder / "standard input"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return [("stdin", path)]


def _files(word: str) -> list[tuple[str, Path]]:
    path = Path(word).expanduser()
    if path.is_dir():
        files, messages = preferred(audio_files_below(path), path)
        if not files:
            raise InputError(f"input={path}", "contains no audio files")
        echo(*messages, sep="\n", end="\n" if messages else "", file=sys.stderr)
        return [(without_stem(name), file) for name, file in files.items()]
    if path.exists() or not {*word} & {*"*?["}:
        return [(_stem(path), path)]
    matched = sorted(match for match in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if match.is_file())
    if not matched:
        raise InputError(f"input={word}: there are no such files")
    return [(_stem(match), match) for match in matched]


def _stem(path: Path) -> str:
    return without_stem(path.stem) or path.name


def _outputs(config: DictConfig, output_format: OutputFormat, track: str, names: Sequence[str]) -> dict[str, Path]:
    template = config.name or ("%track" if output_format.together else "%track/%target")
    if output_format.together and "%target" in template:
        raise InputError(f"name={template}: a stem file has all targets in it, expected a name without %target")
    folder = Path(config.output).expanduser()
    filled = {name: Path(f"{_filled(template, track, name)}.{output_format.format}") for name in names}
    for path in filled.values():
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"name={template}: {path} leads out of output={config.output}")
    return {name: folder / path for name, path in filled.items()}


class _OutputName(Template):
    delimiter = "%"  # which neither shells nor Hydra take for their own


def _filled(template: str, track: str, target: str) -> str:
    try:
        return _OutputName(template).substitute(track=track, target=target)
    except KeyError as error:
        raise InputError(f"name={template}: there is no %{error.args[0]}; {unknown(error.args[0], FIELDS)}") from error
    except ValueError as error:
        raise InputError(f"name={template}: expected %track and %target as names, and %% for a percent sign") from error


def _check_outputs(outputs: dict[str, dict[str, Path]], overwrite: bool, inputs: dict[str, Path]) -> None:
    """Before anything is heard."""
    heard = {path.resolve() for path in inputs.values()}
    taken: dict[Path, str] = {}
    for track, paths in outputs.items():
        for name, path in paths.items():
            whose = track if path.name.endswith(f".{STEM_FILE}") else f"{name} of {track}"
            if taken.setdefault(path, whose) != whose:
                raise InputError(f"{path}: would be {taken[path]} and {whose}; expected %track and %target in name")
            if path.resolve() in heard:
                raise InputError(f"{path}: is an input, expected another output or name")
            if path.exists() and not overwrite:
                raise InputError(f"{path}: is there already; set overwrite=true, or choose another output")


@contextmanager
def progress(track: str, path: Path) -> Iterator[Any]:
    """A bar of the seconds of a file, with how many are done in one; it yields who is told of them, see `write_stems`."""
    total = round(seconds(path)) if path.is_file() and os.access(path, os.R_OK) else 0
    output_format = "{desc} |{bar}| {n:.0f} of {total} s, {rate_noinv_fmt}" if total else "{desc} {n:.0f} s, {rate_noinv_fmt}"
    with tqdm(desc=track, total=total or None, unit=" s", bar_format=output_format, leave=False, disable=None) as bar:
        yield lambda rate, samples: bar.update(samples / rate)


def _common(paths: dict[str, Path]) -> str:
    places = sorted({str(path.parent) for path in paths.values()})
    names = ", ".join(dict.fromkeys(path.name for path in paths.values()))
    return f"{places[0]}: {names}" if len(places) == 1 else ", ".join(map(str, paths.values()))
