"""Command `evaluate`: score separated test tracks.

The tracks are separated by a trained run, by another program (the user gives the folder of its stems), or by an oracle.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from unbraid.commands.experiment import Experiment, check_experiment
from unbraid.commands.keys import check_range
from unbraid.commands.other_scores import read_others
from unbraid.commands.run_config import with_run
from unbraid.data.module import MultitrackData
from unbraid.data.parallel import in_processes
from unbraid.data.tracks import Split, few
from unbraid.data.training_tracks import tracks_trained_on
from unbraid.dsp.stft import STFT
from unbraid.evaluation.estimates import EstimateFolder
from unbraid.evaluation.methods import EstimateFiles, Method, Oracle, SeparatorMethod, baselines, fingerprint, mixtures_for
from unbraid.evaluation.score_report import report
from unbraid.evaluation.scorer import ESTIMATE, Evaluation, Scorer, stft_for, write_scores
from unbraid.interop.interpolation import check_interpolation, interpolated
from unbraid.interop.origins import Origin, find_origin, separator_of
from unbraid.models.separators.base import Separator
from unbraid.reports.comparison import compared
from unbraid.reports.variants import runs_of
from unbraid.runs.config import build
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.files import below
from unbraid.runs.plugins import entry_points, named
from unbraid.runs.records import own_choices
from unbraid.runs.text import echo
from unbraid.scoring.oracles import ORACLES
from unbraid.scoring.protocols import Protocol
from unbraid.scoring.published import PublishedScores, comparison_text
from unbraid.scoring.tables import refuse_mixed

METHODS = ("run", "estimates", "oracle")
NOT_WITH_SWEEP = (*METHODS, "output", "compare_with")
SPLIT: Split = "test"
MOST_NAMES = 5  # number of track names in a warning


@dataclass
class EvaluateConfig(Experiment):
    """Command-line keys of `scripts/evaluate.py`, in addition to the keys of `Experiment`.

    Args:
        sweep: folder of a sweep. The runs in this folder are scored one after the other.
        run: folder of a trained run, checkpoint file, published folder, or checkpoint of another tool.
        config: config file of Music-Source-Separation-Training, if `run` is a checkpoint of that tool.
        start: run or file with the weights before a fine-tuning. This key is only used together with `interpolate`.
        interpolate: share s in [0, 1]. The scored weights are s * (weights of `run`) + (1 - s) * (weights of `start`).
        checkpoint: checkpoint of the run: best, last or a file.
        estimates: folder of stems that another program has separated from the test tracks.
        oracle: name of a separation method that uses the true sources, see `unbraid.scoring.oracles`.
        output: folder for the scores; None: a folder below the run folder or, without `run`, below `outputs/`.
        processes: number of processes that score tracks at the same time.
        compare_with: run folders or `scores.json` files of other models. The table also shows the scores of these models, and a
            paired test compares each of these models with the scored model.
    """

    sweep: str | None = None
    run: str | None = None
    config: str | None = None
    start: str | None = None
    interpolate: float | None = None
    checkpoint: str = "best"
    estimates: str | None = None
    oracle: str | None = None
    output: str | None = None
    processes: int = 1
    compare_with: list[str] = field(default_factory=list)


def evaluate(config: DictConfig) -> None:
    """Score the test tracks, print the table of scores and write `scores.json`.

    A track is not scored again if the output folder already contains valid scores of the track.

    Args:
        config: composed config, see `EvaluateConfig`. Invalid keys, runs, files, data or protocols raise InputError.
    """
    # The config of a run may come from someone else. Then only packages that the user has named are trusted.
    with named([] if config.run is not None or config.sweep is not None else entry_points()):
        _evaluate_all(config)


def _evaluate_all(config: DictConfig) -> None:
    typed = [word.lstrip("+~").partition("=")[0] for word in HydraConfig.get().overrides.task]
    if config.sweep is None:
        _evaluate(config, typed)
        return
    if given := [key for key in NOT_WITH_SWEEP if config[key]]:
        raise InputError(
            f"sweep, {given[0]}", "these keys cannot be used together", found="both", expected="one of the two keys"
        )
    sweep = Path(config.sweep).expanduser()
    for folder in runs_of(sweep):
        if (folder / "checkpoints" / "best.ckpt").is_file():
            echo(f"\nrun     {folder}")
            one_run = config.copy()
            one_run.run, one_run.sweep = str(folder), None
            _evaluate(one_run, typed)
        else:
            echo(f"\nleft out: {folder.name} has no checkpoint")
    program = "unbraid report" if sys.argv[0].startswith("unbraid ") else "python scripts/report.py"
    echo(f"\nreport  {program} {shlex.quote(f'sweep={sweep}')} protocol={config.protocol.name}")


def _evaluate(config: DictConfig, typed: Sequence[str]) -> None:
    config = with_run(config, typed)
    check_experiment(config, EvaluateConfig)
    _check_method(config)
    config.output = str(_output(config, other_data="data" in typed))
    _session.cache_clear()  # files may have changed since this process last scored them
    session = _session(OmegaConf.to_yaml(config, resolve=True))
    scorer = session.scorer
    others = read_others(config, scorer, typed)
    refuse_mixed({session.label: scorer.record} | {name: other["protocol"] for name, other in others.items()})
    scorer.check_folder()
    rows = session.rows
    filed = [track for track in scorer.tracks if all(scorer.filed(row, s, track) for row, s in rows.items())]
    sources = " + ".join(scorer.source_group.names)
    echo(f"protocol {scorer.protocol.name}: {sources}, {len(scorer.tracks)} tracks, {len(filed)} of them already scored")
    _score(session, [number for number, track in enumerate(scorer.tracks) if track not in filed], config.processes)
    scores = scorer.scores(rows, str(session.checkpoint) if session.scores_run else session.label)
    seen = session.trained_on
    if seen:
        scores["trained_on"] = seen
    scores |= _published(config, scores, other_data="data" in typed)
    write_scores(scorer.folder, scores)
    session.write_clips()
    echo(f"\n{report(scores, session.label, others)}\n")
    if sentences := compared(session.label, scores, others):
        echo(*sentences, "", sep="\n")
    if seen:
        named = few((f"{name} ({split})" for name, split in seen.items()), MOST_NAMES)
        echo(f"warning: the run was trained or validated on {len(seen)} of {len(scorer.tracks)} scored tracks: {named}\n")
    if "reference" in scores:
        echo(f"{comparison_text(scores['reference'])}\n")
    echo(f"scores  {scorer.folder / 'scores.json'}")
    echo(f"tracks  {scorer.folder / ESTIMATE / 'test'}")


def _check_method(config: DictConfig) -> None:
    given = [key for key in METHODS if config[key] is not None]
    if not given:
        keys = ", ".join(["sweep", *METHODS])
        raise InputError(keys, "one of these keys is required", hint="Type for example run=FOLDER")
    if config.estimates is not None and config.oracle is not None:
        raise InputError(
            "estimates, oracle", "these keys cannot be used together", found="both", expected="one of the two keys"
        )
    if config.oracle is not None and config.oracle not in ORACLES:
        raise InputError("oracle", "unknown oracle", found=config.oracle, hint=unknown(config.oracle, ORACLES))
    check_range(config, "processes", 1, float("inf"))
    check_interpolation(config.interpolate, config.start)


def _score(session: "Session", numbers: Sequence[int], processes: int) -> None:
    """Score the tracks with the given numbers. Tracks that another command is scoring now are tried again at the end."""
    with tqdm(total=len(numbers), desc="scoring", unit="track", leave=False, disable=not numbers or None) as bar:
        for wait in (False, True):
            remaining = []
            function = partial(score_track, session.config, wait)
            for index, done in in_processes(function, numbers, min(processes, len(numbers))):
                if isinstance(done, InputError):
                    raise done
                if done:
                    bar.update()
                else:
                    remaining.append(numbers[index])
            numbers = remaining


def score_track(config: str, wait: bool, number: int) -> bool:
    """Score one track.

    Args:
        config: config of the command, as yaml text. For several tracks with the same config, the model is built only once.
        wait: True to wait if another command is scoring the track.
        number: index of the track in the list of scored tracks.

    Returns:
        True if the track has scores now; False if another command is scoring the track.
    """
    session = _session(config)
    return session.scorer.score(session.rows, session.scorer.tracks[number], wait)


@lru_cache(maxsize=1)
def _session(config: str) -> "Session":
    return Session(config)


class Session:
    """Build and hold the objects with which a process scores tracks: data, separation method and scorer.

    Args:
        config: checked config of the command, as yaml text.
    """

    def __init__(self, config: str) -> None:
        torch.set_flush_denormal(True)
        self.config = config
        self.node: Any = OmegaConf.create(config)
        self.data: MultitrackData = build(self.node.data)
        self.evaluation: Evaluation = build(self.node.evaluation)
        self.mixture = ""  # text that identifies the weighted mean with the weights before a fine-tuning
        self.scores_run = self.node.estimates is None and self.node.oracle is None
        self.label = Path(self.node.run).name if self.scores_run else self.node.oracle or f"estimates in {self.node.estimates}"

    @cached_property
    def device(self) -> torch.device:
        """The device of this process: the CPU or a GPU. The scoring processes are distributed over all GPUs of the machine."""
        if self.node.trainer.accelerator == "cpu" or not torch.cuda.is_available():
            return torch.device("cpu")
        number = current_process().name.rpartition("-")[2]  # SpawnProcess-1, or MainProcess
        return torch.device("cuda", (int(number) - 1 if number.isdigit() else 0) % torch.cuda.device_count())

    @cached_property
    def scorer(self) -> Scorer:
        """The scorer of the test tracks. Tracks that are missing in the store (folder of decoded tracks) are decoded first."""
        separator, protocol = self.node.model.separator, build(self.node.protocol)
        assert isinstance(protocol, Protocol)
        at = protocol.at(separator.sample_rate, separator.channels)
        tracks = self.data.whole(SPLIT, *at.format, progress=True)
        weights = self.data.target_weights()
        source_group = at.source_group([*self.node.targets], weights)
        return Scorer(at, source_group, weights, tracks, Path(self.node.output), self.data.cache_dir / "baselines", self.device)

    @cached_property
    def rows(self) -> dict[str, Method]:
        """The separation methods, in the order of the score table: the method that is scored, and then the baselines."""
        stft = stft_for(self.separator if self.scores_run else None, self.scorer.protocol.sample_rate)
        return {ESTIMATE: self._method(stft)} | baselines(stft, self.scorer.protocol)

    def _method(self, stft: STFT) -> Method:
        if self.node.oracle is not None:
            return Oracle(self.node.oracle, stft)
        rate, _ = self.scorer.protocol.format
        if self.node.estimates is not None:
            files = EstimateFolder(Path(self.node.estimates).expanduser(), [*self.node.targets])
            files.check([track.name for track in self.scorer.tracks])
            return EstimateFiles(files, rate)
        protocol = self.scorer.protocol
        mixtures = mixtures_for(self.separator, protocol, self.scorer.tracks, partial(self.data.whole, SPLIT, progress=True))
        return self.evaluation.of(self.separator, f"{fingerprint(self.checkpoint)}{self.mixture}", mixtures, protocol)

    @cached_property
    def trained_on(self) -> dict[str, str]:
        """The scored tracks that the run has already used for training or validation.

        The result is a dictionary from the name of each such track to a text such as `train: song`. The text contains the split
        and the name of the track in the data of the run.
        """
        if not self.scores_run:
            return {}
        trained = self.separator.sample_rate, self.separator.channels  # the store's format of the training tracks
        scored = self.scorer.protocol.format
        tracks = self.scorer.tracks if trained == scored else self.data.whole(SPLIT, *trained, progress=True)
        return tracks_trained_on(self.origin.folder, tracks)

    @cached_property
    def origin(self) -> Origin:
        """The file with the weights, and the config of the model, see `Origin`. A missing file raises InputError."""
        return find_origin(Path(self.node.run), self.node.checkpoint, self.node.config)

    @property
    def checkpoint(self) -> Path:
        """The path of the file with the weights."""
        return self.origin.file

    @cached_property
    def separator(self) -> Separator:
        """The separator with the weights of the checkpoint. Weights that do not fit the model raise InputError."""
        separator = separator_of(self.origin, lambda: build(self.node.model).separator)
        if self.node.start is not None:
            mixed = interpolated(separator, self.origin.config, self.node.start, self.node.interpolate)
            self.mixture = f", {mixed}"
        return separator.to(self.device).eval()

    def write_clips(self) -> None:
        """Write audio and pictures of the first `evaluation.clips` test tracks into the output folder."""
        method = self.rows[ESTIMATE]
        if isinstance(method, SeparatorMethod):
            self.evaluation.leave_clips(method, self.scorer.targets, self.scorer.folder)


def _published(config: DictConfig, scores: Mapping[str, Any], other_data: bool) -> dict[str, Any]:
    """Compare the scores of this command with the published scores that the config key `published` describes.

    The result is a dictionary that contains the comparison at the key `reference`. If `published` is null, or if an oracle is
    scored, the result is an empty dictionary.
    """
    if config.published is None or config.oracle is not None:
        return {}
    typed = HydraConfig.get().runtime.choices
    choices = typed if config.run is None else own_choices(Path(config.run))
    data = typed["data"] if other_data else choices.get("data", "unknown")
    reference: PublishedScores = build(config.published)
    return {"reference": reference.compare(scores, data, choices.get("model", "unknown"), scores.get("trained_on", ()))}


def _output(config: DictConfig, other_data: bool) -> Path:
    """Return the output folder. The same command always gets the same folder, so that scored tracks are found again."""
    if config.output is not None:
        return Path(config.output).expanduser()
    method = config.oracle or (Path(config.estimates).name if config.estimates is not None else None)
    data = HydraConfig.get().runtime.choices["data"] if config.run is None or other_data else None
    folder = Path("outputs") if config.run is None else Path(config.run)
    if folder.is_file():
        method, folder = (folder.stem, Path("outputs")) if config.config else (None, folder.absolute().parent.parent)
    mixture = None if config.interpolate is None else f"interpolate-{config.interpolate:g}"
    return below(folder, "scores", "-".join(filter(None, [config.protocol.name, data, method, mixture])))
