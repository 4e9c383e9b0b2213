"""Metadata of an exported file: all values that a program needs to run the graph."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from inspect import formatannotation
from pathlib import Path
from typing import Any, get_type_hints

from typeguard import TypeCheckError, check_type

from unbraid.models.separators.base import LONGEST_CHUNK, Separator
from unbraid.runs.config import versions
from unbraid.runs.errors import InputError


@dataclass(frozen=True)
class Facts:
    """Store the metadata of an exported separator. Each field is written to the file as JSON under its own name.

    Args:
        sample_rate: sample rate of the mixture and the sources in Hz.
        channels: number of channels of the mixture and the sources.
        targets: names of the sources, in the order of the output.
        chunk_samples: recommended length of a chunk in samples.
        min_samples: shortest input in samples; see `Separator.min_samples`.
        chunk_alignment: step between possible starts of chunks, in samples; see `Separator.chunk_alignment`.
        receptive_field: receptive field in samples, None if it is not finite; see `Separator.receptive_field`.
        settings: options that turn masks into waveforms; see `Separator.synthesis_options`.
        model: name of the model config, such as `unet`.
        unbraid: version of unbraid that has written the file.
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
    """Return the metadata of a separator.

    Args:
        separator: separator that is exported.
        model: name of the model config, such as `unet`.

    Returns:
        The metadata, with the version of unbraid that is running.
    """
    return Facts(
        separator.sample_rate, separator.channels, separator.targets, separator.chunk_samples, separator.min_samples,
        separator.chunk_alignment, separator.receptive_field, separator.synthesis_options, model, versions()["unbraid"],
    )  # fmt: skip


def read_facts(metadata: Mapping[str, str], path: Path) -> Facts:
    """Check the metadata of a file and return it.

    Args:
        metadata: values of the file as JSON text, by name.
        path: file with the metadata; named in error messages.

    Returns:
        The metadata, with values of the right type and range.

    Raises:
        InputError: a value is missing, has the wrong type, or is out of range.
    """
    hints, values = get_type_hints(Facts), dict[str, Any]()
    for field in fields(Facts):
        name, where = field.name, f"{path}, {field.name}"
        if name not in metadata:
            raise InputError(
                where, "the metadata of the file lack this key", expected="a file that scripts/export.py has written"
            )
        try:
            values[name] = json.loads(metadata[name])
            check_type(values[name], hints[name])
            wrong = isinstance(values[name], bool)  # a subclass of int
        except (ValueError, RecursionError, TypeCheckError):
            wrong = True
        if wrong:
            raise InputError(
                where, "the value has the wrong type", found=metadata[name][:80], expected=formatannotation(field.type)
            )
    for name in ("sample_rate", "chunk_samples", "min_samples", "chunk_alignment", "receptive_field"):
        least = 0 if name == "receptive_field" else 1
        if values[name] is not None and not least <= values[name] <= LONGEST_CHUNK:
            expected = f"an integer in [{least}, {LONGEST_CHUNK}]"
            raise InputError(f"{path}, {name}", "out of range", found=metadata[name][:80], expected=expected)
    return Facts(**values)
