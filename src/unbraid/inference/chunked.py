"""Separation of signals of any length in memory that does not grow: chunks that overlap, each heard with what is around it.

The estimate at both ends of a chunk is discarded, since the network does not know the signal beyond them. A short stretch
between two chunks is cross-faded. Chunks start on the grid of the network.

A chunk is all that an estimate depends on. If the input is scaled (`Masking`, `scaling: patch`), each chunk has a scale of its
own, as in training: a loud chorus does not change the estimate of a verse that is a chunk away. If the input is not scaled and
the receptive field is finite, the estimate equals that of the whole signal in one piece, but for rounding. The estimate of a
recurrent network comes nearer to that with a longer overlap.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from numbers import Integral, Real
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unbraid import audio
from unbraid.runs.errors import InputError

Precision = Literal["32", "bf16"]
Blocks = Iterable[np.ndarray]  # consecutive stretches [channels, samples] of one signal, float32


class Model(Protocol):
    """What a separator says of itself here; see `unbraid.models.separators.base.Separator`."""

    targets: list[str]
    sample_rate: int
    channels: int
    chunk_samples: int

    @property
    def chunk_alignment(self) -> int: ...

    @property
    def min_samples(self) -> int: ...

    @property
    def receptive_field(self) -> int | None: ...

    def sources(self, mixture: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class InferenceOptions:
    """How a long signal is separated.

    Args:
        chunk_seconds: length of a chunk; None: the one of training. It is raised to the shortest input of the network.
        overlap: share of a chunk that the next one hears too, in [0, 0.75]; None: what suits the network.
        batch_size: chunks at once; None: one on a CPU, whose caches more would not fit, and 48 s of them elsewhere.
        shifts: the mean of so many estimates, each of the chunk a little later.
        precision: `bf16`: where torch's autocast allows it.
    """

    chunk_seconds: float | None = None
    overlap: float | None = None
    batch_size: int | None = None
    shifts: int = 1
    precision: Precision = "32"

    def __post_init__(self) -> None:
        seconds, overlap = self.chunk_seconds, self.overlap
        if seconds is not None and not (isinstance(seconds, Real) and 0 < seconds <= LONGEST):  # NaN is neither
            raise InputError(f"chunk_seconds must be above 0 and at most {LONGEST}, found {seconds!r}")
        if overlap is not None and not (isinstance(overlap, Real) and 0 <= overlap <= MOST):
            raise InputError(f"overlap must lie in [0, {MOST}], found {overlap!r}")
        for name, value in {"batch_size": 1 if self.batch_size is None else self.batch_size, "shifts": self.shifts}.items():
            if not (isinstance(value, Integral) and 1 <= value <= MANY):
                raise InputError(f"{name} must be at least 1 and at most {MANY}, found {value!r}")
        if self.precision not in get_args(Precision):
            raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, found {self.precision!r}")


MOST = 0.75
LONGEST = 86400  # seconds of a chunk: a day
MANY = 2**16  # chunks at once, or shifts
USUAL = 0.25  # overlap
FADED = 0.25  # of the overlap, in its middle
SHORT_FADE = 512  # samples, where what is faded is the same on both sides
SHIFT_SECONDS = 0.5  # the longest
BATCH_SECONDS = 48


class Cut(NamedTuple):
    """In samples of the network's rate."""

    chunk: int
    overlap: int
    fade: int
    least: int  # shorter signals are filled up with silence

    @property
    def hop(self) -> int:
        return self.chunk - self.overlap

    @property
    def context(self) -> int:
        """What is thrown away at the end of a chunk that has a next one."""
        return (self.overlap - self.fade) // 2

    @property
    def lead(self) -> int:
        """What is thrown away at the beginning of a chunk that has one before it."""
        return self.overlap - self.fade - self.context


def cut_for(model: Model, options: InferenceOptions) -> Cut:
    """Return how a signal is cut. Starts of chunks are multiples of the model's alignment.

    The overlap is twice the receptive field and a short fade if the field is known, else a share of the chunk.
    Chunks are at least as long as the model needs.
    """
    alignment = model.chunk_alignment
    asked = model.chunk_samples if options.chunk_seconds is None else round(options.chunk_seconds * model.sample_rate)
    if options.overlap is None and model.receptive_field is not None:
        overlap = _up(2 * model.receptive_field + SHORT_FADE, alignment)
        usual = asked if options.chunk_seconds is not None else max(round(overlap / USUAL), asked)
        chunk = max(usual, overlap + alignment)
        return Cut(overlap + _up(chunk - overlap, alignment), overlap, SHORT_FADE, model.min_samples)
    share = USUAL if options.overlap is None else options.overlap
    chunk = max(asked, model.min_samples)
    hop = max(round(chunk * (1 - share)) // alignment, 1) * alignment
    overlap = max(chunk - hop, 0)
    return Cut(hop + overlap, overlap, int(FADED * overlap), model.min_samples)


def device_of(model: Model) -> torch.device:
    """Return the device of a model's parameters; the CPU if it has none."""
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


def _up(samples: int, chunk_alignment: int) -> int:
    return -(-samples // chunk_alignment) * chunk_alignment


class Chunk(NamedTuple):
    """What is heard at once [C, n], and what of the estimate is kept."""

    samples: Tensor
    keep: slice
    last: bool


def chunks(blocks: Iterable[Tensor], cut: Cut, chunk_alignment: int) -> Iterator[Chunk]:
    """A signal in chunks that start on the grid. The last one reaches back as far as it must to be as long as the others.

    Args:
        blocks: of the signal.
        cut: how long, and how far apart.
        chunk_alignment: that chunks start on.

    Shape:
        blocks [C, n].
    """
    held, start, begin, kept = None, 0, 0, 0  # `held` begins at sample `begin` of the signal; estimates are kept up to `kept`
    for block in blocks:
        held = block if held is None else torch.cat([held, block], dim=-1)
        while begin + held.shape[-1] > start + cut.chunk:
            samples = held[:, start - begin : start - begin + cut.chunk]
            yield Chunk(samples, slice(cut.lead if start else 0, cut.chunk - cut.context), False)
            kept, start = start + cut.chunk - cut.context, start + cut.hop
            drop = max(start - cut.hop - begin, 0)  # the last chunk may start after the one before it
            held, begin = held[:, drop:], begin + drop
    if held is None:
        return
    end = begin + held.shape[-1]
    if start:
        start = _up(max(end - cut.chunk, 0), chunk_alignment)
    keep = slice(kept - cut.fade - start if kept else 0, end - start)
    samples = held[:, start - begin :]
    yield Chunk(functional.pad(samples, (0, max(cut.least - samples.shape[-1], 0))), keep, True)


def joined(estimates: Iterable[tuple[Tensor, Chunk]], fade: int) -> Iterator[Tensor]:
    """The estimates of chunks as one signal, cross-faded where they meet. Shape: [S, C, n] -> [S, C, m]."""
    before: Tensor | None = None
    for estimate, chunk in estimates:
        kept = estimate[..., chunk.keep]
        if before is not None and fade:
            ramp = (torch.arange(fade, device=kept.device) + 0.5) / fade
            kept = torch.cat([before + (kept[..., :fade] - before) * ramp, kept[..., fade:]], dim=-1)
        if chunk.last:
            yield kept
        else:
            yield kept[..., : kept.shape[-1] - fade]
            before = kept[..., kept.shape[-1] - fade :]


def separated(model: Model, blocks: Iterable[Tensor], options: InferenceOptions, device: torch.device) -> Iterator[Tensor]:
    """The sources of a signal, stretch by stretch.

    Args:
        model: on the device.
        blocks: of the signal, at the model's rate and channels.
        options: how.
        device: of the model.

    Shape:
        [C, n] each -> [S, C, m] each; together as long as the signal.
    """
    cut = cut_for(model, options)
    hear = _Hearing(model, options, device)
    usual = 1 if device.type == "cpu" else max(BATCH_SECONDS * model.sample_rate // cut.chunk, 1)
    batch_size = options.batch_size or usual
    yield from joined(_estimates(chunks(blocks, cut, model.chunk_alignment), hear, batch_size), cut.fade)


def separate(model: Model, mixture: Tensor, options: InferenceOptions | None = None) -> Tensor:
    """Separate a signal at the rate and with the channels of the model, which runs on the CPU. Shape: [C, T] -> [S, C, T]."""
    return torch.cat([*separated(model, [mixture], options or InferenceOptions(), torch.device("cpu"))], dim=-1)


def _estimates(pieces: Iterator[Chunk], hear: Callable[[Tensor], Tensor], batch_size: int) -> Iterator[tuple[Tensor, Chunk]]:
    while batch := list(islice(pieces, batch_size)):
        equal = [piece for piece in batch if piece.samples.shape == batch[0].samples.shape]
        for some in (equal, batch[len(equal) :]):  # only the last of all is of another length
            if some:
                yield from zip(hear(torch.stack([piece.samples for piece in some])), some, strict=True)


class _Hearing:
    """A model on batches of chunks. What is digital silence has silent sources, and is not sent through the network."""

    def __init__(self, model: Model, options: InferenceOptions, device: torch.device) -> None:
        self.model, self.options, self.device = model, options, device

    def __call__(self, mixtures: Tensor) -> Tensor:
        """Shape: [B, C, T] -> [B, S, C, T]."""
        sounds = mixtures.flatten(1).any(dim=1)
        b, c, n = mixtures.shape
        if sounds.all():
            return self._mean(mixtures.to(self.device)).cpu()
        sources = torch.zeros(b, len(self.model.targets), c, n)
        if sounds.any():
            sources[sounds] = self._mean(mixtures[sounds].to(self.device)).cpu()
        return sources

    def _mean(self, mixtures: Tensor) -> Tensor:
        """Over the shifts."""
        samples, longest = mixtures.shape[-1], round(SHIFT_SECONDS * self.model.sample_rate)
        total = None
        for number in range(self.options.shifts):
            shift = number * longest // self.options.shifts
            sources = self._sources(functional.pad(mixtures, (shift, 0)))[..., shift : shift + samples]
            total = sources if total is None else total + sources
        assert total is not None
        return total / self.options.shifts

    def _sources(self, mixtures: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bf16"):
            return self.model.sources(mixtures).float()


class _Heard:
    """The mixture, kept until its sources come."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks, self.kept, self.waiting = blocks, deque[np.ndarray](), 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            self.kept.append(block)
            self.waiting += block.shape[1]
            yield block

    def take(self, samples: int) -> np.ndarray:
        parts, self.waiting = [], self.waiting - samples
        while samples:
            block = self.kept.popleft()
            parts.append(block[:, :samples])
            if block.shape[1] > samples:
                self.kept.appendleft(block[:, samples:])
            samples -= parts[-1].shape[1]
        return np.concatenate(parts, axis=1)


def at_rate(model: Model, blocks: Blocks, rate: int) -> Iterator[Tensor]:
    """A signal as the model hears it. Shape: [c, n] -> [C, m]."""
    heard = (audio.to_channels(block, model.channels) for block in blocks)
    return map(torch.from_numpy, audio.resample_blocks(heard, rate, model.sample_rate))


def streamed(
    model: Model, blocks: Blocks, rate: int, options: InferenceOptions, device: torch.device
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield stretches of a signal and of its sources, at its own rate and with its own one or two channels.

    Args:
        model: on the device.
        blocks: of the signal.
        rate: of the signal in Hz.
        options: how.
        device: of the model.

    Shape:
        [c, n] each -> [c, m] and [S, c, m] each; together as long as the signal.
    """
    heard = _Heard(blocks)
    sources = separated(model, at_rate(model, heard, rate), options, device)
    flat = (stretch.flatten(0, 1).numpy() for stretch in sources)
    for stretch in audio.resample_blocks(flat, model.sample_rate, rate):
        stretch = stretch[:, : heard.waiting]  # lengths are rounded
        if stretch.size:
            yield _beside(heard.take(stretch.shape[1]), stretch, len(model.targets))
    if heard.waiting:
        missing = np.zeros((len(model.targets) * model.channels, heard.waiting), np.float32)
        yield _beside(heard.take(heard.waiting), missing, len(model.targets))


def _beside(mixture: np.ndarray, flat: np.ndarray, sources: int) -> tuple[np.ndarray, np.ndarray]:
    each = flat.reshape(sources, -1, flat.shape[1])
    return mixture, np.stack([audio.to_channels(source, len(mixture)) for source in each])
