"""Read separators that were trained with other software, such as folders of the `openunmix` package.

Weights in all other formats need a translation file in yaml. The translation file contains the name of the weights file and the
name of the config file of the model. For each tensor, the translation file contains the name in unbraid. An example:

    config: config.yaml        # python train.py model=unet … --cfg job --resolve > config.yaml
    weights: theirs.pth        # or .safetensors; tensors by name
    key: state_dict            # key of the tensors in the file; omit it if the file contains only the tensors
    names:                     # name in the file: name in unbraid; * is any text between dots, and ** any text with dots
      encoder.*.conv.weight: nets.0.encoder.*.0.weight
      decoder.**: nets.0.decoder.**
    unused: [step]             # names of tensors that the model does not need
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
CHUNK_SECONDS = 6.0  # chunk length in the training of the authors
ANY_DEPTH = "**"
MOST_STARS = 2000  # largest number of * in a translation file
MOST_STEPS = 10**9  # largest product of * and letters in tensor names; matching takes about 10 s at this limit


def openunmix_separator(folder: Path) -> Masking:
    """Load a separator from a folder of the openunmix package, with the defaults of `openunmix.utils.load_separator`.

    Args:
        folder: folder with `separator.json`, and with `<target>.json` and `<target>.pth` for each target.

    Returns:
        The separator. With several targets, the separator has a Wiener filter.

    Raises:
        InputError: a file is missing or damaged, or the networks of two targets have different sizes.
    """
    path = folder / OPENUNMIX
    try:
        options = read_json(path)
        rate, n_fft, hop, channels = (int(options[key]) for key in ("sample_rate", "nfft", "nhop", "nb_channels"))
        stft = STFT(n_fft, hop, "reflection")
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = "JSON with the numbers 'sample_rate', 'nfft', 'nhop' and 'nb_channels'"
        raise InputError(path, "the file has invalid content", expected=expected) from error
    targets = sorted(path.stem for path in folder.glob("*.json") if path.name != OPENUNMIX)
    if not targets:
        raise InputError(folder, "the folder contains no targets", expected="a file <target>.json for each target")
    try:
        net_options = options_of(read_weights(weights_file(folder, targets[0])))
    except NOT_ITS_STATE as error:
        path = weights_file(folder, targets[0])
        raise InputError(path, "the file contains no weights of an Open-Unmix network") from error
    phase = Wiener(1, False, False, 300) if len(targets) > 1 else MixturePhase()
    net = partial(OpenUnmix, **net_options)  # type: ignore[arg-type]
    with limited_size(folder, sum(weights_file(folder, target).stat().st_size for target in targets)):
        separator = Masking(net, stft, targets, rate, channels, CHUNK_SECONDS, phase, "none")
    load_published(separator, str(folder.absolute()))  # absolute, so that it is not read as the name of published weights
    return separator


@dataclass
class Translation:
    """Store a translation file, which maps the tensor names of other software to the names in unbraid.

    Args:
        config: name of the config file of the model, in the folder of the translation file.
        weights: name of the weights file, in the folder of the translation file.
        names: mapping from the name of a tensor in the weights file to its name in unbraid.
        key: key under which the weights file stores the tensors; None: the file contains only tensors.
        unused: names of tensors in the weights file that the model does not need.
    """

    config: str
    weights: str
    names: dict[str, str]
    key: str | None = None
    unused: list[str] = field(default_factory=list)


def read_translation(path: Path) -> Translation:
    """Read and check a translation file, see `Translation`.

    Args:
        path: yaml file.

    Returns:
        Content of the file.

    Raises:
        InputError: the file cannot be read, has invalid keys, contains `${…}`, or refers to a file in another folder.
    """
    config = read_config(path)
    try:
        check(config, Translation, ())
    except InputError as error:
        raise InputError(path, f"the translation file is invalid ({error})") from error
    content: Any = OmegaConf.to_container(config)
    translation = Translation(**content)
    for name in (translation.config, translation.weights):
        if not (path.parent / name).resolve().is_relative_to(path.parent.resolve()):
            raise InputError(
                path,
                "the translation file refers to a file in another folder",
                found=name,
                hint="Move this file into the folder of the translation file",
            )
    return translation


def translated_tensors(path: Path, translation: Translation) -> dict[str, Tensor]:
    """Read the weights file of a translation file, and give each tensor its name in unbraid.

    Args:
        path: path of the translation file.
        translation: content of the translation file.

    Returns:
        A dictionary from name in unbraid to tensor.

    Raises:
        InputError: the tensors cannot be read, a tensor lacks a name in unbraid, or two tensors get the same name.
    """
    given: Any = read_weights(path.parent / translation.weights)
    if (key := translation.key) is not None:
        if not isinstance(given.get(key), Mapping):
            problem = f"the weights file {translation.weights} contains no entry of this name"
            raise InputError(f"{path}, key", problem, found=key, hint=unknown(key, map(str, given)))
        given = given[key]
    if twice := next((name for name in (*translation.names, *translation.unused) if name.count(ANY_DEPTH) > 1), None):
        raise InputError(path, "a name contains ** more than once", found=twice, expected="at most one **")
    stars = sum(name.count("*") for name in (*translation.names, *translation.unused))
    most = min(MOST_STARS, MOST_STEPS // max(sum(len(str(name)) for name in given), 1))
    if stars > most:
        raise InputError(
            path,
            "the translation file contains too many wildcards (*)",
            found=stars,
            expected=f"at most {most} wildcards",
        )
    return _translated(given, translation, path)


def _translated(given: Mapping[str, Any], translation: Translation, path: Path) -> dict[str, Tensor]:
    names = [(_pattern(theirs), ours) for theirs, ours in translation.names.items() if "*" in theirs]
    unused = [_pattern(theirs) for theirs in translation.unused if "*" in theirs]
    state: dict[str, Tensor] = {}
    for name, tensor in given.items():
        if name in translation.unused or any(pattern.fullmatch(str(name)) for pattern in unused):
            continue
        if not isinstance(tensor, Tensor):
            raise InputError(
                f"{path}: {name}",
                "this entry of the weights file is not a tensor",
                hint="In the translation file, add the name of this entry to the list 'unused'",
            )
        our_name = translation.names.get(name) or _translate(name, names)
        if our_name is None:
            raise InputError(
                f"{path}: {name}",
                "the translation file does not state the name of this tensor in unbraid",
                hint="In the translation file, add the tensor to 'names', or to 'unused' if the model does not need the tensor",
            )
        if our_name in state:
            problem = "another tensor already has the same name in unbraid"
            raise InputError(
                f"{path}: {name}",
                problem,
                found=our_name,
                hint="In the translation file, give one of the two tensors another name",
            )
        state[our_name] = tensor
    return state


def _translate(name: str, patterns: list[tuple[re.Pattern[str], str]]) -> str | None:
    """Convert a tensor name to unbraid. The first pattern that matches `name` is used; None if no pattern matches."""
    for pattern, ours in patterns:
        if match := pattern.fullmatch(name):
            parts = iter(match.groups())
            return re.sub(r"\*{1,2}", lambda _: next(parts, "*"), ours)  # noqa: B023
    return None


def _pattern(name: str) -> re.Pattern[str]:
    """Convert a tensor name with `*` or `**` to a regular expression. `*` matches text without dots; `**` matches any text."""
    return re.compile(r"\.".join(_part(part) for part in name.split(".")))


def _part(part: str) -> str:
    """Convert a part of a tensor name, the text between two dots, to a regular expression.

    The last * matches as many characters as possible. All other * match as few characters as possible.
    """
    if part == ANY_DEPTH:
        return "(.+)"
    first, *pieces = [re.escape(piece) for piece in part.split("*")]
    if not pieces:
        return first
    return first + "".join(f"(?>([^.]+?){piece})" for piece in pieces[:-1]) + f"([^.]+){pieces[-1]}"
