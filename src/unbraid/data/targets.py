"""Define the targets (outputs) of a separation model as sums of the sources of a data set."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unbraid.runs.errors import InputError, unknown

ALL = "*"


def known_targets(targets: Tensor, unknown: Tensor) -> Tensor:
    """Return True for each target whose sources are all known. Shape: targets [S, R], bool [..., R] -> bool [..., S].

    Args:
        targets: weight of each of the R sources in each of the S targets.
        unknown: True for each source without a recording that the mixture may contain.

    Returns:
        The mask of known targets, on the device of `unknown`.
    """
    return (unknown.float() @ targets.to(unknown.device).T) == 0


def target_matrix(targets: Mapping[str, list[str]], sources: Sequence[str]) -> Tensor:
    """Convert the definition of targets to a matrix with the weight of each source in each target.

    A target is a list of source names. `[vocals]` is one source, and `[drums, bass]` is the sum of two sources. `[-vocals]` is
    the sum of all sources except the vocals. `['*']` is the sum of all sources.

    Args:
        targets: dictionary from the name of each target to a list of source names.
        sources: names of the sources of the data set.

    Shape:
        returned value: [targets, sources], zeros and ones.

    Returns:
        The weights, one row for each target.

    Raises:
        InputError: a source is unknown, a target mixes names with and without `-` or contains no source, or `targets` is empty.
    """
    rows = []
    for target, terms in targets.items():
        for term in terms if terms != [ALL] else ():
            source = term.removeprefix("-")
            if source not in sources:
                raise InputError(
                    f"targets.{target}", f"the data set lacks the source '{source}'", hint=unknown(source, sources)
                )
        subtracted = {term[1:] for term in terms if term.startswith("-")}
        if subtracted and len(subtracted) < len(terms):
            expected = "'-' before all names or before no name"
            raise InputError(
                f"targets.{target}", "only some names of this target begin with '-'", found=list(terms), expected=expected
            )
        summed = set(sources) - subtracted if subtracted or terms == [ALL] else set(terms)
        if not summed:
            expected = f"at least one of the sources {', '.join(sources)}"
            raise InputError(f"targets.{target}", "the target contains no source", found=list(terms), expected=expected)
        rows.append([float(source in summed) for source in sources])
    if not rows:
        raise InputError(
            "targets", "no target is defined", hint="Choose targets with targets=vocals or +targets.NAME=[source, …]."
        )
    return torch.tensor(rows)
