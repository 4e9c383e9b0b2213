"""Choose short and different names for the variants and runs of a report.

A variant is a group of runs that differ only in the seed. The name of a variant consists of command-line overrides, such as
`model=unet`, that other variants do not have. The name of a run is the end of the path of the run folder.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from unbraid.runs.records import PATH_KEYS

LONG_NUMBER = re.compile(r"-?\d+\.\d*(e-?\d+)?(?<=.{6})")  # a decimal number of at least six characters
UNNAMED = ("seed", "name", "experiment")  # keys of overrides that are never part of a name


def told_apart(folders: Sequence[Path]) -> list[str]:
    """Return a name for each run folder: the end of its path, such as `sweep/0`.

    All names are different, and as short as possible.

    Args:
        folders: paths of run folders. Paths from different sweeps can have the same last part, such as `0`.

    Returns:
        One name for each folder: the last one or more parts of its path.
    """
    longest = max((len(folder.parts) for folder in folders), default=0)
    ends = ([str(Path(*folder.parts[-depth:])) for folder in folders] for depth in range(1, longest + 1))
    return next((names for names in ends if len({*names}) == len(names)), [])


def variant_names(overrides: Sequence[Sequence[str]], models: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Name each variant of a report by the command-line overrides in which it differs from the other variants.

    Keys are shortened to their last part: `optim.optimizer.lr=1e-3` becomes `lr=1e-3`. Class paths are shortened too:
    `model.loss._target_=unbraid.models.losses.SISDR` becomes `loss=SISDR`. A word is not shortened if two words would become
    equal. If the variants differ in one config group only, the key is left out: `model=unet` becomes `unet`.

    Args:
        overrides: command-line overrides of each variant, such as `model=unet`.
        models: name of the model config of each variant. If no override of a variant differs from the other variants, the
            variant is named after its model config.
        folders: one run folder of each variant. If two variants would have the same name, the end of the path of the run folder
            is added to the name.

    Returns:
        One name for each variant. All names are different.
    """
    typed = [[word for word in words if _key(word) not in UNNAMED] for words in overrides]
    common = set.intersection(*map(set, typed)) if len(typed) > 1 else set(typed[0]) - {f"model={models[0]}"}
    different = [
        [word for word in words if word not in common and _key(word).split(".")[-1] not in PATH_KEYS] for words in typed
    ]
    if all(len(words) == 1 for words in different) and len({_key(words[0]) for words in different}) == 1:
        different = [[_without_group(words[0])] for words in different]
    for change in (_short, _rounded):
        changed = {word: change(word) for words in different for word in words}
        if len({*changed.values()}) == len(changed):
            different = [[changed[word] for word in words] for words in different]
    names = [" ".join(words) or model for words, model in zip(different, models, strict=True)]
    ends = told_apart(folders)
    return [name if names.count(name) == 1 else f"{name} ({end})" for name, end in zip(names, ends, strict=True)]


def _without_group(word: str) -> str:
    """Remove the name of the config group from an override, such as `model=unet`. Other overrides are returned unchanged."""
    key, equals, value = word.partition("=")
    return value if equals and "." not in key else word


def _short(word: str) -> str:
    """Shorten an override: `optim.optimizer.lr=1e-3` to `lr=1e-3`, and `model.loss._target_=package.SISDR` to `loss=SISDR`."""
    key, equals, value = word.partition("=")
    if not equals or "." not in key:
        return word
    if key.endswith("._target_"):
        key, value = key.removesuffix("._target_"), value.rpartition(".")[2]
    return f"{key.rpartition('.')[2]}={value}"


def _rounded(word: str) -> str:
    """Round the number in an override to three digits: `optim.optimizer.lr=0.0076999` becomes `optim.optimizer.lr=0.0077`."""
    key, _, value = word.partition("=")
    return f"{key}={float(value):.3g}" if LONG_NUMBER.fullmatch(value) else word


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
