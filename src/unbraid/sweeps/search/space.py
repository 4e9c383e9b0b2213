"""Convert Hydra overrides with choices, ranges or intervals to a search space of Optuna, with conditions between keys."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)  # fmt: skip
from optuna.trial import Trial

from unbraid.runs.errors import InputError, unknown
from unbraid.runs.records import launch_overrides

LOG = "log"
CONDITIONS = "hydra.sweeper.conditions"
Value = str | int | float


@dataclass(frozen=True)
class Condition:
    """Condition for searching a config key: a trial searches the key only if the config key `other` has one of `values`.

    Args:
        other: config key on which the condition depends.
        values: values of `other` with which the condition is satisfied.
    """

    other: str
    values: frozenset[str]


@dataclass(frozen=True)
class Parameter:
    """Describe a config key whose value is searched.

    Args:
        key: config key, such as `optim.lr`.
        typed: config key as the user typed it, which can include a prefix, such as `+optim.lr`.
        distribution: Optuna distribution of the values of the key.
    """

    key: str
    typed: str
    distribution: BaseDistribution

    def suggest(self, trial: Trial) -> Value:
        """Let Optuna suggest a value of the key for a trial, and return this value."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return trial.suggest_categorical(self.key, choices)  # type: ignore[return-value]  # all are strings
            case IntDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_int(self.key, low, high, step=step, log=log)
            case FloatDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_float(self.key, low, high, step=step, log=log)
        raise AssertionError(f"unsupported distribution of Optuna: {self.distribution}")

    def first(self) -> list[Value]:
        """Return the first value of the key, as a list with one entry. It is the lowest number, or the first choice."""
        distribution: Any = self.distribution
        return [distribution.low if hasattr(distribution, "low") else distribution.choices[0]]

    def values(self) -> list[Value]:
        """Return all values of the key, for a grid search.

        Returns:
            Numbers in ascending order, or choices in the order of the override.

        Raises:
            InputError: the values are an interval, which has no finite list of values.
        """
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return [*choices]  # type: ignore[list-item]  # all are strings
            case IntDistribution(low=low, high=high, step=step, log=False):
                return [*range(low, high + 1, step)]
            case FloatDistribution(low=low, high=high, step=float(step)):
                return [low + step * n for n in range(round((high - low) / step) + 1)]
        raise InputError(self.key, "a grid search needs a list of values", found="an interval")


class Space:
    """Describe a search: fixed overrides (the same in all trials) and searched keys (with several values).

    Args:
        overrides: overrides of the search. If several overrides have the same key, the last one is used.
        conditions: texts `key if other=value` or `key if other=a,b`. A key has at most one condition.
        parser: parser for overrides of Hydra.

    Raises:
        InputError: no override has several values, the values of an override cannot be searched, or a condition is invalid.
    """

    def __init__(self, overrides: Sequence[Override], conditions: Sequence[str], parser: OverridesParser) -> None:
        by_key = {_key(override): override for override in overrides}
        searched = {key: override for key, override in by_key.items() if override.is_sweep_override()}
        if not searched:
            hint = "Add for example model=unet,unet_noskip"
            raise InputError("overrides", "a search needs at least one key with several values", hint=hint)
        if words := launch_overrides([override.input_line or "" for override in searched.values()]):
            problem = "a search cannot use this key, because the key only decides how runs are started or logged"
            raise InputError(min(words), problem)
        self.fixed = {key: override for key, override in by_key.items() if key not in searched}
        self.conditions = {key: _condition(text, by_key, parser) for key, text in _by_key(conditions, searched).items()}
        parameters = {
            key: Parameter(key, override.get_key_element(), _distribution(override)) for key, override in searched.items()
        }
        self.parameters = [parameters[key] for key in self._in_order(searched)]

    def suggested_for(self, trial: Trial) -> list[str]:
        """Return overrides that set the searched keys to the values that Optuna suggests for a trial."""
        return self._spell(self._chosen(lambda parameter: parameter.suggest(trial)))

    def example(self) -> list[str]:
        """Return one possible override for each searched key, to check the config before the search."""
        return self._spell(next(self._walk(Parameter.first)))

    def fixed_overrides(self) -> list[str]:
        """Return the overrides that are the same in all trials, as the user typed them."""
        return [str(override.input_line) for override in self.fixed.values()]

    def grid(self) -> Iterator[dict[str, Value]]:
        """Yield each combination of values of the searched keys once.

        If the condition of a key is not satisfied in a combination, the combination lacks this key.
        """
        seen = set()
        for chosen in self._walk(Parameter.values):
            if (items := tuple(chosen.items())) not in seen:
                seen.add(items)
                yield chosen

    def described(self) -> dict[str, str]:
        """Return a dictionary from each searched key to a text with the values and the condition of the key.

        The dictionaries of two searches are equal only if the searches have the same keys, values and conditions.
        """
        return {parameter.key: self._description(parameter) for parameter in sorted(self.parameters, key=lambda p: p.key)}

    def _description(self, parameter: Parameter) -> str:
        condition = self.conditions.get(parameter.key)
        suffix = "" if condition is None else f" if {condition.other}={','.join(sorted(condition.values))}"
        return json.dumps(json.loads(distribution_to_json(parameter.distribution))["attributes"]) + suffix

    def _walk(self, values: Callable[[Parameter], list[Value]]) -> Iterator[dict[str, Value]]:
        for combination in product(*map(values, self.parameters)):
            by_key = {parameter.key: value for parameter, value in zip(self.parameters, combination, strict=True)}
            yield self._chosen(lambda parameter, by_key=by_key: by_key[parameter.key])  # type: ignore[misc]

    def _chosen(self, choose: Callable[[Parameter], Value]) -> dict[str, Value]:
        chosen: dict[str, Value] = {}
        for parameter in self.parameters:
            if self._applies(parameter.key, chosen):
                chosen[parameter.key] = choose(parameter)
        return chosen

    def _applies(self, key: str, chosen: Mapping[str, Value]) -> bool:
        if (condition := self.conditions.get(key)) is None:
            return True
        fixed = {condition.other: _spelled(self.fixed[condition.other])} if condition.other in self.fixed else {}
        return str((fixed | dict(chosen)).get(condition.other)) in condition.values

    def _spell(self, chosen: Mapping[str, Value]) -> list[str]:
        return [f"{parameter.typed}={chosen[parameter.key]}" for parameter in self.parameters if parameter.key in chosen]

    def _in_order(self, keys: Sequence[str] | Mapping[str, Any]) -> list[str]:
        """Sort searched keys. If the condition of a key depends on another key, the other key comes first."""
        ordered: list[str] = []
        for key in keys:
            chain = [key]
            while (condition := self.conditions.get(chain[-1])) and condition.other in keys:
                if condition.other in chain:
                    raise InputError(
                        CONDITIONS,
                        "the conditions of these keys depend on each other in a cycle",
                        found=" -> ".join([*chain, condition.other]),
                    )
                chain.append(condition.other)
            ordered += [link for link in reversed(chain) if link not in ordered]
        return ordered


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+")


def _spelled(override: Override) -> str:
    value: Any = override._value
    return str(Override._get_value_element_as_str(value))  # in the form of the values of a choice


def _by_key(conditions: Sequence[str], searched: Collection[str]) -> dict[str, str]:
    by_key: dict[str, str] = {}
    for condition in conditions:
        key, word, text = condition.partition(" if ")
        if not word:
            raise InputError(CONDITIONS, "a condition is invalid", found=f"'{condition}'", expected="'KEY if OTHER=VALUE'")
        if key in by_key:
            problem = f"the key '{key}' already has another condition"
            raise InputError(CONDITIONS, problem, found=f"'{condition}'", expected="at most one for each key")
        if key not in searched:
            raise InputError(CONDITIONS, f"the key '{key}' lacks values to search", hint=unknown(key, searched))
        by_key[key] = text
    return by_key


def _condition(text: str, known: Mapping[str, Override], parser: OverridesParser) -> Condition:
    other = parser.parse_override(text) if "=" in text else None
    if other is None or not (other.is_choice_sweep() or not other.is_sweep_override()):
        problem, expected = "the part after 'if' is invalid", "KEY=VALUE of another override, such as model=unet"
        raise InputError(CONDITIONS, problem, found=f"'{text}'", expected=expected)
    if _key(other) not in known:
        raise InputError(CONDITIONS, f"the command sets no value of the key '{_key(other)}'", hint=unknown(_key(other), known))
    values = other.sweep_string_iterator() if other.is_choice_sweep() else [_spelled(other)]
    return Condition(_key(other), frozenset(values))


def _distribution(override: Override) -> BaseDistribution:
    """Convert an override with a choice, a range or an interval to a distribution of Optuna."""
    where, sweep = override.input_line, cast(Any, override.value())
    tags = sweep.tags if isinstance(sweep, Sweep) else set()
    if wrong := sorted(tags - {LOG}):
        raise InputError(where, "the values have an unknown tag", found=f"'{wrong[0]}'", expected=LOG)
    if getattr(sweep, "shuffle", False):
        raise InputError(where, "the values of a search cannot be shuffled", hint="Remove shuffle.")
    if tags and not isinstance(sweep, IntervalSweep | RangeSweep):
        raise InputError(where, f"choices cannot have the tag {LOG}", expected="an interval or a range")
    try:
        if isinstance(sweep, IntervalSweep):
            return _numbers(sweep.start, sweep.end, None, LOG in tags)
        if isinstance(sweep, RangeSweep):
            values: list[Any] = sorted(override.sweep_iterator())
            return _numbers(values[0], values[-1], abs(sweep.step), LOG in tags)
        return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))
    except (ValueError, IndexError) as error:
        raise InputError(where, f"the values to search are invalid ({str(error) or 'there is no value'})") from error


def _numbers(low: Any, high: Any, step: Any, log: bool) -> BaseDistribution:
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log, step=step or 1)
    return FloatDistribution(low, high, log=log, step=step)
