"""The folder that `openunmix.utils.load_separator(folder, targets)` of the openunmix package reads.

It has `separator.json`, and `<target>.json` and `<target>.pth` of each target; what the package knows no key for must be as the
package has it.
"""

from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from unbraid.models.separators.base import Separator
from unbraid.models.separators.masking import Masking
from unbraid.nets.open_unmix import OpenUnmix
from unbraid.runs.config import write_json
from unbraid.runs.errors import InputError

# What the package's separators always do.
THEIRS = {
    "stft.edges": "reflection",
    "scaling": "none",
    "mask_options.mask_max": None,
    "mask_options.mask_power": 1.0,
    "mask_options.consistency": False,
    "net.layers": 3,
    "net.causal": False,
}


def check_openunmix(model: DictConfig) -> None:
    """InputError where a model, as its config describes it, is none that the package knows."""
    net = OmegaConf.select(model, "separator.net._target_")
    if net != f"{OpenUnmix.__module__}.{OpenUnmix.__name__}":
        raise InputError("is no run of model=open_unmix, the only model that format=openunmix has")
    for key, expected in THEIRS.items():
        if (found := OmegaConf.select(model.separator, key)) != expected:
            raise InputError(f"model.separator.{key} is {found}, and the openunmix package knows only {expected}")


def write_openunmix(separator: Separator, folder: Path) -> None:
    """Make the folder, of a separator that `check_openunmix` has let through."""
    assert isinstance(separator, Masking)
    folder.mkdir()
    stft = separator.stft
    shape = {"nfft": stft.n_fft, "nhop": stft.hop_length, "nb_channels": separator.channels}
    write_json(folder / "separator.json", {"sample_rate": separator.sample_rate} | shape)
    for target, net in zip(separator.targets, separator.nets, strict=True):
        assert isinstance(net, OpenUnmix)
        arguments = {"target": target, "hidden_size": net.hidden} | shape
        write_json(folder / f"{target}.json", {"args": arguments})
        torch.save(net.state_dict(), folder / f"{target}.pth")
