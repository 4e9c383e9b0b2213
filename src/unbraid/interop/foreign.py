"""Separators of other software: folders of the `openunmix` package, and state dicts whose names a file translates.

Such a file is yaml: which config describes the model, where the tensors are, and how their names are called here.

    config: config.yaml        # python train.py model=unet … --cfg job --resolve > config.yaml
    weights: theirs.pth        # or .safetensors; tensors by name
    key: state_dict            # under which they lie in the file; leave it out where they lie there alone
    names:                     # a * stands for what is between two dots
      encoder.*.conv.weight: nets.0.encoder.*.0.weight
    unused: [step]             # theirs that the model has no use for
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor

from unbraid.dsp.phase import MixturePhase, Wiener
from unbraid.dsp.stft import STFT
from unbraid.interop.published import load_published, read_weights, weights_file
from unbraid.models.separators.masking import Masking
from unbraid.nets.open_unmix import NOT_ITS_STATE, OpenUnmix, options_of
from unbraid.runs.config import check, read_config
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.weights import limited_size

OPENUNMIX = "separator.json"
CHUNK_SECONDS = 6.0  # which its authors train with
MOST_STARS = 2000  # in all names of a file
MOST_STEPS = 10**9  # stars times letters of the names of tensors, which are compared in about 10 s


def openunmix_separator(folder: Path) -> Masking:
    """The separator of a folder as `openunmix.utils.load_separator` takes it, with that function's options.

    Raises:
        InputError: a file is missing or damaged, or the networks are not of one size.
    """
    path = folder / OPENUNMIX
    try:
        said = read_json(path)
        rate, n_fft, hop, channels = (int(said[key]) for key in ("sample_rate", "nfft", "nhop", "nb_channels"))
        stft = STFT(n_fft, hop, "reflection")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected JSON with the numbers sample_rate, nfft, nhop and nb_channels") from error
    targets = sorted(path.stem for path in folder.glob("*.json") if path.name != OPENUNMIX)
    if not targets:
        raise InputError(f"{folder}: has no <target>.json, expected one for each target")
    try:
        options = options_of(read_weights(weights_file(folder, targets[0])))
    except NOT_ITS_STATE as error:
        raise InputError(f"{folder}: {targets[0]} has no weights of an Open-Unmix network") from error
    phase = Wiener(1, False, False, 300) if len(targets) > 1 else MixturePhase()
    net = partial(OpenUnmix, **options)  # type: ignore[arg-type]
    with limited_size(folder, sum(weights_file(folder, target).stat().st_size for target in targets)):
        separator = Masking(net, stft, targets, rate, channels, CHUNK_SECONDS, phase, "none")
    load_published(separator, str(folder.absolute()))  # no published name, whatever the folder's is
    return separator


@dataclass
class Translation:
    """See the head of this file."""

    config: str
    weights: str
    names: dict[str, str]
    key: str | None = None
    unused: list[str] = field(default_factory=list)


def read_translation(path: Path) -> Translation:
    """InputError where the file is none, names files outside its folder, or has something left to look up."""
    config = read_config(path)
    try:
        check(config, Translation, ())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    said: Any = OmegaConf.to_container(config)
    found = Translation(**said)
    for name in (found.config, found.weights):
        if not (path.parent / name).resolve().is_relative_to(path.parent.resolve()):
            raise InputError(f"{path}: {name} lies elsewhere, expected a file in the same folder")
    return found


def translated_tensors(path: Path, translation: Translation) -> dict[str, Tensor]:
    """Read the tensors of a file under the names that a translation gives them.

    Raises:
        InputError: the tensors cannot be read, one of them has no translation, or two have the same.
    """
    given: Any = read_weights(path.parent / translation.weights)
    if translation.key is not None:
        if not isinstance(given.get(translation.key), Mapping):
            raise InputError(
                f"{path}: {translation.weights} has no {translation.key}; {unknown(translation.key, map(str, given))}"
            )
        given = given[translation.key]
    stars = sum(name.count("*") for name in (*translation.names, *translation.unused))
    most = min(MOST_STARS, MOST_STEPS // max(sum(len(str(name)) for name in given), 1))
    if stars > most:
        raise InputError(path, "has too many *", found=stars, expected=f"at most {most} for these tensors")
    return _translated(given, translation, path)


def _translated(given: Mapping[str, Any], translation: Translation, path: Path) -> dict[str, Tensor]:
    names = [(_pattern(theirs), ours) for theirs, ours in translation.names.items() if "*" in theirs]
    unused = [_pattern(theirs) for theirs in translation.unused if "*" in theirs]
    state: dict[str, Tensor] = {}
    for name, tensor in given.items():
        if name in translation.unused or any(pattern.fullmatch(str(name)) for pattern in unused):
            continue
        if not isinstance(tensor, Tensor):
            raise InputError(f"{path}: {name} is no tensor; put it below unused")
        called = translation.names.get(name) or _called(name, names)
        if called is None:
            raise InputError(f"{path}: there is no name for {name}; add it to names, or to unused")
        if called in state:
            raise InputError(f"{path}: {name} would be {called}, which another tensor is already")
        state[called] = tensor
    return state


def _called(name: str, patterns: list[tuple[re.Pattern[str], str]]) -> str | None:
    """Return a name in the words of the model, by the first pattern that fits; None if none does."""
    for pattern, ours in patterns:
        if match := pattern.fullmatch(name):
            parts = iter(match.groups())
            return re.sub(r"\*", lambda _: next(parts, "*"), ours)  # noqa: B023
    return None


def _pattern(name: str) -> re.Pattern[str]:
    """Compile a name in which each * stands for letters between two dots; matching takes no longer than the name is long."""
    return re.compile(r"\.".join(_part(part) for part in name.split(".")))


def _part(part: str) -> str:
    """Each * but the last takes as little as it can, and nothing is tried again."""
    first, *pieces = [re.escape(piece) for piece in part.split("*")]
    if not pieces:
        return first
    return first + "".join(f"(?>([^.]+?){piece})" for piece in pieces[:-1]) + f"([^.]+){pieces[-1]}"
