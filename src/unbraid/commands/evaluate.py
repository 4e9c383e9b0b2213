"""Evaluate: the test tracks of a data set scored under a protocol, for a run, for separated files, or for an oracle."""

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

from unbraid.commands.experiment import Experiment, check_experiment, take_data
from unbraid.data.module import MultitrackData
from unbraid.data.parallel import in_processes
from unbraid.data.tracks import Split, few
from unbraid.data.training_tracks import tracks_trained_on
from unbraid.dsp.stft import STFT
from unbraid.evaluation.estimates import EstimateFolder
from unbraid.evaluation.methods import EstimateFiles, Method, Oracle, SeparatorMethod, fingerprint, mixtures_for
from unbraid.evaluation.scorer import ESTIMATE, Evaluation, Scorer, baselines, report, stft_for, write_scores
from unbraid.models.separators.base import Separator
from unbraid.runs.config import build, checkpoint_path, own_config
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.files import below
from unbraid.runs.records import own_choices
from unbraid.runs.scores import read_scores
from unbraid.runs.text import echo
from unbraid.runs.weights import rebuilt
from unbraid.scoring.oracles import ORACLES
from unbraid.scoring.protocols import Protocol
from unbraid.scoring.published import PublishedScores, comparison_text
from unbraid.scoring.tables import refuse_mixed

SUBJECTS = ("run", "estimates", "oracle")
# What may be typed beside run=; the rest is the run's own.
BESIDE_RUN = (
    "run",
    "checkpoint",
    "estimates",
    "oracle",
    "output",
    "processes",
    "compare_with",
    "protocol",
    "phase",
    "evaluation",
    "data",
    "trainer",
)
SOUND = (
    "model.separator.mask_options.mask_max",
    "model.separator.mask_options.mask_power",
    "model.separator.mask_options.consistency",
    "model.separator.masks_from",
)
SPLIT: Split = "test"
NAMED = 5  # tracks in a warning


@dataclass
class EvaluateConfig(Experiment):
    """An experiment whose test tracks are scored, with what is scored.

    Args:
        run: folder of a trained run.
        checkpoint: of the run: best, last or a file.
        estimates: folder of separated files.
        oracle: name of an oracle.
        output: folder for the scores.
        processes: that score at the same time.
        compare_with: `scores.json` files of other models, listed in the same table.
    """

    run: str | None = None
    checkpoint: str = "best"
    estimates: str | None = None
    oracle: str | None = None
    output: str | None = None
    processes: int = 1
    compare_with: list[str] = field(default_factory=list)


def evaluate(config: DictConfig) -> None:
    """Score what is not scored yet, then print the table and write `scores.json`."""
    typed = [word.lstrip("+~").partition("=")[0] for word in HydraConfig.get().overrides.task]
    config = _with_run(config, typed)
    check_experiment(config, EvaluateConfig)
    _check_subject(config)
    config.output = str(_output(config, other_data="data" in typed))
    _session.cache_clear()  # files may have changed since this process scored them last
    session = _session(OmegaConf.to_yaml(config, resolve=True))
    others = _beside(config.compare_with)
    scorer = session.scorer
    refuse_mixed({session.label: scorer.record} | {name: other["protocol"] for name, other in others.items()})
    scorer.check_folder()
    rows = session.rows
    filed = [track for track in scorer.tracks if all(scorer.filed(row, s, track) for row, s in rows.items())]
    what = f"{' + '.join(scorer.source_group.names)}, {len(scorer.tracks)} tracks"
    echo(f"protocol {scorer.protocol.name}: {what}, {len(filed)} of them scored before")
    _score(session, [number for number, track in enumerate(scorer.tracks) if track not in filed], config.processes)
    scores = scorer.scores(rows, str(session.checkpoint) if session.subject_is_run else session.label)
    seen = session.trained_on
    if seen:
        scores["trained_on"] = seen
    scores |= _compared(config, scores, other_data="data" in typed)
    write_scores(scorer.folder, scores)
    session.leave_clips()
    echo(f"\n{report(scores, session.label, others)}\n")
    if seen:
        named = few((f"{name} ({was})" for name, was in seen.items()), NAMED)
        echo(f"warning: the run was trained or validated on {len(seen)} of {len(scorer.tracks)} scored tracks: {named}\n")
    if "reference" in scores:
        echo(f"{comparison_text(scores['reference'])}\n")
    echo(f"scores  {scorer.folder / 'scores.json'}")
    echo(f"tracks  {scorer.folder / ESTIMATE / 'test'}")


def _with_run(config: DictConfig, typed: Sequence[str]) -> DictConfig:
    """The config of a run, with the data, protocol, phase, options of masks and evaluation that were typed."""
    if config.run is None:
        return config
    for key in typed:
        if key.split(".")[0].split("/")[0] not in BESIDE_RUN and key not in SOUND:
            raise InputError(f"{key}: is the run's own, it cannot be set beside run={config.run}")
    own = own_config(Path(config.run))
    if own.get("features") is not None:
        raise InputError(f"run={config.run}: rebuilds its input; expected a run that separates. Its scores are in scores.json")
    for key in ("data", *(str(k) for k in own if k not in BESIDE_RUN)):
        if key not in own:
            raise InputError(f"{config.run}/config.yaml: has no {key}, it is not the config of a run")
        if key not in config:
            raise InputError(f"{config.run}/config.yaml: {key}: there is no such key; {unknown(key, map(str, config))}")
        if key == "data":
            config.data = config.data if "data" in typed else take_data(config.data, own.data, typed)
        else:
            typed_below = {word: OmegaConf.select(config, word) for word in typed if word.startswith(f"{key}.")}
            config[key] = own[key]
            for word, value in typed_below.items():
                OmegaConf.update(config, word, value, force_add=True)  # what the model does not know is said by check
    if any(word.split(".")[0] == "phase" for word in typed):
        if OmegaConf.select(config, "model.separator.phase") is None:
            raise InputError(f"phase: the model of run={config.run} makes no use of it")
        config.model.separator.phase = config.phase
    else:
        config.phase = own.get("phase")
    return config


def _check_subject(config: DictConfig) -> None:
    given = [key for key in SUBJECTS if config[key] is not None]
    if not given:
        raise InputError("nothing to score; give run=FOLDER, estimates=FOLDER or oracle=NAME")
    if config.estimates is not None and config.oracle is not None:
        raise InputError("estimates and oracle are both given, expected one of them")
    if config.oracle is not None and config.oracle not in ORACLES:
        raise InputError(f"oracle={config.oracle}: there is no such oracle; {unknown(config.oracle, ORACLES)}")
    if config.processes < 1:
        raise InputError(f"processes must be at least 1, found {config.processes}")


def _beside(paths: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for path in map(Path, paths):
        try:
            found[str(path)] = read_scores(path, whole=True)
        except FileNotFoundError as error:
            raise InputError(f"compare_with={path}", "no such file") from error
    return found


def _score(session: "Session", numbers: Sequence[int], processes: int) -> None:
    """Those that another command is at come last."""
    with tqdm(total=len(numbers), desc="scoring", unit="track", leave=False, disable=not numbers) as bar:
        for wait in (False, True):
            left = []
            function = partial(score_track, session.config, wait)
            for place, done in in_processes(function, numbers, min(processes, len(numbers))):
                if isinstance(done, InputError):
                    raise done
                if done:
                    bar.update()
                else:
                    left.append(numbers[place])
            numbers = left


def score_track(config: str, wait: bool, number: int) -> bool:
    """One track, in this process or another; whether it is scored now."""
    session = _session(config)
    return session.scorer.score(session.rows, session.scorer.tracks[number], wait)


@lru_cache(maxsize=1)
def _session(config: str) -> "Session":
    return Session(config)


class Session:
    """What a process needs to score tracks, made from a config that has been checked.

    Args:
        config: as yaml.
    """

    def __init__(self, config: str) -> None:
        torch.set_flush_denormal(True)
        self.config = config
        self.node: Any = OmegaConf.create(config)
        self.data: MultitrackData = build(self.node.data)
        self.evaluation: Evaluation = build(self.node.evaluation)
        self.subject_is_run = self.node.estimates is None and self.node.oracle is None
        self.label = (
            Path(self.node.run).name if self.subject_is_run else self.node.oracle or f"estimates in {self.node.estimates}"
        )

    @cached_property
    def device(self) -> torch.device:
        """A GPU of its own for each process, as far as there are some."""
        if self.node.trainer.accelerator == "cpu" or not torch.cuda.is_available():
            return torch.device("cpu")
        number = current_process().name.rpartition("-")[2]  # SpawnProcess-1, or MainProcess
        return torch.device("cuda", (int(number) - 1 if number.isdigit() else 0) % torch.cuda.device_count())

    @cached_property
    def scorer(self) -> Scorer:
        separator, protocol = self.node.model.separator, build(self.node.protocol)
        assert isinstance(protocol, Protocol)
        at = protocol.at(separator.sample_rate, separator.channels)
        tracks = self.data.whole(SPLIT, *at.format, progress=True)
        weights = self.data.target_weights()
        source_group = at.source_group([*self.node.targets], weights)
        return Scorer(at, source_group, weights, tracks, Path(self.node.output), self.data.cache_dir / "baselines", self.device)

    @cached_property
    def rows(self) -> dict[str, Method]:
        stft = stft_for(self.separator if self.subject_is_run else None, self.scorer.protocol.sample_rate)
        return {ESTIMATE: self._subject(stft)} | baselines(stft)

    def _subject(self, stft: STFT) -> Method:
        if self.node.oracle is not None:
            return Oracle(self.node.oracle, stft)
        rate, _ = self.scorer.protocol.format
        if self.node.estimates is not None:
            files = EstimateFolder(Path(self.node.estimates).expanduser(), [*self.node.targets])
            files.check([track.name for track in self.scorer.tracks])
            return EstimateFiles(files, rate)
        protocol = self.scorer.protocol
        mixtures = mixtures_for(self.separator, protocol, self.scorer.tracks, partial(self.data.whole, SPLIT, progress=True))
        return self.evaluation.of(self.separator, fingerprint(self.checkpoint), mixtures, protocol)

    @cached_property
    def trained_on(self) -> dict[str, str]:
        """Return which scored tracks the run was trained or validated on, see `tracks_trained_on`."""
        if not self.subject_is_run:
            return {}
        own = self.separator.sample_rate, self.separator.channels  # content is compared as training saw it
        scored = self.scorer.protocol.format
        tracks = self.scorer.tracks if own == scored else self.data.whole(SPLIT, *own, progress=True)
        return tracks_trained_on(Path(self.node.run), tracks)

    @cached_property
    def checkpoint(self) -> Path:
        """InputError where it is not there."""
        return checkpoint_path(Path(self.node.run), self.node.checkpoint)

    @cached_property
    def separator(self) -> Separator:
        """With the weights of the checkpoint; InputError where they cannot be used."""
        task = rebuilt(lambda: build(self.node.model), self.checkpoint)
        return task.separator.to(self.device).eval()

    def leave_clips(self) -> None:
        """Audio and pictures beside the scores, if they were asked for."""
        method = self.rows[ESTIMATE]
        if isinstance(method, SeparatorMethod):
            self.evaluation.leave_clips(method, self.scorer.targets, self.scorer.folder)


def _compared(config: DictConfig, scores: Mapping[str, Any], other_data: bool) -> dict[str, Any]:
    """With published figures, where the run or the experiment has some; an oracle has none."""
    if config.published is None or config.oracle is not None:
        return {}
    typed = HydraConfig.get().runtime.choices
    own = typed if config.run is None else own_choices(Path(config.run))
    data = typed["data"] if other_data else own.get("data", "unknown")
    reference: PublishedScores = build(config.published)
    return {"reference": reference.compare(scores, data, own.get("model", "unknown"), scores.get("trained_on", ()))}


def _output(config: DictConfig, other_data: bool) -> Path:
    """Where scores go; the same for the same subject, so that a second call goes on."""
    if config.output is not None:
        return Path(config.output).expanduser()
    what = config.oracle or (Path(config.estimates).name if config.estimates is not None else None)
    data = HydraConfig.get().runtime.choices["data"] if config.run is None or other_data else None
    folder = Path("outputs") if config.run is None else Path(config.run)
    return below(folder, "scores", "-".join(filter(None, [config.protocol.name, data, what])))
