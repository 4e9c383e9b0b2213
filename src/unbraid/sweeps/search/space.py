"""What is searched, from Hydra's own grammar of overrides: choices, ranges, intervals, globs, and conditions between them."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

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
    """A key is suggested only in trials in which `other` has one of the values."""

    other: str
    values: frozenset[str]


@dataclass(frozen=True)
class Parameter:
    """A key that is searched; `typed` is the same with the prefix that it was typed with."""

    key: str
    typed: str
    distribution: BaseDistribution

    def suggest(self, trial: Trial) -> Value:
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return trial.suggest_categorical(self.key, choices)  # type: ignore[return-value]  # all are strings
            case IntDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_int(self.key, low, high, step=step, log=log)
            case FloatDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_float(self.key, low, high, step=step, log=log)
        raise AssertionError(self.distribution)

    def first(self) -> list[Value]:
        """One of them."""
        distribution: Any = self.distribution
        return [distribution.low if hasattr(distribution, "low") else distribution.choices[0]]

    def values(self) -> list[Value]:
        """All of them; InputError where they cannot be listed."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return [*choices]  # type: ignore[list-item]  # all are strings
            case IntDistribution(low=low, high=high, step=step, log=False):
                return [*range(low, high + 1, step)]
            case FloatDistribution(low=low, high=high, step=float(step)):
                return [low + step * n for n in range(round((high - low) / step) + 1)]
        raise InputError(f"{self.key}: has no list of values, as a grid needs; found an interval")


class Space:
    """Overrides that are the same in all trials, and those that are suggested.

    Args:
        overrides: the later of two with the same key counts.
        conditions: `key if other=value`, or `other=a,b`; one for a key.
        parser: of Hydra.

    Raises:
        InputError: nothing is searched; values that cannot be suggested; a condition that can never be told.
    """

    def __init__(self, overrides: Sequence[Override], conditions: Sequence[str], parser: OverridesParser) -> None:
        found = {_key(one): one for one in overrides}
        searched = {key: one for key, one in found.items() if one.is_sweep_override()}
        if not searched:
            raise InputError(
                "there is nothing to search: no override is a choice such as model=unet,unet_noskip, a range or an interval"
            )
        if words := launch_overrides([one.input_line or "" for one in searched.values()]):
            raise InputError(f"{min(words)}: is how runs are started, the same for all trials")
        self.fixed = {key: one for key, one in found.items() if key not in searched}
        self.conditions = {key: _condition(text, found, parser) for key, text in _by_key(conditions, searched).items()}
        parameters = {key: Parameter(key, one.get_key_element(), _distribution(one)) for key, one in searched.items()}
        self.parameters = [parameters[key] for key in self._in_order(searched)]

    def suggested_for(self, trial: Trial) -> list[str]:
        """The overrides that a trial adds to the fixed ones."""
        return self._spell(self._chosen(lambda parameter: parameter.suggest(trial)))

    def example(self) -> list[str]:
        """Overrides of a trial that could be."""
        return self._spell(next(self._walk(Parameter.first)))

    def fixed_overrides(self) -> list[str]:
        return [str(one.input_line) for one in self.fixed.values()]

    def grid(self) -> Iterator[dict[str, Value]]:
        """Every combination of values that conditions allow, once."""
        seen = set()
        for chosen in self._walk(Parameter.values):
            if (mark := tuple(chosen.items())) not in seen:
                seen.add(mark)
                yield chosen

    def described(self) -> dict[str, str]:
        """What two searches must have in common to be one, by key."""
        return {one.key: self._description(one) for one in sorted(self.parameters, key=lambda one: one.key)}

    def _description(self, parameter: Parameter) -> str:
        condition = self.conditions.get(parameter.key)
        said = "" if condition is None else f" if {condition.other}={','.join(sorted(condition.values))}"
        return json.dumps(json.loads(distribution_to_json(parameter.distribution))["attributes"]) + said

    def _walk(self, values: Callable[[Parameter], list[Value]]) -> Iterator[dict[str, Value]]:
        for combination in product(*(values(one) for one in self.parameters)):
            by_key = {one.key: value for one, value in zip(self.parameters, combination, strict=True)}
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
        return [f"{one.typed}={chosen[one.key]}" for one in self.parameters if one.key in chosen]

    def _in_order(self, keys: Sequence[str] | Mapping[str, Any]) -> list[str]:
        """Each after the one that its condition is about."""
        ordered: list[str] = []
        for key in keys:
            chain = [key]
            while (condition := self.conditions.get(chain[-1])) and condition.other in keys:
                if condition.other in chain:
                    raise InputError(f"{CONDITIONS}: {' -> '.join([*chain, condition.other])} is a circle")
                chain.append(condition.other)
            ordered += [one for one in reversed(chain) if one not in ordered]
        return ordered


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+")


def _spelled(override: Override) -> str:
    value: Any = override._value
    return str(Override._get_value_element_as_str(value))  # as in the values of choices


def _by_key(conditions: Sequence[str], searched: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in conditions:
        key, word, text = one.partition(" if ")
        if not word or key in found:
            raise InputError(f"{CONDITIONS}: found '{one}', expected 'key if other=value', one for a key")
        if key not in searched:
            raise InputError(f"{CONDITIONS}: '{key}' is not searched; {unknown(key, searched)}")
        found[key] = text
    return found


def _condition(text: str, known: Mapping[str, Override], parser: OverridesParser) -> Condition:
    other = parser.parse_override(text) if "=" in text else None
    if other is None or not (other.is_choice_sweep() or not other.is_sweep_override()):
        raise InputError(f"{CONDITIONS}: found '{text}', expected other=value")
    if _key(other) not in known:
        raise InputError(f"{CONDITIONS}: '{_key(other)}' is neither searched nor given; {unknown(_key(other), known)}")
    values = other.sweep_string_iterator() if other.is_choice_sweep() else [_spelled(other)]
    return Condition(_key(other), frozenset(values))


def _distribution(override: Override) -> BaseDistribution:
    """What Hydra's grammar says, in Optuna's words."""
    sweep: Any = override.value()
    tags = sweep.tags if isinstance(sweep, Sweep) else set()
    if wrong := sorted(tags - {LOG}):
        raise InputError(f"{override.input_line}: there is no tag '{wrong[0]}'; known: {LOG}")
    if getattr(sweep, "shuffle", False):
        raise InputError(f"{override.input_line}: a search has no order that could be shuffled")
    if tags and not isinstance(sweep, IntervalSweep | RangeSweep):
        raise InputError(f"{override.input_line}: choices have no logarithm; expected an interval or a range")
    try:
        if isinstance(sweep, IntervalSweep):
            return _numbers(sweep.start, sweep.end, None, LOG in tags)
        if isinstance(sweep, RangeSweep):
            values: list[Any] = sorted(override.sweep_iterator())
            return _numbers(values[0], values[-1], abs(sweep.step), LOG in tags)
        return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))
    except (ValueError, IndexError) as error:
        raise InputError(f"{override.input_line}: {error or 'holds no value'}") from error


def _numbers(low: Any, high: Any, step: Any, log: bool) -> BaseDistribution:
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log, step=step or 1)
    return FloatDistribution(low, high, log=log, step=step)
