"""Command `ensemble`: combine trained separators into one run folder, and compare the ensemble with its members."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from tqdm import tqdm

from unbraid.commands.experiment import Experiment, check_experiment
from unbraid.commands.keys import check_new, require
from unbraid.commands.run_config import with_run
from unbraid.data.module import MultitrackData
from unbraid.data.store import StoredTrack
from unbraid.data.tracks import few
from unbraid.data.training_tracks import merge_training_tracks, tracks_trained_on
from unbraid.evaluation.ensemble_validation import fit_ensemble, validation_record, validation_text
from unbraid.evaluation.methods import Method, baselines, fingerprint, mixtures_for
from unbraid.evaluation.score_report import report
from unbraid.evaluation.scorer import ESTIMATE, Evaluation, Scorer, stft_for, write_scores
from unbraid.inference.loading import separator_builder
from unbraid.interop.origins import Origin, find_origin, separator_of, with_config
from unbraid.models.separators.base import Separator
from unbraid.models.separators.ensemble import Ensemble, check_members, check_mode
from unbraid.reports.comparison import compared
from unbraid.runs.config import build, build_kind
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write, below, file_name, write_json
from unbraid.runs.plugins import named
from unbraid.runs.records import Run, own_choices
from unbraid.runs.text import echo
from unbraid.scoring.protocols import Protocol

EDGES_HZ = (250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)  # between the bands of the weights
HIGHEST_EDGE = 3 / 8  # share of the sample rate above which no edge is used, so that the last band is not narrow
NAME = "ensemble"


@dataclass
class EnsembleConfig(Experiment):
    """Command-line keys of `scripts/ensemble.py`, in addition to the keys of `Experiment`.

    Args:
        runs: run folders, checkpoints, published folders, or config files of checkpoints of another tool.
        checkpoint: checkpoint of each run folder: best, last or ema.
        output: run folder of the ensemble, which must not exist.
        mode: combination of the estimates, see `unbraid.models.separators.ensemble.Ensemble`.
    """

    runs: list[str] = field(default_factory=list)
    checkpoint: str = "best"
    output: str | None = None
    mode: str = "weights"


@dataclass(frozen=True)
class Member:
    """Store a model of an ensemble.

    Args:
        name: path of the run, as the user has typed it.
        origin: file with the weights.
        node: config of the separator.
        separator: separator with its weights.
    """

    name: str
    origin: Origin
    node: dict[str, Any]
    separator: Separator


@dataclass(frozen=True)
class Bench:
    """Hold the data, the protocol and the device with which the ensemble and its members are compared.

    Args:
        data: data set.
        evaluation: options of the separation.
        protocol: protocol of the scores on the test tracks.
        device: device of the networks and of the scores.
        targets: names of the targets.
    """

    data: MultitrackData
    evaluation: Evaluation
    protocol: Protocol
    device: torch.device
    targets: Sequence[str]


def ensemble(config: DictConfig) -> None:
    """Write the run folder of an ensemble, print its scores on the validation tracks, and score the test tracks.

    Args:
        config: composed config, see `EnsembleConfig`. Invalid keys, runs or data raise InputError.
    """
    with named([]):  # the configs of the runs may come from other people
        _ensemble(config)


def _ensemble(config: DictConfig) -> None:
    typed = [word.lstrip("+~").partition("=")[0] for word in HydraConfig.get().overrides.task]
    _check_keys(config)
    output, mode = Path(config.output).expanduser(), config.mode
    members = [_member(name, config.checkpoint) for name in config.runs]
    check_members([member.separator for member in members], [f"runs={member.name}" for member in members])
    base = _base(members, typed)
    config = _experiment(config, members, base, typed)
    bench = _bench(config, members[0].separator)
    valid = bench.data.whole("valid", members[0].separator.sample_rate, members[0].separator.channels, progress=True)
    bench.protocol.source_group(list(bench.targets), bench.data.target_weights())  # finds errors before the long separation
    for warning in _seen(members, valid):
        echo(warning)
    options: dict[str, Any] = OmegaConf.to_container(config.model.separator, resolve=True)  # type: ignore[assignment]
    del options["_target_"], options["members"]
    model = Ensemble([member.separator for member in members], **options).eval().to(bench.device)
    result = fit_ensemble(model, valid, bench.data.target_weights(), bench.evaluation.inference)
    names = [member.name for member in members]
    echo(f"\n{validation_text(names, model, result)}\n")
    choices = {"model": NAME, "data": _data_choice(base, typed)}
    run = Run(output, config, [f"model={NAME}"], choices)
    run.freeze()
    with run.held():
        checkpoint = output / "checkpoints" / "best.ckpt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(checkpoint) as partial:
            torch.save(
                {"state_dict": {f"separator.{name}": value for name, value in model.cpu().state_dict().items()}}, partial
            )
        merge_training_tracks(output, [member.origin.folder for member in members], valid)
        hashes = {member.name: fingerprint(member.origin.file) for member in members}
        write_json(output / "ensemble.json", {"members": hashes} | validation_record(names, model, result))
        run.mark("done")
    _test(bench, model.to(bench.device), members, output, mode)
    echo(f"run     {output}")


def _check_keys(config: DictConfig) -> None:
    require(config, output="FOLDER")
    check_mode(config.mode)
    runs = [*config.runs]
    if len({str(Path(run).expanduser().resolve()) for run in runs}) < max(len(runs), 2):
        problem = "an ensemble needs at least two different runs"
        raise InputError("runs", problem, found=", ".join(runs) or "none", hint="Type 'runs=[FOLDER,FOLDER]'")
    check_new("output", Path(config.output).expanduser())


def _member(name: str, checkpoint: str) -> Member:
    path = Path(name).expanduser()
    origin = find_origin(path, checkpoint if path.is_dir() else "best")
    config = with_config(origin)
    separator = separator_of(origin, separator_builder(config, origin.folder)).eval()
    node: Any = OmegaConf.to_container(config.model.separator, resolve=True)
    return Member(name, origin, node, separator)


def _base(members: Sequence[Member], typed: Sequence[str]) -> Member:
    """Return the first member whose config contains a data set. Without such a member, the command must name a data set."""
    for member in members:
        if member.origin.config is not None and "data" in member.origin.config:
            return member
    if "data" not in typed:
        problem = "none of the runs has a data set, and the ensemble needs validation tracks"
        raise InputError("data", problem, hint="Type for example data=musdb data.root=FOLDER")
    return members[0]


def _experiment(config: DictConfig, members: Sequence[Member], base: Member, typed: Sequence[str]) -> DictConfig:
    """Return the config of the ensemble: that of the run `base`, with the ensemble as the model."""
    with open_dict(config):
        config.run, config.config = base.name, None
    config = with_run(config, typed)
    first = members[0].separator
    separator = {
        "_target_": "unbraid.models.separators.ensemble.Ensemble",
        "members": [member.node for member in members],
        "targets": OmegaConf.to_container(config.targets),
        "sample_rate": first.sample_rate,
        "channels": first.channels,
        "chunk_seconds": max(member.separator.chunk_samples for member in members) / first.sample_rate,
        "mode": config.mode,
        "edges_hz": [edge for edge in EDGES_HZ if edge <= HIGHEST_EDGE * first.sample_rate] if config.mode == "weights" else [],
        "inference": [member.origin.inference for member in members],
    }
    parts: Any = OmegaConf.to_container(config.model, resolve=True)
    with open_dict(config):
        for key in base.origin.inference:  # of one member only
            if f"evaluation.inference.{key}" not in typed:
                config.evaluation.inference[key] = None
        for key in ("run", "config", "runs", "checkpoint", "output", "mode"):
            del config[key]
        config.model = {
            "_target_": "unbraid.tasks.separation.SeparationTask",
            "separator": separator,
            "loss": {"_target_": "unbraid.models.losses.WaveformL1"},
            "optimizer": parts["optimizer"],
            "scheduler": parts.get("scheduler"),
        }
        config.name, config.phase, config.published = NAME, None, None
    check_experiment(config)
    return config


def _bench(config: DictConfig, separator: Separator) -> Bench:
    on_cpu = config.trainer.accelerator == "cpu" or not torch.cuda.is_available()
    protocol: Protocol = build_kind(config.protocol, Protocol)
    at = protocol.at(separator.sample_rate, separator.channels)
    data: MultitrackData = build(config.data)
    return Bench(data, build(config.evaluation), at, torch.device("cpu" if on_cpu else "cuda"), [*config.targets])


def _data_choice(base: Member, typed: Sequence[str]) -> str:
    own = {} if "data" in typed else own_choices(base.origin.folder)
    return own.get("data", str(HydraConfig.get().runtime.choices["data"]) if "data" in typed else "unknown")


def _seen(members: Sequence[Member], valid: Sequence[StoredTrack]) -> list[str]:
    """Return a warning for each member that was trained on validation tracks of the ensemble."""
    warnings = []
    for member in members:
        seen = [name for name, use in tracks_trained_on(member.origin.folder, valid).items() if use.startswith("train:")]
        if seen:
            text = f"{member.name} was trained on {len(seen)} of {len(valid)} validation tracks: {few(seen, 5)}"
            warnings.append(f"warning: {text}. Its weights can be too large.")
    return warnings


def _test(bench: Bench, model: Ensemble, members: Sequence[Member], output: Path, mode: str) -> None:
    """Score the test tracks with the ensemble and each member, write the scores, and print scores, paired tests and costs."""
    tracks = bench.data.whole("test", *bench.protocol.format, progress=True)
    seconds: dict[str, float] = {}
    others: dict[str, Mapping[str, Any]] = {}
    for number, member in enumerate(members):
        folder = below(output, "members", f"{number}-{file_name(Path(member.name).name)}")
        separator = member.separator.to(bench.device)
        others[member.name], seconds[member.name] = _scores(bench, separator, member.origin.file, tracks, folder, False)
        write_scores(folder, others[member.name])
    folder = output / "scores" / bench.protocol.name
    scores, seconds[NAME] = _scores(bench, model, output / "checkpoints" / "best.ckpt", tracks, folder, True)
    seen = tracks_trained_on(output, bench.data.whole("test", model.sample_rate, model.channels))
    scores |= {"trained_on": seen} if seen else {}
    write_scores(output, scores)
    label = f"{NAME} ({mode})"
    echo(report(scores, label, others), "", sep="\n")
    if sentences := compared(label, scores, others):
        echo(*sentences, "", sep="\n")
    if seen:
        echo(f"warning: a member was trained or validated on {len(seen)} of {len(tracks)} scored tracks: {few(seen, 5)}\n")
    echo(cost_text(seconds, sum(track.length for track in tracks) / bench.protocol.format[0], len(tracks)), "", sep="\n")


def _scores(
    bench: Bench, separator: Separator, file: Path, tracks: Sequence[StoredTrack], folder: Path, oracles: bool
) -> tuple[dict[str, Any], float]:
    """Score all tracks, and return the content of `scores.json` and the time of the separation in seconds."""
    protocol, data = bench.protocol, bench.data
    weights = data.target_weights()[[bench.targets.index(target) for target in separator.targets]]
    group = protocol.source_group(separator.targets, weights)
    scorer = Scorer(protocol, group, weights, tracks, folder, data.cache_dir / "baselines", bench.device)
    mixtures = mixtures_for(separator, protocol, tracks, lambda rate, channels: data.whole("test", rate, channels))
    method = bench.evaluation.of(separator, fingerprint(file), mixtures, protocol)
    rows: dict[str, Method] = {ESTIMATE: method} | baselines(stft_for(separator, protocol.format[0]), protocol)
    if not oracles:
        rows = {row: rows[row] for row in (ESTIMATE, "mixture")}
    seconds = 0.0
    for track in tqdm(tracks, desc="scoring", unit="track", leave=False, disable=None):
        start = time.perf_counter()
        method.separate(track.name)  # the method keeps the estimate for the scorer
        seconds += time.perf_counter() - start
        scorer.score(rows, track, wait=True)
    return scorer.scores(rows, str(file)), seconds


def cost_text(seconds: Mapping[str, float], audio: float, tracks: int) -> str:
    """Format the time of the separation as a table.

    Args:
        seconds: time in seconds, by the name of the model.
        audio: length of all tracks in seconds.
        tracks: number of tracks.

    Returns:
        The table, with one row for each model.
    """
    title, fastest = f"separation of {tracks} test tracks ({audio:.0f} s)", max(min(seconds.values()), 1e-9)
    width = max(len(name) for name in (*seconds, title)) + 2
    rows = [f"{name:<{width}}{value:>9.1f}{value / fastest:>7.1f}" for name, value in seconds.items()]
    return "\n".join([f"{title:<{width}}{'seconds':>9}{'times':>7}", *rows])
