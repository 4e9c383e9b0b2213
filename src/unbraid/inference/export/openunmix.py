"""Write a trained Open-Unmix separator as a folder that the openunmix package can load.

`openunmix.utils.load_separator(folder, targets)` loads the folder. The folder contains `separator.json`, and also
`<target>.json` and `<target>.pth` for each target.

Some options of a separator cannot be stored in these files. The openunmix package uses a fixed value for each such option, so a
separator with another value cannot be written.
"""

from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from unbraid.models.separators.base import Separator
from unbraid.models.separators.masking import Masking
from unbraid.nets.open_unmix import OpenUnmix
from unbraid.runs.errors import InputError
from unbraid.runs.files import write_json

# Values that the openunmix package always uses, by the config key of unbraid below `model.separator`.
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
    """Check that the openunmix package can use the model of a run.

    Args:
        model: value of the key `model` in the config of the run.

    Raises:
        InputError: the network is not Open-Unmix, or an option differs from the value that openunmix always uses.
    """
    net = OmegaConf.select(model, "separator.net._target_")
    if net != (open_unmix := f"{OpenUnmix.__module__}.{OpenUnmix.__name__}"):
        problem, hint = "format=openunmix cannot store this network", "This format can store only runs of model=open_unmix."
        raise InputError("model.separator.net", problem, found=net, expected=open_unmix, hint=hint)
    for key, fixed in FIXED_OPTIONS.items():
        if (value := OmegaConf.select(model.separator, key)) != fixed:
            problem = "the openunmix package does not support this value"
            raise InputError(f"model.separator.{key}", problem, found=str(value), expected=str(fixed))


def write_openunmix(separator: Separator, folder: Path) -> None:
    """Write a separator as a folder of the openunmix package.

    Args:
        separator: Open-Unmix separator. Its config must have passed `check_openunmix`.
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
