"""Find the config keys whose values differ between the variants of a report, and the names of the losses of the variants."""

from collections.abc import Sequence
from typing import Any

from unbraid.reports.variants import Variant, configs_without_seed


def differences(variants: Sequence[Variant]) -> dict[str, list[Any]]:
    """Find the config keys that have different values in different variants.

    Args:
        variants: variants to compare.

    Returns:
        Dictionary from a config key to the list of the values in all variants. The value is None for a variant without the key.
    """
    configs = configs_without_seed([variant.first.config for variant in variants])
    rows = {key: [config.get(key) for config in configs] for key in dict.fromkeys(key for config in configs for key in config)}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def loss_names(variants: Sequence[Variant]) -> dict[str, str]:
    """Find the name of the loss of each variant, if the variants have different losses.

    The learning curves of different losses cannot be compared.

    Args:
        variants: variants of a report.

    Returns:
        Dictionary from the name of each variant to the name of its loss; empty if all variants have the same loss.
    """
    configs = configs_without_seed([variant.first.config for variant in variants])
    losses = [{key: value for key, value in config.items() if key.startswith("model.loss")} for config in configs]
    different = [loss for number, loss in enumerate(losses) if loss not in losses[:number]]
    if len(different) < 2:
        return {}
    names = [str(loss.get("model.loss._target_", "loss")).rpartition(".")[2] for loss in different]
    unique = [
        name if names.count(name) == 1 else f"{name} {names[: number + 1].count(name)}" for number, name in enumerate(names)
    ]
    return {variant.name: unique[different.index(loss)] for variant, loss in zip(variants, losses, strict=True)}
