"""What an exported file says of itself, beside its graph: all that a program needs to feed it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from typeguard import TypeCheckError, check_type

from unbraid.models.separators.base import LONGEST_CHUNK, Separator
from unbraid.runs.config import versions
from unbraid.runs.errors import InputError


@dataclass(frozen=True)
class Facts:
    """Each is written as JSON under its own name.

    Args:
        sample_rate: of all waveforms, in Hz.
        channels: of all waveforms.
        targets: names of the sources, in their order.
        chunk_samples: length of a chunk that suits the network.
        min_samples: in samples; see `Separator.min_samples`.
        chunk_alignment: in samples; see `Separator.chunk_alignment`.
        receptive_field: in samples; see `Separator.receptive_field`.
        settings: how masks come to sound.
        model: name of the choice on the command line.
        unbraid: version that has written the file.
    """

    sample_rate: int
    channels: int
    targets: list[str]
    chunk_samples: int
    min_samples: int
    chunk_alignment: int
    receptive_field: int | None
    settings: dict[str, float | str | None]
    model: str
    unbraid: str


def facts_of(separator: Separator, model: str) -> Facts:
    """Of a separator; `model` is the name of the choice on the command line."""
    return Facts(
        separator.sample_rate, separator.channels, separator.targets, separator.chunk_samples, separator.min_samples,
        separator.chunk_alignment, separator.receptive_field, separator.synthesis_options, model, versions()["unbraid"],
    )  # fmt: skip


def read_facts(found: Mapping[str, str], path: Path) -> Facts:
    """Those of a file; InputError where they are missing or not what they should be."""
    hints, said = get_type_hints(Facts), dict[str, Any]()
    for field in fields(Facts):
        if field.name not in found:
            raise InputError(f"{path}: does not say its {field.name}; expected a file that scripts/export.py has written")
        try:
            said[field.name] = json.loads(found[field.name])
            if isinstance(said[field.name], bool):
                raise ValueError("true and false are no numbers")
            check_type(said[field.name], hints[field.name])
        except (ValueError, RecursionError, TypeCheckError) as error:
            raise InputError(f"{path}: its {field.name} is {found[field.name]}, expected {field.type}") from error
    numbers = {key: said[key] for key in ("sample_rate", "chunk_samples", "min_samples", "chunk_alignment")} | {
        "receptive_field": said["receptive_field"] or 1
    }
    if wrong := next((key for key, value in numbers.items() if value < 1), None):
        raise InputError(f"{path}: its {wrong} is {said[wrong]}, expected a number above 0")
    if wrong := next((key for key, value in numbers.items() if value > LONGEST_CHUNK), None):
        raise InputError(f"{path}: its {wrong} is {found[wrong]}, expected no number above {LONGEST_CHUNK}")
    return Facts(**said)
