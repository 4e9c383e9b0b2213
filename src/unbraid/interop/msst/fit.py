"""Check that a config file of MSST describes the network of a checkpoint."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from unbraid.interop.msst.checkpoint import ForeignState, family_of
from unbraid.interop.msst.config import MsstConfig
from unbraid.interop.msst.families import FAMILIES
from unbraid.interop.msst.family import Family
from unbraid.runs.errors import InputError
from unbraid.runs.weights import limited_size, memory_of, misfits, refuse_misfits

MOST_NAMES = 10  # tensors in an error message
PUBLISHED_TOGETHER = "Use the config file that was published with the checkpoint"
WRONG = (InputError, KeyError, TypeError, AttributeError, IndexError, ValueError)  # of a config of another family


def name_of(family: Family) -> str:
    """Return the names of a family in MSST, such as `bs_roformer`."""
    return " or ".join(family.model_types)


def fitting_family(state: ForeignState, settings: MsstConfig) -> Family:
    """Identify the family of a checkpoint, and check that the config file describes a network of this family.

    Args:
        state: tensors of the checkpoint.
        settings: content of the config file.

    Returns:
        The family of the checkpoint. An unknown family, or a config file that describes a network of another family, raises
        InputError.
    """
    family = family_of(state)
    described = [other for other in FAMILIES if _describes(settings.tree, other)]
    if described and family not in described:  # without a family, a later error names the wrong option
        names = " or ".join(map(name_of, described))
        problem = f"the config file {settings.path} describes {names}, but the tensors are those of {name_of(family)}"
        refuse_misfits(state.path, problem, _differences(state, settings, described[0]), PUBLISHED_TOGETHER, MOST_NAMES)
    return family


def refuse_options(state: ForeignState, settings: MsstConfig, wrong: Mapping[str, tuple[str, str]]) -> None:
    """Raise InputError for tensors that do not fit the network of a config file of the same family.

    Args:
        state: tensors of the checkpoint.
        settings: content of the config file.
        wrong: result of `misfits`, with at least one tensor.
    """
    problem = f"the tensors of this {name_of(family_of(state))} do not fit the options in {settings.path}"
    refuse_misfits(state.path, problem, wrong, PUBLISHED_TOGETHER, MOST_NAMES)


def _describes(tree: Mapping[str, Any], family: Family) -> bool:
    with suppress(*WRONG):
        family.arguments(tree)
        return True
    return False


def _differences(state: ForeignState, settings: MsstConfig, family: Family) -> dict[str, tuple[str, str]]:
    """Compare the tensors of a checkpoint with the network that the config file describes.

    If the network cannot be built, all tensors of the checkpoint are listed as unknown.
    """
    tensors = family.renamed(state.tensors)
    with suppress(*WRONG), limited_size(settings.path, memory_of(tensors), len(tensors)):
        network = family.network(len(settings.targets), **family.arguments(settings.tree))
        return misfits(tensors, network.state_dict())
    return misfits(tensors, {})
