"""Export: a trained separator as other software loads it: an ONNX file, a program of torch, a folder for openunmix."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from unbraid.commands.experiment import check_experiment
from unbraid.data.module import MultitrackData
from unbraid.data.store import StoredTrack, spell_size
from unbraid.inference.chunked import separate
from unbraid.inference.export.graphs import example
from unbraid.inference.export.onnx_file import OnnxSeparator, quantise, write_onnx
from unbraid.inference.export.openunmix import check_openunmix, write_openunmix
from unbraid.inference.export.program import write_program
from unbraid.models.separators.base import Separator
from unbraid.runs.config import build, check, checkpoint_path, own_config
from unbraid.runs.errors import InputError
from unbraid.runs.records import own_choices
from unbraid.runs.text import echo
from unbraid.runs.weights import rebuilt
from unbraid.scoring.measures import usdr

NAMES = {"onnx": "model.onnx", "torch_export": "model.pt2", "openunmix": "openunmix"}
QUANTISED = "model-int8.onnx"
CLOSE = 1e-4  # of samples in [-1, 1], between what a file and what PyTorch says


@dataclass
class Export:
    """What to write.

    Args:
        run: folder of a trained run.
        checkpoint: of the run: best, last or a file.
        format: of what is written.
        output: file or folder that is made; None: one in the run, named by the format.
        quantise: weights of 8 bits; None: 32-bit floats.
    """

    run: str | None
    checkpoint: str
    format: Literal["openunmix", "onnx", "torch_export"]
    output: str | None
    quantise: Literal["int8"] | None


def export(config: DictConfig) -> None:
    """Write the file or the folder, whole or not at all.

    Raises:
        InputError: the model or an option of it cannot be had in the format, or the output is there already.
    """
    with open_dict(config):
        data = config.pop("data")
    check(config, Export)
    if config.run is None:
        raise InputError("run has no default and must be given: run=FOLDER")
    if config.quantise and config.format != "onnx":
        raise InputError(f"quantise={config.quantise}: is of format=onnx only, found format={config.format}")
    run = Path(config.run).expanduser()
    name = QUANTISED if config.quantise else NAMES[config.format]
    output = run / name if config.output is None else Path(config.output).expanduser()
    if output.exists():
        raise InputError(f"output={output}: is there already; choose another name or remove it")
    own: Any = own_config(run)
    check_experiment(own)
    separator = _separator(own, run, config)
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=output.parent) as partial:
        made = Path(partial) / output.name
        try:
            said = _write(separator, made, config, own_choices(run).get("model", "unknown"))
        except InputError as error:
            raise InputError(f"run={run}: {error}") from error
        costs = _costs(separator, made, own, data) if config.quantise else ""
        made.rename(output)
    echo(f"export  {output}: {said.format(output=output)}{costs}")


def _separator(own: DictConfig, run: Path, config: DictConfig) -> Separator:
    """With the weights of the checkpoint."""
    if "separator" not in own.model:
        raise InputError(f"run={run}: rebuilds its input; expected a run that separates")
    if config.format == "openunmix":
        try:
            check_openunmix(own.model)
        except InputError as error:
            raise InputError(f"run={run}: {error}") from error
    task = rebuilt(lambda: build(own.model), checkpoint_path(run, config.checkpoint))
    separator: Separator = task.separator.eval()
    return separator


def _write(separator: Separator, path: Path, config: DictConfig, model: str) -> str:
    """What there is to say of it, in which `{output}` stands for its name."""
    if config.format == "openunmix":
        write_openunmix(separator, path)
        targets = ", ".join(f"'{target}'" for target in separator.targets)
        return f"openunmix.utils.load_separator('{{output}}', targets=[{targets}])"
    if config.format == "torch_export":
        write_program(separator, path, model)
        program = torch.export.load(path).module(check_guards=False)
        return f"{spell_size(path.stat().st_size)}, {_parity(separator, lambda **inputs: program(**inputs))}"
    plain = path.with_name("plain.onnx") if config.quantise else path
    write_onnx(separator, plain, model)
    read = OnnxSeparator(plain)
    said = _parity(separator, lambda **inputs: read(**inputs).sources)
    if config.quantise:
        quantise(plain, path)
        return f"{spell_size(path.stat().st_size)}, of {spell_size(plain.stat().st_size)} before"
    return f"{spell_size(path.stat().st_size)}, {said}"


def _parity(separator: Separator, exported: Callable[..., torch.Tensor]) -> str:
    """How far what was written is from PyTorch, on noise; another length than the one it was traced with is the proof.

    Raises:
        InputError: it says something else, or is of one length only.
    """
    chunk, worst = separator.chunk_samples, 0.0
    for batch, samples in ((1, chunk), (3, chunk + chunk // 3 + 7)):
        inputs = example(separator, batch, samples)
        with torch.inference_mode():
            expected = separator(**inputs).sources
        try:
            worst = max(worst, _distance(separator, exported(**inputs), expected))
        except Exception as error:  # of the runtime's own kinds
            raise InputError(f"the graph is of one length only, and fails at {samples} samples") from error
    if not worst <= CLOSE:
        raise InputError(f"the graph differs by {worst:.1g} from PyTorch, expected at most {CLOSE:.0e}; nothing was written")
    return f"within {worst:.1g} of PyTorch on noise of {chunk} and {samples} samples"


def _distance(separator: Separator, found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest of a sample; where bins are decided on, some being ties but for rounding, the root mean square."""
    difference = found - expected
    return float(difference.square().mean().sqrt() if getattr(separator, "hard", False) else difference.abs().max())


def _costs(separator: Separator, path: Path, own: DictConfig, data: DictConfig) -> str:
    """What 8 bits cost on the test tracks of a data set, a line for each target."""
    own.data = OmegaConf.to_container(data)  # its links are to what the run says
    check_experiment(own)
    module: MultitrackData = build(own.data)
    tracks = module.whole("test", separator.sample_rate, separator.channels, progress=True)
    weights = module.target_weights()
    before, after = (_scores(one, tracks, weights) for one in (separator, OnnxSeparator(path)))
    whose = f"mean of {len(tracks)} test tracks"
    return "".join(
        f"\n  {target}: uSDR {old:.2f} dB in 32 bits, {new:.2f} dB in 8, {new - old:+.2f} dB ({whose})"
        for target, old, new in zip(separator.targets, before, after, strict=True)
    )


def _scores(separator: Separator, tracks: Sequence[StoredTrack], weights: torch.Tensor) -> list[float]:
    """Of each target: mean uSDR over the tracks in which it sounds, NaN where it never does."""
    found: list[list[float]] = [[] for _ in separator.targets]
    for track in tracks:
        samples = track.tensor()
        references = torch.einsum("sr,rcn->scn", weights, samples[1:])
        for scores, reference, estimate in zip(found, references, separate(separator, samples[0]), strict=True):
            score = usdr(reference, estimate)
            scores += [] if score is None else [score]
    return [fmean(scores) if scores else math.nan for scores in found]
