"""Metadata of an exported model file, such as sample rate and names of the sources, for programs that use the file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from inspect import formatannotation
from pathlib import Path
from typing import Any, get_type_hints

from typeguard import TypeCheckError, check_type

from unbraid.models.separators.base import LONGEST_CHUNK, Normalisation, Separator
from unbraid.runs.errors import InputError
from unbraid.runs.source_version import versions


@dataclass(frozen=True)
class Facts:
    """Store the metadata of an exported separator. Each field is written to the model file as JSON under the name of the field.

    Args:
        sample_rate: sample rate of the mixture and the sources in Hz.
        channels: number of channels of the mixture and the sources.
        targets: names of the sources, in the order of the output.
        chunk_samples: recommended length of a chunk in samples.
        min_samples: length of the shortest input in samples.
        chunk_alignment: number of samples; each chunk of a signal must start at a multiple of this number.
        receptive_field: number n of samples. An output sample depends only on the n input samples before and the n input
            samples after its position in time. None: an output sample depends on all input samples.
        normalisation: `song`: the program that runs the model must normalise the mixture by mean and standard deviation of the
            whole song, and must restore the scale of the sources. `none` or `chunk`: no normalisation outside of the model.
        settings: options with which masks are converted to waveforms, such as the phase method, as a dictionary from name to
            value.
        model: name of the model config, such as `unet`.
        unbraid: version of unbraid that has written the model file.
    """

    sample_rate: int
    channels: int
    targets: list[str]
    chunk_samples: int
    min_samples: int
    chunk_alignment: int
    receptive_field: int | None
    normalisation: Normalisation
    settings: dict[str, float | str | None]
    model: str
    unbraid: str


def facts_of(separator: Separator, model: str) -> Facts:
    """Collect the metadata of a separator for the exported file.

    Args:
        separator: separator that is exported.
        model: name of the model config, such as `unet`.

    Returns:
        The metadata, including the installed version of unbraid.
    """
    return Facts(
        separator.sample_rate, separator.channels, separator.targets, separator.chunk_samples, separator.min_samples,
        separator.chunk_alignment, separator.receptive_field, separator.normalisation, separator.synthesis_options, model,
        versions()["unbraid"],
    )  # fmt: skip


def read_facts(metadata: Mapping[str, str], path: Path) -> Facts:
    """Decode and check the metadata of an exported model file.

    Args:
        metadata: dictionary from the name of each field to its value as JSON text.
        path: exported model file, for error messages.

    Returns:
        The metadata. All values have the declared type and are in their range.

    Raises:
        InputError: a value is missing, has the wrong type, or is out of range.
    """
    hints, values = get_type_hints(Facts), dict[str, Any]()
    for field in fields(Facts):
        name, where = field.name, f"{path}, {field.name}"
        if name not in metadata:
            expected = "a file that scripts/export.py has written"
            raise InputError(where, "this field is missing in the metadata of the file", expected=expected)
        try:
            values[name] = json.loads(metadata[name])
            check_type(values[name], hints[name])
            wrong = isinstance(values[name], bool)  # a subclass of int
        except (ValueError, RecursionError, TypeCheckError):
            wrong = True
        if wrong:
            problem, found = "this field of the metadata has the wrong type", metadata[name][:80]
            raise InputError(where, problem, found=found, expected=formatannotation(field.type))
    for name in ("sample_rate", "chunk_samples", "min_samples", "chunk_alignment", "receptive_field"):
        least = 0 if name == "receptive_field" else 1
        if values[name] is not None and not least <= values[name] <= LONGEST_CHUNK:
            expected = f"an integer in [{least}, {LONGEST_CHUNK}]"
            problem = "this field of the metadata is out of range"
            raise InputError(f"{path}, {name}", problem, found=metadata[name][:80], expected=expected)
    return Facts(**values)
