"""Command `separate`: separate audio files of any format and length into stems with a trained model."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from omegaconf import DictConfig
from tqdm import tqdm

from unbraid.audio import AudioInput, Bits, ChannelChoice, seconds
from unbraid.commands.cli import error_message
from unbraid.commands.keys import require
from unbraid.data.layouts.folders import audio_files_below, preferred, without_stem
from unbraid.inference.chunked import InferenceOptions, Precision
from unbraid.inference.loading import load_separator
from unbraid.inference.stems import STEM_FILE, OutputFormat, write_stems
from unbraid.interop.interpolation import check_interpolation, interpolated
from unbraid.runs.config import check
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.text import echo
from unbraid.training.interruption import interruptible

STANDARD_INPUT = "-"
FIELDS = ("track", "target")


@dataclass
class SeparateConfig:
    """Command-line keys of `scripts/separate.py`. `InferenceOptions` and `OutputFormat` describe the remaining keys.

    Args:
        run: run folder, checkpoint file or published model, see `unbraid.load`.
        checkpoint: checkpoint that is loaded if `run` is a run folder: best, last or a file.
        config: config file of Music-Source-Separation-Training, if `run` is a checkpoint of that tool.
        start: run or file with the weights before a fine-tuning. This key is only used together with `interpolate`.
        interpolate: share s in [0, 1]. The weights of the model are s * (weights of `run`) + (1 - s) * (weights of `start`).
        plugins: packages whose classes the model may use, see `unbraid.runs.plugins`.
        input: file, folder, pattern such as `songs/*.mp3`, a list of these, or `-` for standard input.
        output: folder of the stems.
        name: pattern for the path of a stem below the output folder, without suffix. `%track` is replaced by the name of the
            song, and `%target` by the name of the stem.
        overwrite: True to replace existing stems; `skip` to leave out input files whose stems all exist; False: an existing
            stem is an error.
        stream: index of the audio stream in a file with several streams, such as a film.
        channels: conversion of more than two channels to stereo: `downmix` (ITU-R BS.775) or `front` (front left and right).
    """

    run: str | None
    checkpoint: str
    config: str | None
    start: str | None
    interpolate: float | None
    plugins: list[str]
    input: str | list[str] | None
    output: str
    name: str | None
    overwrite: bool | Literal["skip"]
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
    """Separate each input file and write its stems. If one of several files fails, print the error and separate the next file.

    Args:
        config: composed config, see `SeparateConfig`.

    Raises:
        InputError: a key is invalid, the model cannot be loaded, a stem already exists, or an input file could not be
            separated.
        OSError: there is only one input file, and the file cannot be read or its stems cannot be written.
    """
    check(config, SeparateConfig)
    require(config, run="FOLDER", input="FILE")
    check_interpolation(config.interpolate, config.start)
    options, output_format = _part(InferenceOptions, config), _part(OutputFormat, config)
    torch.set_flush_denormal(True)
    with interruptible(), _inputs([config.input] if isinstance(config.input, str) else list(config.input)) as inputs:
        loaded = load_separator(config.run, config.checkpoint, config.device, config.config)
        if config.start is not None:
            interpolated(loaded.model, loaded.config, config.start, config.interpolate)
        if options.overlap is None:
            options = replace(options, overlap=loaded.options.overlap)
        outputs = {track: _outputs(config, output_format, track, output_format.names(loaded.targets)) for track in inputs}
        replace_files = bool(config.overwrite)  # with `skip`, the stems of an incomplete song are replaced
        _check_outputs(outputs, replace_files, inputs)
        failed = []
        for track, path in inputs.items():
            if config.overwrite == "skip" and all(output.exists() for output in outputs[track].values()):
                echo(f"skipped {path}: all its stems exist in {_common(outputs[track])}")
                continue
            source = AudioInput(path, config.stream, config.channels)
            try:
                with progress(track, path) as advance:
                    messages = write_stems(loaded, source, outputs[track], output_format, options, advance, replace_files)
            except (InputError, OSError) as error:
                if len(inputs) == 1:
                    raise
                echo(f"error: {error_message(error, 'separate', path)}", file=sys.stderr)
                failed.append(track)
            else:
                echo(*filter(None, [messages, f"stems   {_common(outputs[track])}"]), sep="\n")
    if failed:
        problem = f"{len(failed)} of {len(inputs)} input files could not be separated: {', '.join(failed)}"
        raise InputError("input", problem, hint="See the messages above")


def _part(kind: Any, config: DictConfig) -> Any:
    return kind(**{field.name: config[field.name] for field in fields(kind)})


@contextmanager
def _inputs(words: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Find the input files in the value of the key `input`, and yield a dictionary from track name to input file.

    Standard input is copied to a temporary file, because decoders must be able to read a file from any position.
    """
    files: dict[str, Path] = {}
    with TemporaryDirectory() as folder:
        for word in words:
            for track, path in _standard_input(Path(folder)) if word == STANDARD_INPUT else _files(word):
                if track in files:
                    raise InputError(
                        path, f"this file and {files[track]} have the same track name", hint="Rename one of the two files"
                    )
                files[track] = path
        if not files:
            raise InputError("input", "no input files are given", expected="a file, a folder, a pattern or a list of these")
        yield files


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
            raise InputError(f"input={path}", "the folder contains no audio files")
        echo(*messages, sep="\n", end="\n" if messages else "", file=sys.stderr)
        return [(without_stem(name), file) for name, file in files.items()]
    if path.exists() or not {*word} & {*"*?["}:
        return [(_stem(path), path)]
    matched = sorted(match for match in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if match.is_file())
    if not matched:
        raise InputError("input", f"no file matches the pattern {word}")
    return [(_stem(match), match) for match in matched]


def _stem(path: Path) -> str:
    return without_stem(path.stem) or path.name


def _outputs(config: DictConfig, output_format: OutputFormat, track: str, names: Sequence[str]) -> dict[str, Path]:
    template = config.name or ("%track" if output_format.together else "%track/%target")
    if output_format.together and "%target" in template:
        problem = "a stem.mp4 file contains all stems, so its name cannot contain a target"
        raise InputError("name", problem, found=template, expected="a name without %target")
    folder = Path(config.output).expanduser()
    filled = {name: Path(f"{_filled(template, track, name)}.{output_format.format}") for name in names}
    for path in filled.values():
        if path.is_absolute() or ".." in path.parts:
            raise InputError(
                "name", "this path leads out of the output folder", found=path, expected="a relative path without '..'"
            )
    return {name: folder / path for name, path in filled.items()}


class _OutputName(Template):
    delimiter = "%"  # shells and Hydra do not interpret this character


def _filled(template: str, track: str, target: str) -> str:
    try:
        return _OutputName(template).substitute(track=track, target=target)
    except KeyError as error:
        hint = unknown(error.args[0], FIELDS)
        raise InputError(
            f"name={template}", "this pattern of file names contains an unknown field", found=f"%{error.args[0]}", hint=hint
        ) from error
    except ValueError as error:
        expected = "%track and %target as fields, and %% for a percent sign"
        raise InputError("name", "the pattern of file names is invalid", found=template, expected=expected) from error


def _check_outputs(outputs: dict[str, dict[str, Path]], overwrite: bool, inputs: dict[str, Path]) -> None:
    """Raise InputError if two stems have the same path, or if a stem would replace an input file.

    If `overwrite` is False, InputError is also raised if a stem already exists.
    """
    input_paths = {path.resolve() for path in inputs.values()}
    contents: dict[Path, str] = {}
    for track, paths in outputs.items():
        for name, path in paths.items():
            content = track if path.name.endswith(f".{STEM_FILE}") else f"{name} of {track}"
            if contents.setdefault(path, content) != content:
                both = f"{contents[path]} and {content}"
                raise InputError(
                    path, "two stems would be written to this path", found=both, hint="Use %track and %target in 'name'"
                )
            if path.resolve() in input_paths:
                raise InputError(
                    path, "a stem would replace this input file", hint="Choose another value of 'output' or 'name'"
                )
            if path.exists() and not overwrite:
                hint = "Set overwrite=true or overwrite=skip, or choose another output"
                raise InputError(path, "the output file already exists", hint=hint)


@contextmanager
def progress(track: str, path: Path) -> Iterator[Any]:
    """Show a progress bar that counts seconds of audio, inside a `with` block.

    Args:
        track: name that is shown in front of the bar.
        path: input file. If the duration of the file is unknown, only the separated seconds are shown.

    Yields:
        A function that advances the bar. The function takes the sample rate in Hz and a number of samples, see `write_stems`.
    """
    total = round(seconds(path)) if path.is_file() and os.access(path, os.R_OK) else 0
    output_format = "{desc} |{bar}| {n:.0f} of {total} s, {rate_noinv_fmt}" if total else "{desc} {n:.0f} s, {rate_noinv_fmt}"
    with tqdm(desc=track, total=total or None, unit=" s", bar_format=output_format, leave=False, disable=None) as bar:
        yield lambda rate, samples: bar.update(samples / rate)


def _common(paths: dict[str, Path]) -> str:
    """Return the paths of the stems as text. If all stems are in one folder, the folder is named only once."""
    folders = sorted({str(path.parent) for path in paths.values()})
    names = ", ".join(dict.fromkeys(path.name for path in paths.values()))
    return f"{folders[0]}: {names}" if len(folders) == 1 else ", ".join(map(str, paths.values()))
