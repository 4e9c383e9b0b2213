"""Protocols: complete definitions of a score by its measure, sources, sample rate, windows and averages.

Scores of different protocols cannot be compared. Each stored score therefore contains a record of its protocol, and an error is
raised if a table would contain scores of different protocols. The measures are in `unbraid.scoring.bss_eval` and
`unbraid.scoring.measures`.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from unbraid.runs.errors import InputError
from unbraid.scoring.bss_eval import Kind, Silence, bss_eval, windows
from unbraid.scoring.measures import Measure, si_sdr, usdr

# source: measure: value of each window. None: undefined; infinite: an estimate without any error (or without any signal).
Frames = dict[str, dict[str, list[float | None]]]

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
UNDEFINED_MEASURE = "tracks for which the measure has no score"


@dataclass(frozen=True)
class SourceGroup:
    """Define which sources are scored together. Compute the references and the estimates of these sources.

    Args:
        names: names of the scored sources: the targets and, if scored, the residual (mixture minus all targets).
        weights: weights [names, sources]; row k contains the weights of the data set's sources in scored source k.
        has_rest: True if the last name is the residual.
    """

    names: tuple[str, ...]
    weights: Tensor
    has_rest: bool

    def unknown(self, sources: Tensor) -> tuple[str, ...]:
        """Return the names of the scored sources that contain an unknown source. Shape: sources bool [sources]."""
        mask = self.weights.to(sources.device) @ sources.float() > 0
        return tuple(name for name, is_unknown in zip(self.names, mask.tolist(), strict=True) if is_unknown)

    def references(self, sources: Tensor) -> Tensor:
        """Compute the reference waveforms from the sources of the data set: the targets, and the residual if it is scored.

        Args:
            sources: waveforms of the sources of a track.

        Shape:
            [sources, C, T] -> [names, C, T].

        Returns:
            The reference waveforms.
        """
        return torch.einsum("nr,rct->nct", self.weights.to(sources), sources)

    def estimates(self, targets: Tensor, mixture: Tensor) -> Tensor:
        """Compute the estimates from the output of a separator: the targets, and the residual if it is scored.

        Args:
            targets: estimated waveforms of the targets.
            mixture: waveform of the mixture.

        Shape:
            targets [targets, C, T], mixture [C, T] -> [names, C, T].

        Returns:
            The estimated waveforms.
        """
        residual = [(mixture - targets.sum(dim=0))[None]] if self.has_rest else []
        return torch.cat([targets, *residual])


@dataclass(frozen=True)
class Protocol:
    """Define how a track is scored, and how the scores of windows and tracks are averaged.

    Args:
        name: name of the protocol. The scores are stored in a folder of this name.
        measure: `bss_eval`: all sources are scored together. `energy_ratios` (uSDR and SI-SDR), or an object of the class
            `Measure` (of unbraid or of a plugin): each target is scored alone.
        version: version of BSS Eval; None for other measures.
        sources: allowed sets of sources that are scored together. The targets of a run must match one set, completely or with
            one source missing. The estimate of a missing source is the residual (mixture minus all targets). None: all targets
            are accepted, and the residual is scored if the targets do not sum to the mixture.
        sample_rate: sample rate of scored audio in Hz; None: the sample rate of the network.
        channels: number of channels of scored audio, 1 or 2; None: the number of channels of the network.
        window_seconds: length of a window in seconds; None: one window over the whole track.
        hop_seconds: step between windows in seconds; None: `window_seconds`.
        taps: length of BSS Eval's filters in samples; None for other measures.
        frames: average of the scores over the windows of a track: `median` or `mean`.
        tracks: average of the scores over the tracks: `median`, `mean` or `length_weighted` (mean weighted by track length).
        silence: rule for undefined scores of BSS Eval. `any`: in a window, the scores of all sources are undefined if any
            reference or estimate is silent. `own`: the scores of a source are undefined if this source is silent.

    Raises:
        InputError: an argument is invalid, or does not fit the measure.
    """

    name: str
    measure: Literal["bss_eval", "energy_ratios"] | Measure
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
            expected = "only letters, digits, '-', '_' and '.', and no '.' at the start"
            raise InputError(
                "name", "the protocol name cannot be used as the name of a folder", found=repr(self.name), expected=expected
            )
        if self.channels not in (None, 1, 2):
            raise InputError("channels", found=self.channels, expected="1, 2 or null")
        for key in ("sample_rate", "window_seconds", "hop_seconds", "taps"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise InputError(key, found=value, expected="a number above 0, or null")
        if not isinstance(self.measure, str | Measure):
            found, expected = (
                type(self.measure).__name__,
                "bss_eval, energy_ratios or a subclass of unbraid.scoring.measures.Measure",
            )
            raise InputError("measure", "this value is not a measure", found=found, expected=expected)
        if self.measure == "bss_eval":
            for key in ("version", "taps"):
                if getattr(self, key) is None:
                    raise InputError(key, "measure=bss_eval requires a value for this key", found="null")
        else:
            for key in ("version", "taps", "sources", "window_seconds", "hop_seconds"):
                if (value := getattr(self, key)) is not None:
                    raise InputError(key, "only measure=bss_eval can use a value of this key", found=value, expected="null")

    def at(self, sample_rate: int, channels: int) -> "Protocol":
        """Return a copy of the protocol. If the sample rate or the number of channels is None, take it from a network.

        Args:
            sample_rate: sample rate of the network in Hz.
            channels: number of channels of the network.

        Returns:
            The copy. Its sample rate and its number of channels are not None.
        """
        return replace(self, sample_rate=self.sample_rate or sample_rate, channels=self.channels or channels)

    @property
    def format(self) -> tuple[int, int]:
        """Sample rate in Hz and number of channels of scored audio. If one of the two values is None, call `at` first."""
        assert self.sample_rate is not None and self.channels is not None
        return self.sample_rate, self.channels

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures that `score` computes, for example SDR, ISR, SIR and SAR."""
        if isinstance(self.measure, Measure):
            return self.measure.names
        return BSS_EVAL if self.measure == "bss_eval" else tuple(ENERGY_RATIOS)

    def source_group(self, targets: Sequence[str], weights: Tensor) -> SourceGroup:
        """Determine which sources are scored together for the targets of a run.

        Args:
            targets: names of the targets.
            weights: weights [targets, sources]; row s contains the weights of the data set's sources in target s.

        Returns:
            The targets, and the residual (mixture minus all targets) if the protocol scores the residual.

        Raises:
            InputError: two targets contain the same source, or the protocol cannot score this set of targets.
        """
        if self.measure != "bss_eval":
            return SourceGroup(tuple(targets), weights, False)
        residual = 1 - weights.sum(dim=0, keepdim=True)
        if residual.min() < 0:
            problem = f"two targets contain the same source, but protocol {self.name} scores all targets together"
            raise InputError(
                "targets", problem, found=_list(targets), hint="Use protocol=energy_ratios, which scores each target alone."
            )
        name = self._residual_name(targets, has_residual=bool(residual.any()))
        if name is None:
            return SourceGroup(tuple(targets), weights, False)
        return SourceGroup((*targets, name), torch.cat([weights, residual]), True)

    def _residual_name(self, targets: Sequence[str], has_residual: bool) -> str | None:
        """Return the name of the residual (mixture minus all targets); None if the protocol does not score the residual."""
        if self.sources is None:
            if len(targets) == 1 and not has_residual:
                problem = f"protocol {self.name} needs at least two sources, but the only target is the sum of all sources"
                hint = "Choose several targets, or a target that is only a part of the mixture"
                raise InputError("targets", problem, found=_list(targets), hint=hint)
            return "rest" if has_residual else None
        for together in self.sources:
            others = [source for source in together if source not in targets]
            if {*targets} <= {*together} and len(others) == int(has_residual):
                return others[0] if others else None
        raise InputError(
            "targets",
            f"protocol {self.name} is not defined for these targets",
            found=f"{_list(targets)}{' and a residual of the mixture' if has_residual else ''}",
            expected=" or ".join(_list(together) for together in self.sources),
            hint="You can leave out one expected target. For other targets, set protocol.sources=null and protocol.name=NAME.",
        )

    def score(
        self, reference: Tensor, estimate: Tensor, names: Sequence[str], mixture: Tensor, unknown: Collection[str] = ()
    ) -> Frames:
        """Compute all measures of the protocol for one track.

        If the estimate of a source contains NaN or infinite samples, its scores are undefined. BSS Eval scores all sources
        together, so then the scores of all sources are undefined. If sources are unknown, SIR and SAR of the other sources are
        undefined too, because both depend on all true sources.

        Args:
            reference: true sources, with sample rate and channels of the protocol.
            estimate: estimated sources, with sample rate and channels of the protocol.
            names: names of the sources.
            mixture: mixture, with sample rate and channels of the protocol.
            unknown: names of the sources whose true waveform is unknown. All scores of these sources are None.

        Shape:
            reference and estimate [names, C, T], mixture [C, T].

        Returns:
            The scores of each source, measure and window.
        """
        if unknown:
            known = [row for row, name in enumerate(names) if name not in unknown]
            frames = self.score(reference[known], estimate[known], [names[row] for row in known], mixture) if known else {}
            return self._with_unknown(frames, names)
        if self.measure != "bss_eval":
            pairs = zip(names, reference, estimate, strict=True)
            return {name: self._scores_alone(true, made, mixture) for name, true, made in pairs}
        assert self.version is not None and self.taps is not None
        window, hop = (None if s is None else round(s * self.format[0]) for s in (self.window_seconds, self.hop_seconds))
        if not estimate.isfinite().all():
            undefined: list[float | None] = [None] * len(windows(reference.shape[-1], window, hop)[0])
            return {name: dict.fromkeys(BSS_EVAL, undefined) for name in names}
        filters, kind = VERSIONS[self.version]
        scores = bss_eval(reference, estimate, window, hop, self.taps, filters, kind, self.silence)
        columns = (scores.sdr, scores.isr, scores.sir, scores.sar)
        return {
            name: {measure: _defined(column[row]) for measure, column in zip(BSS_EVAL, columns, strict=True)}
            for row, name in enumerate(names)
        }

    def _with_unknown(self, scores: Frames, names: Sequence[str]) -> Frames:
        """Add undefined scores of the unknown sources to the scores of the known sources. Remove SIR and SAR."""
        count = max((len(values) for measures in scores.values() for values in measures.values()), default=1)
        undefined: list[float | None] = [None] * count
        removed = {measure: undefined for measure in ("SIR", "SAR") if self.measure == "bss_eval"}
        return {name: (scores.get(name) or dict.fromkeys(self.measures, undefined)) | removed for name in names}

    def _scores_alone(self, reference: Tensor, estimate: Tensor, mixture: Tensor) -> dict[str, list[float | None]]:
        """Return the scores of one source that is scored alone. A NaN score becomes None."""
        if not estimate.isfinite().all():
            return {name: [None] for name in self.measures}
        if not isinstance(self.measure, Measure):
            return {name: [ratio(reference, estimate)] for name, ratio in ENERGY_RATIOS.items()}
        measure, more = self.measure, {"mixture": mixture} if self.measure.uses_mixture else {}
        values = list(measure(reference, estimate, self.format[0], **more))
        if len(values) != len(measure.names):
            problem, expected = (
                "this measure has returned a wrong number of scores",
                f"one for each of {', '.join(measure.names)}",
            )
            raise InputError(str(measure), problem, found=len(values), expected=expected)
        scores = [None if value is None or math.isnan(value) else float(value) for value in values]
        return {name: [score] for name, score in zip(measure.names, scores, strict=True)}

    def record(self, source_group: SourceGroup) -> dict[str, Any]:
        """Return the record of the protocol for `scores.json`. Two scores can be compared only if their records are equal."""
        plugin = {"measure": str(self.measure), "unit": self.measure.unit} if isinstance(self.measure, Measure) else {}
        return (
            asdict(replace(self, measure="energy_ratios") if plugin else self)
            | plugin
            | {
                "together": list(source_group.names),
                "rest": source_group.names[-1] if source_group.has_rest else None,
                "undefined": UNDEFINED_MEASURE if plugin else UNDEFINED[self.silence],
            }
        )


def _defined(values: Tensor) -> list[float | None]:
    """Convert scores to a list, in which NaN scores are replaced by None."""
    return [None if value.isnan() else float(value) for value in values]


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"


def with_improvements(frames: Frames, mixture: Frames) -> Frames:
    """Add the improvements NSDR, uSDRi and SI-SDRi: score of an estimate minus score of the unprocessed mixture.

    Args:
        frames: scores of the estimates, by source, measure and window.
        mixture: scores of the unprocessed mixture as the estimate of each source.

    Returns:
        The scores and the improvements. An improvement is None if one of the two scores is None, or if the score of the mixture
        is infinite.
    """
    improved: Frames = {}
    for source, measures in frames.items():
        improved[source] = {}
        for measure, values in measures.items():
            improved[source][measure] = values
            if name := IMPROVEMENTS.get(measure):
                pairs = zip(values, mixture[source][measure], strict=True)
                improved[source][name] = [None if a is None or b is None or math.isinf(b) else a - b for a, b in pairs]
    return improved
