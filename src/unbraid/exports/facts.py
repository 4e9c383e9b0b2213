"""What an exported file says of itself, beside its graph: all that a program needs to feed it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unbraid.errors import InputError
from unbraid.runs import versions
from unbraid.separators import Masking, Separator

NEEDED = {"sample_rate": int, "channels": int, "chunk_samples": int, "targets": list}


def facts(separator: Separator, model: str) -> dict[str, Any]:
    """Plain data.

    Args:
        separator: that is exported.
        model: name of the choice on the command line.
    """
    stft = separator.stft if isinstance(separator, Masking) else None
    return {
        "sample_rate": separator.sample_rate,
        "channels": separator.channels,
        "targets": separator.targets,
        "chunk_samples": separator.chunk_samples,
        "stft": None if stft is None else {"n_fft": stft.n_fft, "hop_length": stft.hop_length, "edges": stft.edges},
        "settings": separator.sound,
        "model": model,
        "unbraid": versions()["unbraid"],
    }


def read_facts(found: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Those of a file; InputError where they are missing or not what they should be."""
    said: dict[str, Any] = {}
    for key, kind in NEEDED.items():
        try:
            said[key] = json.loads(found[key])
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: does not say its {key}; expected a file that scripts/export.py has written") from error
        if type(said[key]) is not kind:
            raise InputError(f"{path}: its {key} is {found[key]}, expected {'a list' if kind is list else 'a whole number'}")
    if not said["targets"] or not all(_is_name(target) for target in said["targets"]):
        raise InputError(f"{path}: its targets are {found['targets']}, expected names")
    if min(said["sample_rate"], said["chunk_samples"]) < 1:
        raise InputError(f"{path}: its sample_rate and chunk_samples must be above 0")
    return said


def _is_name(value: Any) -> bool:
    """They become names of files."""
    return isinstance(value, str) and value not in ("", ".", "..") and not {"/", "\\", "\0"} & {*value}
