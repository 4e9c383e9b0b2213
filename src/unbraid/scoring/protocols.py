"""Protocols: what a score means. Which measure, of which sources, at which rate, over which windows, and what becomes of them.

Scores under two protocols do not compare, so every stored score carries the record of its own, and tables refuse to mix them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from unbraid.runs.errors import InputError
from unbraid.scoring.bss_eval import Kind, Silence, bss_eval
from unbraid.scoring.measures import si_sdr, usdr

Frames = dict[str, dict[str, list[float | None]]]  # source: measure: a value for each window, None where undefined

VERSIONS: dict[str, tuple[Literal["track", "window"], Kind]] = {
    "v4": ("track", "images"),
    "v3_images": ("window", "images"),
    "v3_sources": ("window", "sources"),
}
BSS_EVAL = ("SDR", "ISR", "SIR", "SAR")
ENERGY_RATIOS = {"uSDR": usdr, "SI-SDR": si_sdr}
IMPROVEMENTS = {"SDR": "NSDR", "uSDR": "uSDRi", "SI-SDR": "SI-SDRi"}
UNDEFINED = {
    "any": "windows in which any reference or estimate is silent, for all sources; scores without any error",
    "own": "windows in which the source's own reference is silent; scores without any error",
}


@dataclass(frozen=True)
class SourceGroup:
    """Sources that are scored together, and how they come from the targets.

    Args:
        names: of the sources: the targets, and last what they leave of the mixture, where that is scored too.
        weights: of each over the sources of the data set. Shape: [names, sources].
        has_rest: whether the last one is what is left.
    """

    names: tuple[str, ...]
    weights: Tensor
    has_rest: bool

    def references(self, sources: Tensor) -> Tensor:
        """Shape: [sources, C, T] -> [names, C, T]."""
        return torch.einsum("nr,rct->nct", self.weights.to(sources), sources)

    def estimates(self, targets: Tensor, mixture: Tensor) -> Tensor:
        """Shape: [targets, C, T] and [C, T] -> [names, C, T]."""
        rest = [(mixture - targets.sum(dim=0))[None]] if self.has_rest else []
        return torch.cat([targets, *rest])


@dataclass(frozen=True)
class Protocol:
    """How estimates of a track become scores, and scores of tracks a figure.

    Args:
        name: of the protocol.
        measure: `bss_eval`, of sources together, or `energy_ratios` (uSDR and SI-SDR), of each target by itself.
        version: of BSS Eval; None for energy ratios.
        sources: sets of sources that are scored together. The targets of a run must be one of them, or all but one, which then
            is the rest of the mixture. None: whatever the targets are, and the rest if they leave any.
        sample_rate: at which is scored, in Hz; None: that of the network.
        channels: 1 or 2; None: those of the network.
        window_seconds: what one score is of; None: the whole track.
        hop_seconds: from window to window; None: a window.
        taps: of BSS Eval's filters; None for energy ratios.
        frames: what becomes of the windows of a track.
        tracks: what becomes of the tracks; `length_weighted` is their mean weighted by length.
        silence: which windows are undefined, see `unbraid.scoring.bss_eval`.

    Raises:
        InputError: values that do not go together.
    """

    name: str
    measure: Literal["bss_eval", "energy_ratios"]
    version: Literal["v4", "v3_images", "v3_sources"] | None
    sources: list[list[str]] | None
    sample_rate: int | None
    channels: int | None
    window_seconds: float | None
    hop_seconds: float | None
    taps: int | None
    frames: Literal["median", "mean"]
    tracks: Literal["median", "mean", "length_weighted"]
    silence: Silence

    def __post_init__(self) -> None:
        if not self.name or not all(letter.isalnum() or letter in "-_." for letter in self.name) or self.name[0] == ".":
            raise InputError(f"name must be letters, digits, - _ and ., found '{self.name}'")
        if self.channels not in (None, 1, 2):
            raise InputError(f"channels must be 1, 2 or null, found {self.channels}")
        for key in ("sample_rate", "window_seconds", "hop_seconds", "taps"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise InputError(f"{key} must be above 0 or null, found {value}")
        if self.measure == "bss_eval":
            for key in ("version", "taps"):
                if getattr(self, key) is None:
                    raise InputError(f"{key} is null, which measure=bss_eval needs")
        else:
            for key in ("version", "taps", "sources", "window_seconds", "hop_seconds"):
                if getattr(self, key) is not None:
                    raise InputError(f"{key} must be null for measure=energy_ratios, found {getattr(self, key)}")

    def at(self, sample_rate: int, channels: int) -> "Protocol":
        """With the network's rate and channels where it leaves them open."""
        return replace(self, sample_rate=self.sample_rate or sample_rate, channels=self.channels or channels)

    @property
    def format(self) -> tuple[int, int]:
        """Rate in Hz and channels, of a protocol that has them."""
        assert self.sample_rate is not None and self.channels is not None
        return self.sample_rate, self.channels

    @property
    def measures(self) -> tuple[str, ...]:
        """What `score` gives."""
        return BSS_EVAL if self.measure == "bss_eval" else tuple(ENERGY_RATIOS)

    def source_group(self, targets: Sequence[str], weights: Tensor) -> SourceGroup:
        """What is scored together for these targets.

        Args:
            targets: their names.
            weights: of the targets over the sources of the data set. Shape: [targets, sources].

        Raises:
            InputError: the protocol has no place for them.
        """
        if self.measure == "energy_ratios":
            return SourceGroup(tuple(targets), weights, False)
        rest = 1 - weights.sum(dim=0, keepdim=True)
        if rest.min() < 0:
            raise InputError(f"targets {_list(targets)}: some share a source, and protocol {self.name} scores them together")
        name = self._name_of_rest(targets, leaves_any=bool(rest.any()))
        if name is None:
            return SourceGroup(tuple(targets), weights, False)
        return SourceGroup((*targets, name), torch.cat([weights, rest]), True)

    def _name_of_rest(self, targets: Sequence[str], leaves_any: bool) -> str | None:
        if self.sources is None:
            if len(targets) == 1 and not leaves_any:
                raise InputError(f"targets {_list(targets)}: leave nothing that protocol {self.name} could score it against")
            return "rest" if leaves_any else None
        for together in self.sources:
            others = [source for source in together if source not in targets]
            if {*targets} <= {*together} and len(others) == int(leaves_any):
                return others[0] if others else None
        sets = " or ".join(_list(together) for together in self.sources)
        raise InputError(
            f"protocol {self.name}: scores {sets} together, found targets {_list(targets)}"
            f"{' and a rest' if leaves_any else ''}; for others set protocol.sources=null and protocol.name=…"
        )

    def score(self, reference: Tensor, estimate: Tensor, names: Sequence[str]) -> Frames:
        """The measures of one track, at the protocol's rate and channels.

        Shape: [names, C, T] both.
        """
        if self.measure == "energy_ratios":
            pairs = zip(names, reference, estimate, strict=True)
            return {name: {m: [f(true, made)] for m, f in ENERGY_RATIOS.items()} for name, true, made in pairs}
        assert self.version is not None and self.taps is not None
        window, hop = (None if s is None else round(s * self.format[0]) for s in (self.window_seconds, self.hop_seconds))
        filters, kind = VERSIONS[self.version]
        scores = bss_eval(reference, estimate, window, hop, self.taps, filters, kind, self.silence)
        columns = (scores.sdr, scores.isr, scores.sir, scores.sar)
        return {
            name: {measure: list(_finite(column[row])) for measure, column in zip(BSS_EVAL, columns, strict=True)}
            for row, name in enumerate(names)
        }

    def record(self, source_group: SourceGroup) -> dict[str, Any]:
        """All that must agree where two scores are compared."""
        return asdict(self) | {
            "together": list(source_group.names),
            "rest": source_group.names[-1] if source_group.has_rest else None,
            "undefined": UNDEFINED[self.silence],
        }


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"


def _finite(values: Tensor) -> Iterator[float | None]:
    """As museval has it, infinite scores are undefined."""
    for value in values:
        yield float(value) if value.isfinite() else None


def with_improvements(frames: Frames, mixture: Frames) -> Frames:
    """With what is gained over the untouched mixture, window by window: NSDR, uSDRi, SI-SDRi."""
    better: Frames = {}
    for source, measures in frames.items():
        better[source] = {}
        for measure, values in measures.items():
            better[source][measure] = values
            if name := IMPROVEMENTS.get(measure):
                pairs = zip(values, mixture[source][measure], strict=True)
                better[source][name] = [None if a is None or b is None else a - b for a, b in pairs]
    return better
