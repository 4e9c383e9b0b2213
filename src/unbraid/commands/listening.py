"""Command `listening`: make a MUSHRA listening test of several runs, or compute the results of the test."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from unbraid.commands.keys import check_new, check_range
from unbraid.reports.making import relabelled
from unbraid.reports.mushra import PAGE, make_test
from unbraid.reports.mushra_summary import summarise_test
from unbraid.reports.variants import runs_of, variants_of
from unbraid.runs.config import check
from unbraid.runs.errors import InputError
from unbraid.runs.text import echo

FOLDER = "listening"


@dataclass
class ListeningConfig:
    """Command-line keys of `scripts/listening.py`.

    Args:
        sweep: folder of a sweep. Each variant of the sweep is one system of the test.
        runs: folders of the tested runs, if `sweep` is not given.
        results: files of the listeners. If files are given, the results of the test are computed.
        output: folder of the test; None: `listening` in the sweep folder, or in the working directory.
        target: name of the only target that is rated; None: all targets.
        songs: largest number of test tracks.
        seconds: length of each excerpt in s.
        labels: names of the variants, in the order of the report; empty: names made from the overrides of the runs.
    """

    sweep: str | None
    runs: list[str]
    results: list[str]
    output: str | None
    target: str | None
    songs: int
    seconds: float
    labels: list[str]


def listening(config: DictConfig) -> None:
    """Write the folder of a listening test, or print the results of a listening test.

    Args:
        config: composed config, see `ListeningConfig`.

    Raises:
        InputError: runs or sweep are given twice or not at all, the output of a new test exists, the runs cannot be tested, or
            a file of a listener is damaged.
    """
    check(config, ListeningConfig)
    check_range(config, "songs", 1, 100)
    check_range(config, "seconds", 1, 30)
    sweep = None if config.sweep is None else Path(config.sweep).expanduser()
    if sweep is not None and config.runs:
        raise InputError("sweep, runs", "only one of these two keys can be given")
    output = (sweep or Path()) / FOLDER if config.output is None else Path(config.output).expanduser()
    if config.results:
        summarise_test(output, [Path(name).expanduser() for name in config.results])
        return
    if sweep is None and not config.runs:
        hint = "Type sweep=FOLDER or 'runs=[FOLDER,FOLDER]', or 'results=[FILE,FILE]' for the results of a test"
        raise InputError("sweep, runs, results", "one of these keys must be given", hint=hint)
    check_new("output", output)
    folders = [Path(run).expanduser() for run in config.runs] if sweep is None else runs_of(sweep)
    variants = relabelled(variants_of(folders), list(config.labels))
    items, missing = make_test(variants, output, config.songs, config.seconds, config.target)
    for reason in missing:
        echo(f"left out   {reason}")
    echo(f"items      {items}")
    echo(f"page       {output / PAGE / 'index.html'} (give the folder {PAGE} to the listeners)")
    echo(f"key        {output / 'key.json'} (do not give it to the listeners)")
