"""Export: a trained separator in the form that other software loads, so far that of the openunmix package.

Its `openunmix.utils.load_separator(folder, targets)` reads `separator.json`, and `<target>.json` and `<target>.pth` of each
target; what it knows no key for must be as the package has it.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf

from unbraid.commands.experiment import check_experiment
from unbraid.errors import InputError
from unbraid.nets.open_unmix import OpenUnmix
from unbraid.runs import build, check, checkpoint_path, load_weights, own_config, write_json
from unbraid.separators import Masking

# What the package's separators always do.
THEIRS = {
    "stft.edges": "reflection",
    "scaling": "none",
    "mask_max": None,
    "mask_power": 1.0,
    "consistency": False,
    "net.layers": 3,
    "net.causal": False,
}


@dataclass
class Export:
    """What to write.

    Args:
        run: folder of a trained run.
        checkpoint: of the run: best, last or a file.
        format: of what is written.
        output: folder that is made; None: one in the run, named by the format.
    """

    run: str | None
    checkpoint: str
    format: Literal["openunmix"]
    output: str | None


def export(config: DictConfig) -> None:
    """Write the folder, whole or not at all.

    Raises:
        InputError: the run is of another model or has options that the format lacks, or the output is there already.
    """
    check(config, Export)
    if config.run is None:
        raise InputError("run has no default and must be given: run=FOLDER")
    run = Path(config.run).expanduser()
    output = run / config.format if config.output is None else Path(config.output).expanduser()
    if output.exists():
        raise InputError(f"output={output}: is there already; choose another name or remove it")
    own: Any = own_config(run)
    check_experiment(own)
    separator = _separator(own, run, config.checkpoint)
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=output.parent) as partial:
        folder = Path(partial) / output.name
        folder.mkdir()
        _write(separator, folder)
        folder.rename(output)
    targets = ", ".join(f"'{target}'" for target in separator.targets)
    print(f"export  {output}: openunmix.utils.load_separator('{output}', targets=[{targets}])")


def _separator(own: DictConfig, run: Path, asked: str) -> Masking:
    """With the weights of the checkpoint."""
    net = OmegaConf.select(own, "model.separator.net._target_")
    if net != f"{OpenUnmix.__module__}.{OpenUnmix.__name__}":
        raise InputError(f"run={run}: is no run of model=open_unmix, the only model that format=openunmix has")
    for key, expected in THEIRS.items():
        if (found := OmegaConf.select(own.model.separator, key)) != expected:
            raise InputError(f"run={run}: model.separator.{key} is {found}, and the openunmix package knows only {expected}")
    task = build(own.model)
    load_weights(task, checkpoint_path(run, asked), run)
    assert isinstance(task.separator, Masking)
    return task.separator


def _write(separator: Masking, folder: Path) -> None:
    stft = separator.stft
    shape = {"nfft": stft.n_fft, "nhop": stft.hop_length, "nb_channels": separator.channels}
    write_json(folder / "separator.json", {"sample_rate": separator.sample_rate} | shape)
    for target, net in zip(separator.targets, separator.nets, strict=True):
        assert isinstance(net, OpenUnmix)
        arguments = {"target": target, "hidden_size": net.hidden} | shape
        write_json(folder / f"{target}.json", {"args": arguments})
        torch.save(net.state_dict(), folder / f"{target}.pth")
