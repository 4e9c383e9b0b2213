"""Command `curve`: compute a reference curve from runs with different seeds, and write the curve as a config file."""

from dataclasses import dataclass
from pathlib import Path

import yaml
from omegaconf import DictConfig

from unbraid.commands.keys import check_new, check_sweep_or_runs, require
from unbraid.reports.reference_curves import reference_curve
from unbraid.reports.variants import read, runs_of
from unbraid.runs.config import check
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.text import echo

TARGET = "unbraid.training.callbacks.reference_curve.ReferenceCurve"


@dataclass
class CurveConfig:
    """Command-line keys of `unbraid curve`.

    Args:
        sweep: folder of a sweep over seeds.
        runs: folders of at least three runs that differ only in the seed, if `sweep` is not given.
        measure: column of `metrics.csv` for which the curve is computed.
        output: yaml file that is written. An existing file is an error.
    """

    sweep: str | None
    runs: list[str]
    measure: str
    output: str | None


def curve(config: DictConfig) -> None:
    """Write a reference curve as a choice of the config group `curve`.

    Args:
        config: composed config, see `CurveConfig`.

    Raises:
        InputError: not exactly one of `sweep` and `runs` is given, the runs cannot be combined (see
            `unbraid.reports.reference_curves.reference_curve`), or the output is not a new yaml file.
    """
    check(config, CurveConfig)
    require(config, output="FILE.yaml")
    check_sweep_or_runs(config)
    output = Path(config.output).expanduser()
    if output.suffix != ".yaml":
        raise InputError(f"output={output}", "the name of the file has another ending", expected=".yaml")
    check_new("output", output)
    folders = (
        [Path(run).expanduser() for run in config.runs] if config.sweep is None else runs_of(Path(config.sweep).expanduser())
    )
    found = reference_curve([read(folder, wanted=lambda _: True) for folder in folders], config.measure)
    node = {"_target_": TARGET, "name": output.stem} | found
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output, new=True) as partial:
        header = f"# @package callbacks.curve\n# {config.measure} of {found['seeds']} seeds: median and 95 % band\n"
        body = yaml.safe_dump(node, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
        partial.write_text(header + body, encoding="utf-8")
    steps = found["steps"]
    echo(f"{config.measure} at {len(steps)} steps ({steps[0]:,} to {steps[-1]:,}), {found['seeds']} seeds")
    echo(f"last step: median {found['median'][-1]:.4g}, band {found['low'][-1]:.4g} to {found['high'][-1]:.4g}")
    echo(f"curve   {output}")
