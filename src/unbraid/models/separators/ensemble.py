"""Ensemble: several trained separators of the same targets, whose estimates are combined.

The combinations by mean, median, smallest and largest value are those of Music-Source-Separation-Training. `weights` is a
weighted mean, with own weights for each target and frequency band. `unbraid ensemble` fits these weights.
To average the weights of networks of the same kind instead of their estimates, use `callbacks=ema` or `interpolate`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from unbraid.dsp.stft import STFT
from unbraid.models.separators.base import Estimate, Separator
from unbraid.runs.errors import InputError

Mode = Literal[
    "weights", "mean", "median", "min", "max", "mean_magnitude", "median_magnitude", "min_magnitude", "max_magnitude"
]
WINDOW_SECONDS = 0.0464  # 2048 samples at 44.1 kHz
OVERLAP = 4  # window length divided by the step between frames
INFERENCE = ("overlap", "join")  # options that a member can have


class Ensemble(Separator):
    """Combine the estimates of several separators (members) of the same targets.

    In all commands, each member separates the song in chunks of its own length, see `unbraid.inference.chunked`. Then the
    estimates of the whole song are combined.

    Args:
        members: separators with the same targets, sample rate and number of channels. The order of their targets can differ.
        targets: names of the targets, in the order of the output.
        sample_rate: sample rate of all waveforms in Hz.
        channels: number of channels of all waveforms, 1 or 2.
        chunk_seconds: length in seconds of the chunks of `forward`. Separation of songs does not use this length.
        mode: combination. `weights`: weighted mean with the buffer `weights`, whose rows sum to 1. `mean`, `median`: of
            waveforms. `min`, `max`: sample with the smallest or largest absolute value. With the ending `_magnitude`: the same
            for the magnitudes of the STFT. The phase is that of the chosen member (`min`, `max`) or of the mean spectrum.
        edges_hz: frequencies between the bands of `weights` in Hz, in rising order; empty for one band.
        inference: options of the separation (`overlap` and `join`) of each member, for checkpoints of other tools. An empty
            list: the defaults for all members.

    Attributes:
        weights: weights of the members [targets, bands, members].

    Raises:
        InputError: the members do not fit together, or another argument is invalid.
    """

    weights: Tensor

    def __init__(
        self,
        members: list[Separator],
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        mode: Mode = "weights",
        edges_hz: Sequence[float] = (),
        inference: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(targets, sample_rate, channels, chunk_seconds)
        check_members(members, [f"members[{number}]" for number in range(len(members))])
        check_mode(mode)
        if {*self.targets} != {*members[0].targets} or (sample_rate, channels) != (members[0].sample_rate, members[0].channels):
            found = described(self)
            raise InputError("targets", "the ensemble differs from its members", found=found, expected=described(members[0]))
        if any(high <= low for low, high in pairwise([0, *edges_hz, sample_rate / 2])):
            raise InputError(
                "edges_hz", found=list(edges_hz), expected=f"rising frequencies between 0 and {sample_rate / 2} Hz"
            )
        own = [dict(options) for options in inference] or [{} for _ in members]
        if len(own) != len(members) or any({*options} - {*INFERENCE} for options in own):
            raise InputError("inference", found=own, expected=f"for each member a mapping with the keys {', '.join(INFERENCE)}")
        self.members = nn.ModuleList(members)
        self.mode, self.edges_hz, self.inference = mode, list(edges_hz), own
        self.normalisation = "song" if any(member.normalisation == "song" for member in members) else "none"
        n_fft = 2 ** round(torch.tensor(WINDOW_SECONDS * sample_rate).log2().item())
        self.stft = STFT(n_fft, n_fft // OVERLAP)
        shape = len(self.targets), len(edges_hz) + 1, len(members)
        self.register_buffer("weights", torch.full(shape, 1 / len(members)))

    @property
    def synthesis_options(self) -> dict[str, float | str | None]:
        """Return the combination of the estimates."""
        return {"mode": self.mode}

    def band_of_bin(self) -> Tensor:
        """Return the number of the band of each bin of the STFT. Shape: [bins]."""
        frequencies = torch.arange(self.stft.n_fft // 2 + 1) * (self.sample_rate / self.stft.n_fft)
        return torch.bucketize(frequencies, torch.tensor(self.edges_hz), right=True).to(self.weights.device)

    def in_order(self, number: int, sources: Tensor) -> Tensor:
        """Sort the sources of a member in the order of the targets of the ensemble. Shape: [..., S, C, T] -> [..., S, C, T].

        `number` is the index of the member.
        """
        own: Any = self.members[number]
        return sources if own.targets == self.targets else sources[..., [own.targets.index(t) for t in self.targets], :, :]

    def forward(self, mixture: Tensor) -> Estimate:
        """Estimate the sources of a batch of mixture chunks [B, C, T]. All members get the same chunks."""
        estimates = [self.in_order(number, member(mixture).sources) for number, member in enumerate(self.members)]
        return Estimate(self.combine(torch.stack(estimates)))

    def combine(self, estimates: Tensor) -> Tensor:
        """Combine the estimates of the members.

        If one member has the weight 1 in all bands of a target, the result for this target is exactly the estimate of that
        member.

        Args:
            estimates: waveforms of the sources. The sources have the order of `targets`.

        Shape:
            [M, ..., S, C, T] -> [..., S, C, T], with M members.

        Returns:
            The waveforms of the sources.
        """
        if self.mode == "weights":
            return self._weighted(estimates)
        if self.mode in WAVEFORMS:
            return WAVEFORMS[self.mode](estimates)
        return self.stft.inverse(SPECTRA[self.mode](self.stft(estimates)), estimates.shape[-1])

    def _weighted(self, estimates: Tensor) -> Tensor:
        # m member, s source, c channel, f bin, t frame, n sample
        sources = torch.einsum("m...scn,sm->...scn", estimates, self.weights[:, 0])
        varies = (self.weights != self.weights[:, :1]).flatten(1).any(dim=1)
        if varies.any():
            gains = self.weights[varies][:, self.band_of_bin()]  # [s, f, m]
            spectra = self.stft(estimates[..., varies, :, :])
            mixed = torch.einsum("m...scft,sfm->...scft", spectra, gains.to(spectra.dtype))
            sources[..., varies, :, :] = self.stft.inverse(mixed, estimates.shape[-1])
        return sources

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """Return an `Estimate` that contains only the true sources `sources`. All other arguments are ignored."""
        return Estimate(sources)


def check_members(members: Sequence[Separator], names: Sequence[str]) -> None:
    """Check that separators can be combined.

    Args:
        members: separators.
        names: name of each separator, for error messages.

    Raises:
        InputError: there are fewer than two separators, or their targets, sample rates or numbers of channels differ.
    """
    if len(members) < 2:
        raise InputError("members", "an ensemble needs several models", found=len(members), expected="at least 2")
    first = members[0]
    for name, member in zip(names, members, strict=True):
        for problem, same in (
            ("the targets differ", {*member.targets} == {*first.targets}),
            ("the sample rates differ", member.sample_rate == first.sample_rate),
            ("the numbers of channels differ", member.channels == first.channels),
        ):
            if not same:
                raise InputError(name, problem, found=described(member), expected=f"{described(first)}, as in {names[0]}")


def check_mode(mode: str) -> None:
    """Raise InputError if `mode` is not the name of a combination of estimates."""
    if mode not in get_args(Mode):
        raise InputError("mode", "unknown combination", found=repr(mode), expected=f"one of {', '.join(get_args(Mode))}")


def described(separator: Separator) -> str:
    """Return the targets, the sample rate and the channels of a separator as text."""
    return f"{', '.join(separator.targets)}, {separator.sample_rate} Hz, {'mono' if separator.channels == 1 else 'stereo'}"


def _median(values: Tensor) -> Tensor:
    """Return the median over the first axis: the mean of both middle values if their number is even."""
    ordered, middle = values.sort(dim=0).values, len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _chosen(values: Tensor, index: Tensor) -> Tensor:
    """Return along the first axis the value with the given index. Shape: [M, …], [1, …] -> […]."""
    return values.gather(0, index)[0]


def _smallest(values: Tensor) -> Tensor:
    return _chosen(values, values.abs().argmin(dim=0, keepdim=True))


def _largest(values: Tensor) -> Tensor:
    return _chosen(values, values.abs().argmax(dim=0, keepdim=True))


def _with_mean_phase(magnitudes: Tensor, spectra: Tensor) -> Tensor:
    return torch.polar(magnitudes, spectra.mean(dim=0).angle())


WAVEFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda waveforms: waveforms.mean(dim=0), "median": _median, "min": _smallest, "max": _largest,
}  # fmt: skip
SPECTRA: dict[str, Callable[[Tensor], Tensor]] = {
    "mean_magnitude": lambda spectra: _with_mean_phase(spectra.abs().mean(dim=0), spectra),
    "median_magnitude": lambda spectra: _with_mean_phase(_median(spectra.abs()), spectra),
    "min_magnitude": _smallest,
    "max_magnitude": _largest,
}
