"""Weights that others have trained: published ones, fetched once into torch's own cache, and folders of such files.

Those of Open-Unmix (Stöter et al., JOSS 2019), a file for each target: `umx` was trained on MUSDB18, `umxhq` on MUSDB18-HQ,
`umxl` on more that is not public, and it is for non-commercial use only.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor, nn

from unbraid.models.separators.base import Separator
from unbraid.nets.adapters import HDemucs
from unbraid.nets.open_unmix import NOT_ITS_STATE, OpenUnmix, options_of
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.torch_files import read_torch_file

RECORDS = "https://zenodo.org/records/{}/files/{}"
# The end of a name is the beginning of the file's SHA-256.
PUBLISHED = {
    "umx": (3370486, ("bass-646024d3", "drums-5a48008b", "other-f8e132cc", "vocals-c8df74a5")),
    "umxhq": (3370489, ("bass-8d85a5bd", "drums-9619578f", "other-b52fbbf7", "vocals-b62c91ce")),
    "umxl": (5069601, ("bass-2ca1ce51", "drums-69e0ebd4", "other-c8c5b3e6", "vocals-bccbd9aa")),
}
RATE = 44100  # Hz, of all that is published
# torchaudio's, trained on MUSDB18-HQ; one network for all sources, in this order.
HDEMUCS, HDEMUCS_SOURCES = "hdemucs_high_musdb", ("drums", "bass", "other", "vocals")
HDEMUCS_FILE = "models/hdemucs_high_musdbhq_only.pt"
# What a torch file that is none, or not whole, or holds more than tensors, ends in.
UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError)
SAFETENSORS = ".safetensors"
NO_WEIGHTS = "is damaged or no file of weights"


def load_published(separator: Separator, init: str) -> None:
    """Weights into the networks of a separator, target by target.

    Args:
        separator: of Open-Unmix networks, or of Hybrid Demucs.
        init: one of `PUBLISHED`, or a folder with `<target>.pth` or `<target>-<hash>.pth`; for Hybrid Demucs
            `hdemucs_high_musdb`.

    Raises:
        InputError: there are none for this model or for a target, the file cannot be fetched or read, or its shapes or the
            sample rate differ.
    """
    if init == HDEMUCS:
        _load_hdemucs(separator)
        return
    nets = [net for net in separator.modules() if isinstance(net, OpenUnmix)]
    if len(nets) != len(separator.targets):
        raise InputError(f"init={init}: is of Open-Unmix; choose model=open_unmix, or set init=null")
    folder = Path(init).expanduser()
    for target, net in zip(separator.targets, nets, strict=True):
        if init in PUBLISHED:
            _check_rate(separator, RATE, init)
            state = _fetched(init, target)
        elif folder.is_dir():
            state = read_weights(weights_file(folder, target))
            _check_rate(separator, _rate_of(folder, state), init)
        else:
            raise InputError(f"init={init}: is no folder and no published model; {unknown(init, [*PUBLISHED, HDEMUCS])}")
        _fill(net, state, f"init={init}: {target}")


def _check_rate(separator: Separator, rate: int | None, init: str) -> None:
    """The same bins are other frequencies at another rate."""
    own = separator.sample_rate
    if rate not in (None, own):
        raise InputError(f"init={init}: is of {rate} Hz, found a separator of {own}; set model.separator.sample_rate={rate}")


def _load_hdemucs(separator: Separator) -> None:
    """Through torchaudio's pipeline; the last layers keep the rows of the targets alone, in their order."""
    found = next((module for module in separator.modules() if isinstance(module, HDemucs)), None)
    if found is None:
        raise InputError(f"init={HDEMUCS}: is of Hybrid Demucs; choose model=hdemucs, or set init=null")
    for target in separator.targets:
        if target not in HDEMUCS_SOURCES:
            raise InputError(f"init={HDEMUCS}: has no weights of '{target}'; it has {', '.join(HDEMUCS_SOURCES)}")
    _check_rate(separator, RATE, HDEMUCS)
    place, url = (
        Path(torch.hub.get_dir()) / "torchaudio" / HDEMUCS_FILE,
        f"https://download.pytorch.org/torchaudio/{HDEMUCS_FILE}",
    )
    try:
        state = torchaudio.pipelines.HDEMUCS_HIGH_MUSDB.get_model().state_dict()
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"init={HDEMUCS}: {place.name} cannot be fetched ({reason}); get it from {url} and put it into {place.parent}"
        ) from error
    except UNREADABLE as error:
        raise InputError(f"{place}: is damaged; remove it, and it is fetched again from {url}") from error
    numbers = torch.tensor([HDEMUCS_SOURCES.index(target) for target in separator.targets])
    own = found.net.state_dict()
    for name in own | state:
        given, expected = state.get(name), own.get(name)
        if given is not None and name in _last_layers(state):
            axis = 1 if name.endswith("weight") else 0  # transposed convolutions have their outputs second
            given = given.unflatten(axis, (len(HDEMUCS_SOURCES), -1)).index_select(axis, numbers).flatten(axis, axis + 1)
        if _shape(given) != _shape(expected):
            shapes = f"{name} is {_shape(given)}, expected {_shape(expected)}"
            raise InputError(f"init={HDEMUCS}: {shapes}; the weights have the sizes of conf/model/hdemucs.yaml")
        assert given is not None
        state[name] = given
    found.net.load_state_dict(state)


def _last_layers(state: Mapping[str, Tensor]) -> set[str]:
    """The names of what makes the sources: the last transposed convolution of either decoder."""
    names: set[str] = set()
    for decoder in ("freq_decoder", "time_decoder"):
        last = max(int(name.split(".")[1]) for name in state if name.startswith(decoder))
        names |= {f"{decoder}.{last}.conv_tr.{kind}" for kind in ("weight", "bias")}
    return names


def _fetched(name: str, target: str) -> Mapping[str, Tensor]:
    record, stems = PUBLISHED[name]
    files = {stem.partition("-")[0]: f"{stem}.pth" for stem in stems}
    if target not in files:
        raise InputError(f"init={name}: has no weights of '{target}'; it has {', '.join(files)}")
    url, cache = RECORDS.format(record, files[target]), Path(torch.hub.get_dir()) / "checkpoints"
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True, check_hash=True)
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"init={name}: {files[target]} cannot be fetched ({reason}); get it from {url} and put it into {cache}"
        ) from error
    except UNREADABLE as error:
        raise InputError(f"{cache / files[target]}: is damaged; remove it, and it is fetched again from {url}") from error


def weights_file(folder: Path, target: str) -> Path:
    """`<target>.pth` or `<target>-<hash>.pth`; InputError where neither is there."""
    if (exact := folder / f"{target}.pth").is_file():
        return exact
    names = {path: re.fullmatch(r"(.+?)(-[0-9a-f]{8,})?", path.stem) for path in sorted(folder.glob("*.pth"))}
    targets = {match[1]: path for path, match in names.items() if match}
    if target not in targets:
        raise InputError(f"init={folder}: has no {target}.pth; it has weights of {', '.join(targets) or 'nothing'}")
    return targets[target]


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Tensors by name, of a torch or a safetensors file; nothing else in it is read. InputError where it is none."""
    if path.suffix == SAFETENSORS:
        return read_safetensors(path)
    state = read_torch_file(path, NO_WEIGHTS)
    if not isinstance(state, Mapping):
        raise InputError(path, NO_WEIGHTS, found=f"a {type(state).__name__}", expected="tensors by name")
    if other := next((name for name in state if not isinstance(name, str)), None):
        raise InputError(path, NO_WEIGHTS, found=f"{other!r} as a name", expected="tensors by name")
    return state


def read_safetensors(path: Path) -> Mapping[str, Tensor]:
    """InputError where the file is damaged, or the package is not installed."""
    torch_files, error_type = safetensors()
    if not path.is_file():
        raise InputError(path, NO_WEIGHTS, found="not a regular file" if path.exists() else "no file")
    try:
        return torch_files.load_file(path)
    except (error_type, OSError, ValueError) as error:
        raise InputError(path, NO_WEIGHTS, found=error) from error


def safetensors() -> tuple[Any, type[Exception]]:
    """The package's functions for torch, and its error; InputError where it is not installed."""
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        raise InputError("safetensors: the package is not installed: pip install 'unbraid[publish]'") from error
    return safetensors.torch, safetensors.SafetensorError


def _rate_of(folder: Path, state: Mapping[str, Tensor]) -> int | None:
    """In Hz, from `separator.json` beside the weights or, in old files, among them; None where neither says it."""
    if not (path := folder / "separator.json").is_file():
        rate = state.get("sample_rate")
        return int(rate) if isinstance(rate, Tensor) and rate.numel() == 1 else None
    try:
        return int(read_json(path)["sample_rate"])
    except (ValueError, KeyError, TypeError) as error:  # also InputError
        raise InputError(f"{path}: expected JSON with a number as sample_rate") from error


def _fill(net: OpenUnmix, state: Mapping[str, Tensor], where: str) -> None:
    """Old files hold transforms and rates beside the network's own tensors, which are left aside."""
    own = net.state_dict()
    parts = {name.partition(".")[0] for name in own}
    given = {name: tensor for name, tensor in state.items() if name.partition(".")[0] in parts and isinstance(tensor, Tensor)}
    for name in own | given:
        found, expected = (_shape(tensors.get(name)) for tensors in (given, own))
        if found != expected:
            raise InputError(f"{where}: {name} is {found}, expected {expected}; {_advice(given, net)}")
    net.load_state_dict(given)


def _shape(tensor: Tensor | None) -> str:
    return "not there" if tensor is None else str(list(tensor.shape))


def _advice(given: Mapping[str, Tensor], net: nn.Module) -> str:
    """The keys under which the model would be that of the weights."""
    try:
        wanted = options_of(given)
    except NOT_ITS_STATE:
        return "these are not the weights of an Open-Unmix network"
    own = options_of(net.state_dict())
    places = {"audio_channels": "model.separator.channels"}
    keys = [(places.get(k, f"model.separator.net.{k}"), value) for k, value in wanted.items() if value != own[k]]
    if not keys:
        return "the file is not whole"
    return "set " + " ".join(f"{key}={str(value).lower()}" for key, value in keys)
