"""Targets as sums of sources: the same names for every data set."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unbraid.runs.errors import InputError, unknown

ALL = "*"


def target_matrix(targets: Mapping[str, list[str]], sources: Sequence[str]) -> Tensor:
    """Targets as weights over sources: `[vocals]` is one source, `[drums, bass]` a sum, `[-vocals]` everything but it,
    `['*']` everything.

    Shape: [targets, sources] of zeros and ones.
    """
    rows = []
    for target, terms in targets.items():
        for term in terms if terms != [ALL] else ():
            source = term.removeprefix("-")
            if source not in sources:
                raise InputError(f"targets.{target}", f"the data has no source '{source}'; {unknown(source, sources)}")
        left_out = {term[1:] for term in terms if term.startswith("-")}
        if left_out and len(left_out) < len(terms):
            raise InputError(f"targets.{target}: {list(terms)} mixes sources to sum and sources to leave out; use one kind")
        kept = set(sources) - left_out if left_out or terms == [ALL] else set(terms)
        if not kept:
            raise InputError(f"targets.{target}: {list(terms)} leaves no source of {list(sources)}")
        rows.append([float(source in kept) for source in sources])
    if not rows:
        raise InputError("targets: none given; choose some with targets=vocals, or +targets.NAME=[source, …]")
    return torch.tensor(rows)
