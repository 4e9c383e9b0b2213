"""Separate an audio signal of any length in overlapping chunks. Memory does not grow with the length of the signal.

`unbraid.inference.crossfade` cuts the signal into chunks and joins the separated chunks. `unbraid.inference.overlap_add` is
another way, which the option `join` selects. Each chunk is separated independently.
A separator with the option `scaling: patch` divides its input by the largest magnitude in the chunk, as in training. A loud
chorus in one chunk therefore does not change the estimate of a verse in another chunk.

If a separator has a finite receptive field, but not the option `scaling: patch`, cross-faded chunks give the same result as
the whole signal at once, up to rounding. For a recurrent network, a longer overlap brings the result closer to the
separation of the whole signal.

A separator with `normalisation: song` needs mean and standard deviation of the whole signal. `song_scale` computes them before
the separation, so a file is then read twice.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice, tee
from numbers import Integral, Real
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unbraid import audio
from unbraid.dsp.input_scale import InputScale
from unbraid.inference.crossfade import Chunk, ChunkSizes, cut_chunks, join_chunks, round_up
from unbraid.inference.member_streams import combined
from unbraid.inference.mixture_blocks import Blocks, MixtureBuffer, at_rate, with_sources
from unbraid.inference.overlap_add import average_chunks, cut_equal_chunks, equal_chunk_sizes
from unbraid.models.separators.base import Separator
from unbraid.models.separators.ensemble import Ensemble
from unbraid.runs.errors import InputError

Precision = Literal["32", "bf16"]
Join = Literal["crossfade", "weighted", "average"]

MOST = 0.99  # largest overlap of two chunks, as a share of a chunk
LONGEST = 86400  # longest chunk in seconds: one day
MANY = 2**16  # largest number of chunks in a batch, and of shifts
USUAL = 0.25  # default overlap, as a share of a chunk
FADED = 0.25  # share of the overlap that is cross-faded
SHORT_FADE = 512  # samples of a cross-fade between two estimates that are equal in exact arithmetic
SHIFT_SECONDS = 0.5  # all shifts of `InferenceOptions.shifts` are shorter than this
BATCH_SECONDS = 48  # audio in a batch of chunks on a GPU


@dataclass(frozen=True)
class InferenceOptions:
    """Store the options with which a separator processes a long signal in overlapping chunks.

    Args:
        chunk_seconds: length of a chunk in seconds; None: the length used in training. A chunk is at least as long as the
            shortest input that the network accepts.
        overlap: share of a chunk that overlaps with the next chunk, in [0, 0.99]. None: the share is computed from the
            receptive field of the network, and may exceed 0.99; it is 0.25 if the receptive field is not finite or `join` is
            not `crossfade`.
        batch_size: number of chunks that the network processes at once. None: 1 on a CPU; on other devices, as many chunks as
            fit into 48 seconds of audio.
        shifts: number of estimates of each chunk. For each estimate, the chunk is delayed by a different time below 0.5 s.
            The result is the mean of all estimates.
        channel_swap: True: also separate each chunk with swapped channels. The result is the mean of all estimates.
        polarity: True: also separate each chunk with inverted polarity. The result is the mean of all estimates.
        precision: `32` for float32. `bf16` for bfloat16 in the operations in which PyTorch's autocast allows bfloat16.
        join: method that joins the estimates of the chunks. `crossfade`: the ends of estimates are discarded, and the rest is
            cross-faded. `weighted`: each sample is the mean of all its estimates, and estimates near the ends of chunks have
            less weight. `average`: the mean without weights, as for Demucs networks in other tools. None: `crossfade`.

    Raises:
        InputError: a value is out of its range or of the wrong type.
    """

    chunk_seconds: float | None = None
    overlap: float | None = None
    batch_size: int | None = None
    shifts: int = 1
    channel_swap: bool = False
    polarity: bool = False
    precision: Precision = "32"
    join: Join | None = None

    def __post_init__(self) -> None:
        seconds, overlap = self.chunk_seconds, self.overlap
        if seconds is not None and not (isinstance(seconds, Real) and 0 < seconds <= LONGEST):  # refuses NaN, too
            expected = f"a number of seconds above 0 and at most {LONGEST}"
            raise InputError("chunk_seconds", "invalid length of a chunk", found=repr(seconds), expected=expected)
        if overlap is not None and not (isinstance(overlap, Real) and 0 <= overlap <= MOST):
            raise InputError("overlap", "invalid share of a chunk", found=repr(overlap), expected=f"a number in [0, {MOST}]")
        for name, value in {"batch_size": 1 if self.batch_size is None else self.batch_size, "shifts": self.shifts}.items():
            if not (isinstance(value, Integral) and 1 <= value <= MANY):
                raise InputError(name, "invalid number", found=repr(value), expected=f"an integer in [1, {MANY}]")
        for name, chosen in {"channel_swap": self.channel_swap, "polarity": self.polarity}.items():
            if not isinstance(chosen, bool):
                raise InputError(name, "invalid value", found=repr(chosen), expected="true or false")
        if self.precision not in get_args(Precision):
            expected = f"one of {', '.join(get_args(Precision))}"
            raise InputError("precision", "unknown number format", found=repr(self.precision), expected=expected)
        if self.join not in (None, *get_args(Join)):
            expected = f"one of {', '.join(get_args(Join))}, null"
            raise InputError("join", "unknown way to join chunks", found=repr(self.join), expected=expected)

    def completed(self, defaults: "InferenceOptions") -> "InferenceOptions":
        """Return these options, with the values of `defaults` for options that are None."""
        missing = [field.name for field in fields(self) if getattr(self, field.name) is None]
        return replace(self, **{name: getattr(defaults, name) for name in missing})


def chunk_sizes(model: Separator, options: InferenceOptions) -> ChunkSizes:
    """Compute the lengths of chunks, overlap and cross-fade with which a separator processes a long signal.

    If `options.overlap` is a number, the overlap is this share of a chunk. If `options.overlap` is None, the overlap depends on
    the receptive field of the network. With a finite receptive field, the overlap is at least 2 R + 512 samples: R is
    the receptive field, and the cross-fade takes 512 samples. With an infinite receptive field, the overlap is 25 % of a chunk.

    A chunk is at least as long as the shortest input of the network. With `join: crossfade`, the distance between the starts of
    adjacent chunks is a multiple of `model.chunk_alignment`.

    Args:
        model: separator that will process the chunks.
        options: chunk length and overlap that the user has chosen.

    Returns:
        The lengths in samples, at the sample rate of the separator.
    """
    alignment = model.chunk_alignment
    wanted = model.chunk_samples if options.chunk_seconds is None else round(options.chunk_seconds * model.sample_rate)
    share = USUAL if options.overlap is None else options.overlap
    if options.join in ("weighted", "average"):
        return equal_chunk_sizes(max(wanted, model.min_samples), share, options.join == "weighted")
    if options.overlap is None and model.receptive_field is not None:
        overlap = round_up(2 * model.receptive_field + SHORT_FADE, alignment)
        if options.chunk_seconds is None:
            wanted = max(round(overlap / USUAL), wanted)
        chunk = max(wanted, overlap + alignment)
        return ChunkSizes(overlap + round_up(chunk - overlap, alignment), overlap, SHORT_FADE, model.min_samples)
    chunk = max(wanted, model.min_samples)
    hop = max(round(chunk * (1 - share)) // alignment, 1) * alignment
    overlap = max(chunk - hop, 0)
    return ChunkSizes(hop + overlap, overlap, int(FADED * overlap), model.min_samples)


def device_of(model: torch.nn.Module) -> torch.device:
    """Return the device of a model's parameters; the CPU if the model has no parameters."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def separated(
    model: Separator, blocks: Iterable[Tensor], options: InferenceOptions, device: torch.device, scale: InputScale | None = None
) -> Iterator[Tensor]:
    """Separate a signal chunk by chunk, and yield consecutive blocks of the sources.

    Args:
        model: separator, already moved to the device.
        blocks: consecutive blocks of the signal, with the sample rate and channels of the separator.
        options: chunk length, overlap and other options.
        device: device on which the separator runs.
        scale: result of `model.song_scale` for this signal. None is allowed only if the separator does not normalise songs.

    Shape:
        blocks [C, n] -> [S, C, m]: C channels, S sources. The lengths n and m can differ, and can change from block to block.

    Yields:
        Consecutive blocks of the sources. All blocks together are as long as the signal.

    Raises:
        ValueError: `scale` is None, but the separator normalises songs.
    """
    if scale is None and model.normalisation == "song":
        raise ValueError(
            "separated: this model normalises whole songs, so the argument `scale` must be `model.song_scale(blocks)`"
        )
    if isinstance(model, Ensemble):
        yield from _separated_by_members(model, blocks, options, device, scale)
        return
    sizes = chunk_sizes(model, options)
    default = 1 if device.type == "cpu" else max(BATCH_SECONDS * model.sample_rate // sizes.chunk, 1)
    blocks = blocks if scale is None else map(scale.normalise, blocks)
    if is_average := options.join in ("weighted", "average"):
        chunks = cut_equal_chunks(blocks, sizes, reflect=options.join == "weighted")
    else:
        chunks = cut_chunks(blocks, sizes, model.chunk_alignment)
    estimates = _estimates(chunks, _BatchSeparator(model, options, device), options.batch_size or default)
    joined = average_chunks(estimates, sizes) if is_average else join_chunks(estimates, sizes.fade)
    yield from joined if scale is None else map(scale.restore, joined)


def _separated_by_members(
    model: Ensemble, blocks: Iterable[Tensor], options: InferenceOptions, device: torch.device, scale: InputScale | None
) -> Iterator[Tensor]:
    """Separate a signal with each member of an ensemble, in chunks of the member's own length, and combine the estimates."""
    members: Any = model.members
    streams = [
        separated(
            member, copy, options.completed(InferenceOptions(**own)), device, scale if member.normalisation == "song" else None
        )
        for member, own, copy in zip(members, model.inference, tee(blocks, len(members)), strict=True)
    ]
    yield from combined(model, streams, device)


def separate(model: Separator, mixture: Tensor, options: InferenceOptions | None = None) -> Tensor:
    """Separate a whole signal on the CPU, chunk by chunk.

    Args:
        model: separator on the CPU.
        mixture: waveform with the sample rate and channels of the separator.
        options: chunk length, overlap and other options; None: the defaults.

    Shape:
        mixture [C, T] -> [S, C, T]: C channels, T samples, S sources.

    Returns:
        The sources, in the order of `model.targets`.
    """
    scale = model.song_scale([mixture])
    return torch.cat([*separated(model, [mixture], options or InferenceOptions(), torch.device("cpu"), scale)], dim=-1)


def _estimates(
    chunks: Iterator[Chunk], separate_batch: Callable[[Tensor], Tensor], batch_size: int
) -> Iterator[tuple[Tensor, Chunk]]:
    while batch := list(islice(chunks, batch_size)):
        equal = [chunk for chunk in batch if chunk.samples.shape == batch[0].samples.shape]
        for group in (equal, batch[len(equal) :]):  # only the last chunk of the signal can have another length
            if group:
                yield from zip(separate_batch(torch.stack([chunk.samples for chunk in group])), group, strict=True)


class _BatchSeparator:
    """Separate a batch of chunks. For a chunk of zeros, the sources are zeros, and the network is not called."""

    def __init__(self, model: Separator, options: InferenceOptions, device: torch.device) -> None:
        self.model, self.options, self.device = model, options, device

    def __call__(self, mixtures: Tensor) -> Tensor:
        """Separate the mixture chunks, and return the sources on the CPU. Shape: [B, C, T] -> [B, S, C, T]."""
        audible = mixtures.flatten(1).any(dim=1)
        b, c, n = mixtures.shape
        if audible.all():
            return self._mean(mixtures.to(self.device)).cpu()
        sources = torch.zeros(b, len(self.model.targets), c, n)
        if audible.any():
            sources[audible] = self._mean(mixtures[audible].to(self.device)).cpu()
        return sources

    def _mean(self, mixtures: Tensor) -> Tensor:
        """Return the mean of the estimates of the mixtures, and of the mixtures with swapped channels or inverted polarity."""
        total, count = self._mean_over_shifts(mixtures), 1
        if self.options.channel_swap and mixtures.shape[1] > 1:
            total, count = total + self._mean_over_shifts(mixtures.flip(1)).flip(2), count + 1
        if self.options.polarity:
            total, count = total - self._mean_over_shifts(-mixtures), count + 1
        return total / count if count > 1 else total

    def _mean_over_shifts(self, mixtures: Tensor) -> Tensor:
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


def song_scale(model: Separator, blocks: Blocks, rate: int) -> InputScale | None:
    """Compute the mean and the standard deviation with which a separator normalises a song.

    Args:
        model: separator that will process the song.
        blocks: consecutive blocks of the whole song. The blocks are read only if the separator has `normalisation: song`.
        rate: sample rate of the song in Hz.

    Shape:
        blocks [c, n], with c channels and any lengths n.

    Returns:
        The mean and the standard deviation; None if the separator does not have `normalisation: song`.
    """
    return model.song_scale(at_rate(model, blocks, rate))


def streamed(
    model: Separator,
    blocks: Blocks,
    rate: int,
    options: InferenceOptions,
    device: torch.device,
    scale: InputScale | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Separate a mixture with any sample rate. Yield consecutive blocks of the mixture, each with the sources of this block.

    The mixture is resampled for the separator. The sources get the sample rate and the channels of the mixture.

    Args:
        model: separator, already moved to the device.
        blocks: consecutive blocks of the mixture, with one or two channels.
        rate: sample rate of the mixture in Hz.
        options: chunk length, overlap and other options.
        device: device on which the separator runs.
        scale: result of `song_scale` for this mixture. None is allowed only if the separator does not normalise songs.

    Shape:
        blocks [c, n] -> mixture [c, m], sources [S, c, m]: c channels, S sources. The lengths n and m can differ.

    Yields:
        Pairs: a block of the mixture, and the sources at the same positions in time. All blocks together are as long as the
        mixture.
    """
    mixture = MixtureBuffer(blocks)
    sources = separated(model, at_rate(model, mixture, rate), options, device, scale)
    flat = (stretch.flatten(0, 1).numpy() for stretch in sources)
    for stretch in audio.resample_blocks(flat, model.sample_rate, rate):
        stretch = stretch[:, : mixture.waiting]  # resampling back can give some samples more or fewer than the mixture has
        if stretch.size:
            yield with_sources(mixture.take(stretch.shape[1]), stretch, len(model.targets))
    if mixture.waiting:
        missing = np.zeros((len(model.targets) * model.channels, mixture.waiting), np.float32)
        yield with_sources(mixture.take(mixture.waiting), missing, len(model.targets))
