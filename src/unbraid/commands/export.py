"""Command `export`: write a trained separator as an ONNX file, a torch.export program or a folder for the package openunmix."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from unbraid.commands.experiment import check_experiment
from unbraid.commands.keys import require
from unbraid.data.demo_songs.song import render_song
from unbraid.data.module import MultitrackData
from unbraid.data.store import StoredTrack, spell_size
from unbraid.inference.chunked import separate
from unbraid.inference.export.graphs import example
from unbraid.inference.export.onnx_file import OnnxSeparator, quantise, write_onnx
from unbraid.inference.export.openunmix import check_openunmix, write_openunmix
from unbraid.inference.export.program import write_program, written_program
from unbraid.inference.loading import separator_builder
from unbraid.interop.msst.pair import msst_pair
from unbraid.interop.origins import find_origin, separator_of, with_config
from unbraid.models.separators.base import Separator
from unbraid.runs.config import build, check, node_at, own_config
from unbraid.runs.errors import InputError
from unbraid.runs.files import rename_synced
from unbraid.runs.records import own_choices
from unbraid.runs.text import echo
from unbraid.scoring.measures import usdr

NAMES = {"onnx": "model.onnx", "torch_export": "model.pt2", "openunmix": "openunmix"}
QUANTISED = "model-int8.onnx"
SONG_SECONDS = 10.0  # length of the demo song with which an exported file is checked; the song is repeated if it is too short
CLOSE = 1e-4  # largest difference between the exported file and PyTorch, for samples in [-1, 1]


@dataclass
class ExportConfig:
    """Command-line keys of `scripts/export.py`.

    One more key, `data`, chooses a data set. If `quantise` is set, the test tracks of this data set are scored.

    Args:
        run: run folder, checkpoint file, published folder, or checkpoint of another tool.
        checkpoint: checkpoint that is exported if `run` is a run folder: best, last, ema or a file.
        config: config file of Music-Source-Separation-Training, if `run` is a checkpoint of that tool.
        plugins: packages whose classes the model may use, see `unbraid.runs.plugins`.
        format: `onnx`, `torch_export` (a .pt2 file) or `openunmix` (a folder for the openunmix package).
        output: output file or folder; None: `model.onnx`, `model-int8.onnx`, `model.pt2` or `openunmix` in the run folder.
        overwrite: True to replace an existing export; `skip` to keep it and end without an error; False: an existing output is
            an error.
        quantise: `int8` for weights of 8 bits, only with `format=onnx`; None: 32-bit floats.
    """

    run: str | None
    checkpoint: str
    config: str | None
    plugins: list[str]
    format: Literal["openunmix", "onnx", "torch_export"]
    output: str | None
    overwrite: bool | Literal["skip"]
    quantise: Literal["int8"] | None


def export(config: DictConfig) -> None:
    """Export a trained separator. The output gets a temporary name until it is complete.

    If the key `quantise` is set, the test tracks are scored with the original weights and with the 8-bit weights.

    Args:
        config: composed config, see `ExportConfig`.

    Raises:
        InputError: a key is invalid, the model cannot be exported in the chosen `format`, the output already exists, or the
            output that would be replaced is not an export.
    """
    with open_dict(config):
        data = config.pop("data")
    check(config, ExportConfig)
    require(config, run="FOLDER")
    if config.quantise and config.format != "onnx":
        problem = "this key only applies to format=onnx"
        raise InputError(f"quantise={config.quantise}", problem, found=f"format={config.format}")
    config.run, config.config = msst_pair(config.run, config.config)
    run = Path(config.run).expanduser()
    name = QUANTISED if config.quantise else NAMES[config.format]
    folder = run.parent if run.is_file() else run
    output = folder / name if config.output is None else Path(config.output).expanduser()
    if config.overwrite == "skip" and output.exists():
        echo(f"skipped {output}: the output already exists")
        return
    _check_output(output, config.format, bool(config.overwrite))
    found = None if run.is_dir() and config.config is None else find_origin(run, config.checkpoint, config.config)
    run_config = own_config(run) if found is None else with_config(found)
    if config.config is None:
        check_experiment(run_config)
    elif config.quantise:
        raise InputError("quantise", "scoring the 8-bit weights needs a run folder", found=f"run={run}", hint="Remove quantise")
    _check_model(run_config, run, config.format)
    origin = found or find_origin(run, config.checkpoint)
    separator = separator_of(origin, separator_builder(run_config, origin.folder)).eval()
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=output.parent) as partial:
        path = Path(partial) / output.name
        try:
            description = _write(separator, path, config, own_choices(origin.folder).get("model", "unknown"))
        except InputError as error:
            raise InputError(f"run={run}", f"the run cannot be exported ({error})") from error
        costs = _costs(separator, path, run_config, data) if config.quantise else ""
        rename_synced(path, output, aside=Path(partial) / "replaced")
    echo(f"export  {output}: {description.format(output=output)}{costs}")


def _check_output(output: Path, output_format: str, overwrite: bool) -> None:
    """Check that the output does not exist, or that it is an earlier export in this format and may be replaced."""
    if not (output.exists() or output.is_symlink()):
        return
    where, hint, suffix = f"output={output}", "Choose another output", Path(NAMES[output_format]).suffix
    if not overwrite:
        raise InputError(
            where, "the output already exists", hint="Set overwrite=true or overwrite=skip, or choose another output"
        )
    if output_format == "openunmix":
        names = {path.suffix for path in output.iterdir()} if output.is_dir() else set()
        if not (output / "separator.json").is_file() or not names <= {".json", ".pth"}:
            problem, expected = (
                "only an exported folder is replaced",
                "a folder with separator.json and the files of the targets",
            )
            raise InputError(where, problem, expected=expected, hint=hint)
    elif output.is_dir() or output.suffix != suffix:
        found = "a folder" if output.is_dir() else f"a file {output.suffix or 'without suffix'}"
        raise InputError(where, "only an exported file is replaced", found=found, expected=f"a file {suffix}", hint=hint)


def _check_model(run_config: DictConfig, run: Path, output_format: str) -> None:
    """Check that the model is a separator, and that the separator can be exported in the format `output_format`."""
    if node_at(run_config, "model.separator") is None:
        raise InputError(f"run={run}", "only separators can be exported, but the model of this run is not a separator")
    if output_format == "openunmix":
        try:
            check_openunmix(run_config.model)
        except InputError as error:
            raise InputError(f"run={run}", f"the run cannot be exported for openunmix ({error})") from error


def _write(separator: Separator, path: Path, config: DictConfig, model: str) -> str:
    """Write the exported file or folder. Return the text to print, with `{output}` in place of the output path."""
    if config.format == "openunmix":
        write_openunmix(separator, path)
        targets = ", ".join(f"'{target}'" for target in separator.targets)
        return f"openunmix.utils.load_separator('{{output}}', targets=[{targets}])"
    if config.format == "torch_export":
        write_program(separator, path, model)
        program = written_program(path)
        return f"{spell_size(path.stat().st_size)}, {_parity(separator, lambda **inputs: program(**inputs))}"
    plain = path.with_name("plain.onnx") if config.quantise else path
    write_onnx(separator, plain, model)
    exported = OnnxSeparator(plain)
    parity = _parity(separator, lambda **inputs: exported(**inputs).sources)
    if config.quantise:
        quantise(plain, path)
        return f"{spell_size(path.stat().st_size)}, before: {spell_size(plain.stat().st_size)}"
    return f"{spell_size(path.stat().st_size)}, {parity}"


def _parity(separator: Separator, exported: Callable[..., torch.Tensor]) -> str:
    """Check that the exported model has the same outputs as the PyTorch model. Return the largest difference as text.

    The input of both models is a demo song with noise, in two lengths. Outputs that differ too much raise InputError.
    """
    chunk, worst = separator.chunk_samples, 0.0
    song = render_song(0, SONG_SECONDS)["mixture"][: separator.channels] / 32768
    for batch, samples in ((1, chunk), (3, chunk + chunk // 3 + 7)):
        inputs = example(separator, batch, samples)
        inputs["mixture"] += torch.from_numpy(np.resize(song.T, (batch, samples, separator.channels))).transpose(1, 2)
        with torch.inference_mode():
            expected = separator(**inputs).sources
        try:
            worst = max(worst, _distance(separator, exported(**inputs), expected))
        except Exception as error:  # each runtime raises exceptions of its own classes
            raise InputError(
                "exported model",
                f"the model fails on audio of {samples} samples, so the exported file is not usable",
                hint="Choose another format",
            ) from error
    if not worst <= CLOSE:
        raise InputError(
            "exported model",
            "the outputs differ too much from the outputs of the PyTorch model",
            found=f"a largest difference of {worst:.1g}",
            expected=f"at most {CLOSE:.0e}",
            hint="Choose another format",
        )
    return f"largest difference from PyTorch {worst:.1g}, on music of {chunk} and {samples} samples"


def _distance(separator: Separator, exported: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference between two outputs. If the separator uses hard masks, return the RMS difference instead.

    A rounding error can change a bin of a hard mask from 0 to 1, so a large difference of single bins is not a fault.
    """
    difference = exported - expected
    return float(difference.square().mean().sqrt() if getattr(separator, "hard", False) else difference.abs().max())


def _costs(separator: Separator, path: Path, run_config: DictConfig, data: DictConfig) -> str:
    """Score the test tracks with 32-bit and with 8-bit weights. Return the scores as text, one line for each target."""
    run_config.data = OmegaConf.to_container(data)  # unresolved: its interpolations refer to the run's config
    check_experiment(run_config)
    module: MultitrackData = build(run_config.data)
    tracks = module.whole("test", separator.sample_rate, separator.channels, progress=True)
    weights = module.target_weights()
    before, after = (_scores(model, tracks, weights) for model in (separator, OnnxSeparator(path)))
    count = f"mean of {len(tracks)} test tracks"
    return "".join(
        f"\n  {target}: uSDR {old:.2f} dB with 32 bits, {new:.2f} dB with 8 bits, {new - old:+.2f} dB ({count})"
        for target, old, new in zip(separator.targets, before, after, strict=True)
    )


def _scores(separator: Separator, tracks: Sequence[StoredTrack], weights: torch.Tensor) -> list[float]:
    """Return the mean uSDR of each target in dB, over the tracks that contain the target; NaN if no track contains it."""
    scores_by_target: list[list[float]] = [[] for _ in separator.targets]
    for track in tracks:
        samples = track.tensor()
        references = torch.einsum("sr,rcn->scn", weights, samples[1:])
        for scores, reference, estimate in zip(scores_by_target, references, separate(separator, samples[0]), strict=True):
            score = usdr(reference, estimate)
            scores += [] if score is None else [score]
    return [fmean(scores) if scores else math.nan for scores in scores_by_target]
