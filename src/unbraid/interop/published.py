"""Load published weights of other authors into a separator. Downloaded files are kept in the cache of `torch.hub`.

Open-Unmix (Stöter et al., JOSS 2019) has a weights file for each target. `umx` was trained on MUSDB18, `umxhq` on MUSDB18-HQ.
`umxl` was trained on more data. These data are not public. `umxl` is for non-commercial use only. `hdemucs_high_musdb` is the
Hybrid Demucs of torchaudio.
"""

import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unbraid.models.separators.base import Separator
from unbraid.nets.adapters import HDemucs
from unbraid.nets.libraries import import_torchaudio
from unbraid.nets.open_unmix import NOT_ITS_STATE, OpenUnmix, options_of
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.torch_files import read_torch_file

RECORDS = "https://zenodo.org/records/{}/files/{}"
# A name ends with the first digits of the file's SHA-256.
PUBLISHED = {
    "umx": (3370486, ("bass-646024d3", "drums-5a48008b", "other-f8e132cc", "vocals-c8df74a5")),
    "umxhq": (3370489, ("bass-8d85a5bd", "drums-9619578f", "other-b52fbbf7", "vocals-b62c91ce")),
    "umxl": (5069601, ("bass-2ca1ce51", "drums-69e0ebd4", "other-c8c5b3e6", "vocals-bccbd9aa")),
}
RATE = 44100  # sample rate of all published weights, in Hz
# Weights of torchaudio, trained on MUSDB18-HQ. One network estimates all sources, in this order.
HDEMUCS, HDEMUCS_SOURCES = "hdemucs_high_musdb", ("drums", "bass", "other", "vocals")
HDEMUCS_FILE = "models/hdemucs_high_musdbhq_only.pt"
# Errors of torch for files that are damaged, truncated, or contain more than tensors.
UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError)
SAFETENSORS = ".safetensors"
NO_WEIGHTS = "the file is damaged or is not a weights file"


def load_published(separator: Separator, init: str) -> None:
    """Load published weights into the networks of a separator.

    Args:
        separator: separator with Open-Unmix networks or with Hybrid Demucs.
        init: name of the weights. For Open-Unmix: `umx`, `umxhq`, `umxl`, or a folder with a file `<target>.pth` or
            `<target>-<hash>.pth` for each target. For Hybrid Demucs: `hdemucs_high_musdb`.

    Raises:
        InputError: the weights cannot be downloaded or read, or do not fit the separator (model, targets, sample rate or
            shapes).
    """
    if init == HDEMUCS:
        _load_hdemucs(separator)
        return
    nets = [net for net in separator.modules() if isinstance(net, OpenUnmix)]
    if len(nets) != len(separator.targets):
        problem = "these are weights of Open-Unmix, but the model is not Open-Unmix"
        raise InputError(f"init={init}", problem, hint="Choose model=open_unmix, or set init=null")
    folder = Path(init).expanduser()
    for target, net in zip(separator.targets, nets, strict=True):
        if init in PUBLISHED:
            _check_rate(separator, RATE, init)
            state = _fetched(init, target)
        elif folder.is_dir():
            state = read_weights(weights_file(folder, target))
            _check_rate(separator, _rate_of(folder, state), init)
        else:
            hint = unknown(init, [*PUBLISHED, HDEMUCS])
            raise InputError(f"init={init}", "the value is neither a folder nor the name of published weights", hint=hint)
        _fill(net, state, f"init={init}: {target}")


def _check_rate(separator: Separator, rate: int | None, init: str) -> None:
    """Check that weights and separator have the same sample rate, and therefore the same frequencies of the STFT bins."""
    if rate not in (None, separator.sample_rate):
        hint = f"Set model.separator.sample_rate={rate}"
        found = f"{separator.sample_rate} Hz"
        raise InputError(
            f"init={init}", "separator and weights have different sample rates", found=found, expected=f"{rate} Hz", hint=hint
        )


def _load_hdemucs(separator: Separator) -> None:
    """Load the Hybrid Demucs weights of torchaudio.

    The weights compute four sources. Only the sources that are targets of the separator are kept.
    """
    demucs = next((module for module in separator.modules() if isinstance(module, HDemucs)), None)
    if demucs is None:
        problem = "these are weights of Hybrid Demucs, but the model is not Hybrid Demucs"
        raise InputError(f"init={HDEMUCS}", problem, hint="Choose model=hdemucs, or set init=null")
    for target in separator.targets:
        _check_target(HDEMUCS, target, HDEMUCS_SOURCES)
    _check_rate(separator, RATE, HDEMUCS)
    state = _hdemucs_state()
    numbers = torch.tensor([HDEMUCS_SOURCES.index(target) for target in separator.targets])
    current = demucs.net.state_dict()
    for name in current | state:
        given, expected = state.get(name), current.get(name)
        if given is not None and name in _last_layers(state):
            axis = 1 if name.endswith("weight") else 0  # transposed convolutions have their outputs second
            given = given.unflatten(axis, (len(HDEMUCS_SOURCES), -1)).index_select(axis, numbers).flatten(axis, axis + 1)
        if _shape(given) != _shape(expected):
            hint = "Give the model the network options of conf/model/hdemucs.yaml"
            raise InputError(
                f"init={HDEMUCS}: {name}",
                "the shape of this tensor does not fit the model",
                found=_shape(given),
                expected=_shape(expected),
                hint=hint,
            )
        assert given is not None
        state[name] = given
    demucs.net.load_state_dict(state)


def _hdemucs_state() -> dict[str, Tensor]:
    path = Path(torch.hub.get_dir()) / "torchaudio" / HDEMUCS_FILE
    torchaudio = import_torchaudio(f"init={HDEMUCS}")
    with _downloading(f"init={HDEMUCS}", path, f"https://download.pytorch.org/torchaudio/{HDEMUCS_FILE}"):
        state: dict[str, Tensor] = torchaudio.pipelines.HDEMUCS_HIGH_MUSDB.get_model().state_dict()
    return state


@contextmanager
def _downloading(where: str, path: Path, url: str) -> Iterator[None]:
    """Raise InputError if the `with` block cannot download or read a weights file. The error names the URL and the file."""
    try:
        yield
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        hint = f"Download {url} into {path.parent}"
        raise InputError(where, f"{path.name} cannot be downloaded ({reason})", hint=hint) from error
    except UNREADABLE as error:
        raise InputError(
            path, "the downloaded file is damaged", hint=f"Remove this file, then it is downloaded again from {url}"
        ) from error


def _check_target(init: str, target: str, known: Iterable[str]) -> None:
    if target not in known:
        raise InputError(
            f"init={init}",
            "there are no published weights for this target",
            found=target,
            expected=f"one of {', '.join(known)}",
        )


def _last_layers(state: Mapping[str, Tensor]) -> set[str]:
    """Return the tensor names of the last layers of both decoders of Hybrid Demucs. These layers compute the sources."""
    names: set[str] = set()
    for decoder in ("freq_decoder", "time_decoder"):
        last = max(int(name.split(".")[1]) for name in state if name.startswith(decoder))
        names |= {f"{decoder}.{last}.conv_tr.{kind}" for kind in ("weight", "bias")}
    return names


def _fetched(name: str, target: str) -> Mapping[str, Tensor]:
    record, stems = PUBLISHED[name]
    files = {stem.partition("-")[0]: f"{stem}.pth" for stem in stems}
    _check_target(name, target, files)
    url, path = RECORDS.format(record, files[target]), Path(torch.hub.get_dir()) / "checkpoints" / files[target]
    with _downloading(f"init={name}", path, url):
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True, check_hash=True)


def weights_file(folder: Path, target: str) -> Path:
    """Find the weights file of a target, `<target>.pth` or `<target>-<hash>.pth`.

    Args:
        folder: folder of the files.
        target: name of the target.

    Returns:
        Path of the weights file.

    Raises:
        InputError: neither file exists.
    """
    if (exact := folder / f"{target}.pth").is_file():
        return exact
    names = {path: re.fullmatch(r"(.+?)(-[0-9a-f]{8,})?", path.stem) for path in sorted(folder.glob("*.pth"))}
    targets = {match[1]: path for path, match in names.items() if match}
    if target not in targets:
        hint = f"The folder contains weights of: {', '.join(targets)}" if targets else ""
        raise InputError(folder / f"{target}.pth", "this weights file does not exist", hint=hint)
    return targets[target]


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a torch or safetensors file. Python code in the file is never executed.

    Args:
        path: weights file. The suffix `.safetensors` selects the safetensors format, any other suffix the torch format.

    Returns:
        A dictionary from name to tensor.

    Raises:
        InputError: the file is missing or damaged, or is not a mapping from names to tensors.
    """
    if path.suffix == SAFETENSORS:
        return read_safetensors(path)
    state = read_torch_file(path, "a weights file")
    if not isinstance(state, Mapping):
        raise InputError(path, NO_WEIGHTS, found=f"a {type(state).__name__}", expected="a mapping from names to tensors")
    if other := next((name for name in state if not isinstance(name, str)), None):
        raise InputError(path, NO_WEIGHTS, found=f"{other!r} as a name", expected="a text as the name of each tensor")
    return state


def read_safetensors(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a safetensors file.

    Args:
        path: path of the file.

    Returns:
        A dictionary from name to tensor.

    Raises:
        InputError: the file is missing or damaged, or the package safetensors is not installed.
    """
    torch_files, error_type = safetensors()
    if not path.exists():
        raise InputError(path, "the weights file does not exist")
    if not path.is_file():
        raise InputError(path, "the path is not a regular file, so it is not a weights file")
    try:
        return torch_files.load_file(path)
    except (error_type, OSError, ValueError) as error:
        raise InputError(path, f"{NO_WEIGHTS} ({error})") from error


def safetensors() -> tuple[Any, type[Exception]]:
    """Import the optional package safetensors.

    Returns:
        The module `safetensors.torch` and the exception class of the package.

    Raises:
        InputError: the package is not installed.
    """
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        raise InputError(
            "safetensors", "this Python package is not installed", hint="Run pip install 'unbraid[publish]'"
        ) from error
    return safetensors.torch, safetensors.SafetensorError


def _rate_of(folder: Path, state: Mapping[str, Tensor]) -> int | None:
    """Return the sample rate of Open-Unmix weights in Hz, from `separator.json` or from the weights; None if unknown."""
    if not (path := folder / "separator.json").is_file():
        rate = state.get("sample_rate")
        return int(rate) if isinstance(rate, Tensor) and rate.numel() == 1 else None
    try:
        return int(read_json(path)["sample_rate"])
    except (ValueError, KeyError, TypeError) as error:  # also InputError
        raise InputError(path, "the file has invalid content", expected="JSON with the number 'sample_rate'") from error


def _fill(net: OpenUnmix, state: Mapping[str, Tensor], where: str) -> None:
    """Load tensors into an Open-Unmix network. STFT windows and sample rates, which old weights files contain, are ignored."""
    current = net.state_dict()
    parts = {name.partition(".")[0] for name in current}
    given = {name: tensor for name, tensor in state.items() if name.partition(".")[0] in parts and isinstance(tensor, Tensor)}
    for name in current | given:
        found, expected = (_shape(tensors.get(name)) for tensors in (given, current))
        if found != expected:
            raise InputError(
                f"{where}: {name}",
                "the shape of this tensor does not fit the model",
                found=found,
                expected=expected,
                hint=_hint(given, net),
            )
    net.load_state_dict(given)


def _shape(tensor: Tensor | None) -> str:
    return "no tensor" if tensor is None else str(list(tensor.shape))


def _hint(given: Mapping[str, Tensor], net: nn.Module) -> str:
    """Return a hint for the user: the config keys that make the model as large as the weights."""
    try:
        options = options_of(given)
    except NOT_ITS_STATE:
        return "These are not weights of an Open-Unmix network"
    current = options_of(net.state_dict())
    special = {"audio_channels": "model.separator.channels"}
    keys = [(special.get(k, f"model.separator.net.{k}"), value) for k, value in options.items() if value != current[k]]
    if not keys:
        return "The weights file is incomplete"
    return "Set " + " ".join(f"{key}={str(value).lower()}" for key, value in keys)
