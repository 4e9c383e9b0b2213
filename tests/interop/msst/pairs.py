"""Small checkpoints with their config files, in the formats of Music-Source-Separation-Training (MSST), one of each family."""

from pathlib import Path
from typing import Any

import torch
import yaml

from tests.interop import test_msst, test_msst_htdemucs
from tests.interop.msst import test_roformer, test_scnet, test_tfc_tdf
from tests.interop.msst.state import formula_state, listing
from unbraid.nets.adapters import HDemucs

COMMON: dict[str, Any] = {
    "audio": {"sample_rate": 44100, "num_channels": 2, "chunk_size": 4096},
    "training": {"instruments": ["drums", "vocals"], "target_instrument": None},
    "inference": {"num_overlap": 2},
}
MDX23C = {"audio": COMMON["audio"] | test_tfc_tdf.AUDIO, "model": test_tfc_tdf.MODEL}
HTDEMUCS = test_msst_htdemucs.config() | {"audio": {"chunk_size": 44100}}
HTDEMUCS["training"] |= {"segment": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "bs_roformer": COMMON | {"model": test_roformer.BS},
    "mel_band_roformer": COMMON | {"model": test_roformer.MEL},
    "scnet": COMMON | {"model": test_scnet.MODEL},
    "scnet_masked": COMMON | {"model": test_scnet.MODEL},
    "scnet_tran": COMMON | {"model": test_scnet.MODEL | test_scnet.ATTENTION},
    "mdx23c": COMMON | MDX23C,
    "htdemucs": COMMON | HTDEMUCS,
    "hdemucs": yaml.safe_load(test_msst.CONFIG.replace("!!python/tuple ", "")),
}


def tensors(family: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a small network by their names in MSST."""
    if family == "hdemucs":
        torch.manual_seed(3)
        return test_msst.theirs(HDemucs(2, channels=4, dconv_init=0.1))
    return formula_state(test_msst_htdemucs.shapes() if family == "htdemucs" else listing(family))


def write_pair(folder: Path, family: str, name: str = "model") -> Path:
    """Write a checkpoint and its config file, and return the path of the config file."""
    torch.save(tensors(family), folder / f"{name}.ckpt")
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(CONFIGS[family]))
    return path
