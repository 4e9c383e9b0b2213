"""Write the folder that `openunmix.utils.load_separator(folder, targets)` of the openunmix package reads.

The folder contains `separator.json`, and `<target>.json` and `<target>.pth` for each target. These files cannot store all
options of a separator. Options that they cannot store must have the value that the package always uses.
"""

from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from unbraid.models.separators.base import Separator
from unbraid.models.separators.masking import Masking
from unbraid.nets.open_unmix import OpenUnmix
from unbraid.runs.config import write_json
from unbraid.runs.errors import InputError

# Values that the package always uses, by the key of our config.
FIXED_OPTIONS = {
    "stft.edges": "reflection",
    "scaling": "none",
    "mask_options.mask_max": None,
    "mask_options.mask_power": 1.0,
    "mask_options.consistency": False,
    "net.layers": 3,
    "net.causal": False,
}


def check_openunmix(model: DictConfig) -> None:
    """Check that the openunmix package can load a model.

    Args:
        model: part `model` of a run's config.

    Raises:
        InputError: the network is not Open-Unmix, or an option differs from the fixed value of the package.
    """
    net = OmegaConf.select(model, "separator.net._target_")
    if net != (open_unmix := f"{OpenUnmix.__module__}.{OpenUnmix.__name__}"):
        problem, hint = "format=openunmix cannot store this network", "Only runs of model=open_unmix can be exported."
        raise InputError("model.separator.net", problem, found=net, expected=open_unmix, hint=hint)
    for key, fixed in FIXED_OPTIONS.items():
        if (value := OmegaConf.select(model.separator, key)) != fixed:
            problem = "the openunmix package does not support this value"
            raise InputError(f"model.separator.{key}", problem, found=str(value), expected=str(fixed))


def write_openunmix(separator: Separator, folder: Path) -> None:
    """Write the folder of a separator.

    Args:
        separator: separator whose config `check_openunmix` has accepted.
        folder: folder to create.
    """
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
