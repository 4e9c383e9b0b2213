"""Command `evaluate`: score separated test tracks.

The tracks are separated by a trained run, by another program (the user gives the folder of its stems), or by an oracle.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from unbraid.commands.choices import CONFIG_DIR, OWN, choices
from unbraid.commands.experiment import Experiment, check_experiment
from unbraid.commands.keys import check_range
from unbraid.commands.other_scores import read_others
from unbraid.commands.run_config import with_run
from unbraid.commands.scoring_session import Session, sessions_of
from unbraid.data.parallel import in_processes
from unbraid.data.tracks import few
from unbraid.evaluation.methods import SeparatorMethod
from unbraid.evaluation.score_report import report
from unbraid.evaluation.scorer import ESTIMATE, write_scores
from unbraid.evaluation.separation_options import OptionResult, measure_options, options_record, options_text
from unbraid.interop.interpolation import check_interpolation
from unbraid.reports.comparison import compared
from unbraid.reports.variants import runs_of
from unbraid.runs.config import build
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.files import below, distinct_name
from unbraid.runs.plugins import entry_points, named
from unbraid.runs.records import ENDED, own_choices, read_record
from unbraid.runs.text import echo
from unbraid.scoring.oracles import ORACLES
from unbraid.scoring.published import PublishedScores, comparison_text

METHODS = ("run", "estimates", "oracle")
NOT_WITH_SWEEP = (*METHODS, "output", "compare_with")
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
        checkpoint: checkpoint of the run: best, last, ema or a file.
        estimates: folder of stems that another program has separated from the test tracks.
        oracle: name of a separation method that uses the true sources, see `unbraid.scoring.oracles`.
        output: folder for the scores; None: a folder below the run folder or, without `run`, below `outputs/`.
        processes: number of processes that score tracks at the same time.
        more_protocols: names of further protocols. `protocol=[A,B]` is a short form of `protocol=A more_protocols=[B]`.
        tta: `report`: also measure whether options of the separation (shifts, swapped channels, inverted polarity, overlap)
            improve the scores of the run. None: do not.
        compare_with: run folders, `scores.json` files, or checkpoints of other tools. The table also shows the scores of these
            models, and a paired test compares each of these models with the scored model.
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
    more_protocols: list[str] = field(default_factory=list)
    tta: Literal["report"] | None = None
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
    for name in (HydraConfig.get().runtime.choices["protocol"], *config.more_protocols):
        origin = choices("protocol").get(name, OWN)
        plugin = "" if origin in (OWN, CONFIG_DIR) else f" plugins={origin}"
        echo(f"\nreport  {program} {shlex.quote(f'sweep={sweep}')} protocol={name}{plugin}")


def _evaluate(config: DictConfig, typed: Sequence[str]) -> None:
    config = with_run(config, typed)
    check_experiment(config, EvaluateConfig)
    _check_method(config)
    sessions_of.cache_clear()  # files may have changed since this process last scored them
    configs = _by_protocol(config, typed)
    sessions = sessions_of(_texts(configs))
    others = read_others(configs, [session.scorer for session in sessions], typed)
    missing = [number for session in sessions for number in _prepare(session)]
    _score(sorted({*missing}), _texts(configs), config.processes)
    options = _measured(config, sessions)
    for one, session, other, measured in zip(configs, sessions, others, options, strict=True):
        _finish(one, session, other, measured, other_data="data" in typed)


def _texts(configs: Sequence[DictConfig]) -> tuple[str, ...]:
    return tuple(OmegaConf.to_yaml(config, resolve=True) for config in configs)


def _by_protocol(config: DictConfig, typed: Sequence[str]) -> list[DictConfig]:
    """Return one config for each protocol, with its output folder."""
    words = [word for word in HydraConfig.get().overrides.task if word.partition("=")[0] not in ("protocol", "more_protocols")]
    if config.more_protocols and (changed := next((key for key in typed if key.startswith("protocol.")), None)):
        problem = "a protocol cannot be changed in a command with several protocols"
        raise InputError(changed, problem, hint="Use one command for each protocol")
    configs = [config]
    for name in config.more_protocols:
        one = config.copy()
        one.protocol = hydra.compose("evaluate", [*words, f"protocol={name}"]).protocol
        configs.append(one)
    for one in configs:
        one.output = str(_output(one, other_data="data" in typed))
    return configs


def _prepare(session: Session) -> list[int]:
    """Check a protocol, and print how many tracks are already scored. Return the numbers of the tracks without scores."""
    scorer = session.scorer
    scorer.check_folder()
    missing = _missing(session)
    filed = len(scorer.tracks) - len(missing)
    sources = " + ".join(scorer.source_group.names)
    echo(f"protocol {scorer.protocol.name}: {sources}, {len(scorer.tracks)} tracks, {filed} of them already scored")
    record = read_record(session.origin.folder) if session.scores_run else None
    if record is not None and record["state"] not in ENDED:
        echo(f"warning: the training of this run has not ended (state: {record['state']}); its weights can change")
    return missing


def _missing(session: Session) -> list[int]:
    """Return the numbers of the tracks that have no valid stored scores."""
    scorer, rows = session.scorer, session.rows.items()
    tracks = enumerate(scorer.tracks)
    return [number for number, track in tracks if not all(scorer.filed(row, method, track) for row, method in rows)]


def _finish(
    config: DictConfig,
    session: Session,
    others: Mapping[str, Mapping[str, Any]],
    options: Sequence[OptionResult],
    other_data: bool,
) -> None:
    """Write the scores under one protocol, and print the table of scores."""
    scorer = session.scorer
    scores = scorer.scores(session.rows, str(session.checkpoint) if session.scores_run else session.label)
    seen = session.trained_on
    if seen:
        scores["trained_on"] = seen
    scores |= _published(config, scores, other_data)
    if options:
        scores["tta"] = options_record(options)
    write_scores(scorer.folder, scores)
    session.write_clips()
    echo(f"\n{report(scores, session.label, others)}\n")
    if sentences := compared(session.label, scores, others):
        echo(*sentences, "", sep="\n")
    if seen:
        named = few((f"{name} ({split})" for name, split in seen.items()), MOST_NAMES)
        echo(f"warning: the run was trained or validated on {len(seen)} of {len(scorer.tracks)} scored tracks: {named}\n")
    if options:
        echo(f"{options_text(options, scorer.protocol.measures[0])}\n")
    if "reference" in scores:
        echo(f"{comparison_text(scores['reference'])}\n")
    echo(f"scores  {scorer.folder / 'scores.json'}")
    echo(f"tracks  {scorer.folder / ESTIMATE / 'test'}")


def _measured(config: DictConfig, sessions: Sequence[Session]) -> list[list[OptionResult]]:
    """Measure the options of the separation under each protocol if the key `tta` requests it."""
    methods = [session.rows[ESTIMATE] for session in sessions]
    separators = [method for method in methods if isinstance(method, SeparatorMethod)]
    if config.tta is None or not separators:
        return [[] for _ in sessions]
    return measure_options(separators, [session.scorer for session in sessions])


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
    if config.tta is not None and (config.estimates is not None or config.oracle is not None):
        problem = "options of the separation can only be measured for a trained model"
        raise InputError("tta", problem, found=config.tta, expected="null", hint="Remove this key, or use run=FOLDER")
    check_range(config, "processes", 1, float("inf"))
    check_interpolation(config.interpolate, config.start)


def _score(numbers: Sequence[int], configs: tuple[str, ...], processes: int) -> None:
    """Score the tracks with the given numbers. Tracks that another command is scoring now are tried again at the end."""
    with tqdm(total=len(numbers), desc="scoring", unit="track", leave=False, disable=not numbers or None) as bar:
        for wait in (False, True):
            remaining = []
            function = partial(score_track, configs, wait)
            for index, done in in_processes(function, numbers, min(processes, len(numbers))):
                if isinstance(done, InputError):
                    raise done
                if done:
                    bar.update()
                else:
                    remaining.append(numbers[index])
            numbers = remaining


def score_track(configs: tuple[str, ...], wait: bool, number: int) -> bool:
    """Score one track under all protocols.

    Args:
        configs: config of the command for each protocol, as yaml text. For several tracks with the same configs, the model is
            built only once.
        wait: True to wait if another command is scoring the track.
        number: index of the track in the list of scored tracks.

    Returns:
        True if the track has all scores now; False if another command is scoring the track.
    """
    sessions = sessions_of(configs)
    done = [session.scorer.score(session.rows, session.scorer.tracks[number], wait) for session in sessions]
    return all(done)


def _published(config: DictConfig, scores: Mapping[str, Any], other_data: bool) -> dict[str, Any]:
    """Compare the scores of this command with the published scores that the config key `published` describes.

    The result is a dictionary that contains the comparison at the key `reference`. If `published` is null, or if an oracle is
    scored, the result is an empty dictionary.
    """
    if config.published is None or config.oracle is not None:
        return {}
    typed = HydraConfig.get().runtime.choices
    chosen = typed if config.run is None else own_choices(Path(config.run))
    data = typed["data"] if other_data else chosen.get("data", "unknown")
    reference: PublishedScores = build(config.published)
    return {"reference": reference.compare(scores, data, chosen.get("model", "unknown"), scores.get("trained_on", ()))}


def _output(config: DictConfig, other_data: bool) -> Path:
    """Return the output folder. The same command always gets the same folder, so that scored tracks are found again."""
    if config.output is not None:
        folder = Path(config.output).expanduser()
        return below(folder, config.protocol.name) if config.more_protocols else folder
    method = config.oracle or (None if config.estimates is None else distinct_name(Path(config.estimates).expanduser()))
    data = HydraConfig.get().runtime.choices["data"] if config.run is None or other_data else None
    folder = Path("outputs") if config.run is None else Path(config.run)
    if folder.is_file():
        method, folder = (distinct_name(folder), Path("outputs")) if config.config else (None, folder.absolute().parent.parent)
    mixture = None if config.interpolate is None else f"interpolate-{config.interpolate:g}"
    return below(folder, "scores", "-".join(filter(None, [config.protocol.name, data, method, mixture])))
