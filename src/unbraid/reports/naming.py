"""Choose names for variants and runs: the overrides that differ, or the shortest different ends of their folders."""

from collections.abc import Sequence
from pathlib import Path

from unbraid.runs.records import PATH_KEYS

UNNAMED = ("seed", "name", "experiment")  # keys of overrides that are never part of a name


def told_apart(folders: Sequence[Path]) -> list[str]:
    """Return the ends of paths, with as few parts as are needed to make all ends different.

    Args:
        folders: run folders. Runs of two sweeps can have the same folder name.

    Returns:
        One end for each folder.
    """
    longest = max((len(folder.parts) for folder in folders), default=0)
    ends = ([str(Path(*folder.parts[-depth:])) for folder in folders] for depth in range(1, longest + 1))
    return next((names for names in ends if len({*names}) == len(names)), [])


def variant_names(overrides: Sequence[Sequence[str]], models: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Return a different name for each variant.

    A name consists of the overrides that not all variants have. If each name is one override of the same key, it is shortened
    to the value, as in `unet`, or to the last part of the key and the value, as in `lr=1e-3`.

    Args:
        overrides: overrides of each variant, as typed.
        models: name of each variant's model. It is the name of a variant without overrides of its own.
        folders: a run folder of each variant. Its end is added to names that are equal.

    Returns:
        One name for each variant.
    """
    typed = [[word for word in words if _key(word) not in UNNAMED] for words in overrides]
    common = set.intersection(*map(set, typed)) if len(typed) > 1 else set(typed[0]) - {f"model={models[0]}"}
    different = [
        [word for word in words if word not in common and _key(word).split(".")[-1] not in PATH_KEYS] for words in typed
    ]
    if all(len(words) == 1 for words in different) and len({_key(words[0]) for words in different}) == 1:
        different = [[_short(words[0])] for words in different]
    names = [" ".join(words) or model for words, model in zip(different, models, strict=True)]
    ends = told_apart(folders)
    return [name if names.count(name) == 1 else f"{name} ({end})" for name, end in zip(names, ends, strict=True)]


def _short(word: str) -> str:
    """Return the value of an override. For a dotted key, return the last part of the key, too."""
    key, equals, value = word.partition("=")
    if not equals:
        return word
    return value if "." not in key else f"{key.rpartition('.')[2]}={value}"


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
