"""Averages of overlapping chunks: they agree with MSST and with the formula for whole arrays, and need constant memory.

The recorded figures are output of `demix` of Music-Source-Separation-Training (MSST), November 2026, with the network of this
file, `batch_size: 1`, and the model type mdx23c (`weighted`) or htdemucs (`average`).
"""

from itertools import cycle

import numpy as np
import pytest
import torch
from torch import nn

from tests.interop.msst.state import formula_mixture
from unbraid.inference.chunked import InferenceOptions, chunk_sizes, separated
from unbraid.inference.overlap_add import equal_chunk_sizes
from unbraid.models.separators.waveform import WaveformSeparator

CPU = torch.device("cpu")
CHUNK, RATE = 500, 1000
LENGTHS = [1, 90, 250, 251, 500, 501, 700, 1000, 2503]
RECORDED = {  # samples 0, L / 3, 2 L / 3 and L - 1 of the first channel of both sources, for a mixture of L samples
    ("weighted", 2, 2503): [0.0, -0.258796, 0.296642, -0.135635, 0.061752, -0.004905, 0.022143, -0.216098],
    ("weighted", 2, 700): [0.0, -0.075215, 0.190089, -0.307734, 0.061752, 0.087386, -0.017377, -0.000323],
    ("weighted", 3, 2503): [0.0, -0.270343, 0.275299, -0.133748, -0.028013, 0.068394, 0.045662, 0.15584],
    ("weighted", 3, 700): [0.0, -0.069579, 0.181296, -0.268055, -0.028013, 0.063069, -0.076254, 0.103904],
    ("weighted", 12, 2503): [0.0, -0.273461, 0.281095, -0.136526, 0.014852, -0.017234, 0.035547, -0.014598],
    ("weighted", 12, 700): [0.0, -0.060433, 0.174128, -0.280291, 0.226122, 0.000867, -0.022764, 0.00475],
    ("weighted", 12, 90): [0.0, 0.325466, 0.219583, 0.145923, 0.0, 0.0, 0.0, 0.0],
    ("average", 2, 2503): [0.0, -0.258796, 0.296642, -0.114583, 0.226122, -0.004905, 0.022143, -0.10394],
    ("average", 3, 700): [0.0, -0.061532, 0.186223, -0.261798, 0.226122, 0.03836, -0.104082, 0.025716],
    ("average", 12, 2503): [0.0, -0.269929, 0.281866, -0.136512, 0.226122, -0.040317, -0.009932, 0.002343],
    ("average", 12, 90): [0.0, 0.325466, 0.215962, 0.141644, 0.0, 0.0, 0.0, 0.0],
}


class Positions(nn.Module):
    """Return two sources that depend on the position in the chunk. The second source is the chunk in reverse."""

    def forward(self, mixture):
        gain = 1 + torch.arange(mixture.shape[-1]) / mixture.shape[-1]
        return torch.stack([torch.tanh(mixture) * gain, mixture.flip(-1) * (2 - gain)], dim=1)


class Same(nn.Module):
    """Return the mixture as both sources."""

    def forward(self, mixture):
        return torch.stack([mixture, mixture], dim=1)


def model_of(net):
    return WaveformSeparator(lambda sources: net, ["a", "b"], RATE, 2, CHUNK / RATE)


def options_of(join, overlaps, **others):
    return InferenceOptions(overlap=1 - 1 / overlaps, join=join, **others)


def in_chunks(net, signal, options, lengths=(333,)):
    blocks, start = [], 0
    for length in cycle(lengths):
        blocks.append(signal[:, start : start + length])
        start += length
        if start >= signal.shape[1]:
            break
    return torch.cat([*separated(model_of(net), blocks, options, CPU)], dim=-1)


def whole_array(net, signal, join, overlaps):
    """Compute the average from the formula, with the whole signal in one array and sums in float64."""
    hop, x = CHUNK // overlaps, signal.numpy()
    border = CHUNK - hop if join == "weighted" and x.shape[1] > 2 * (CHUNK - hop) else 0
    x = np.pad(x, ((0, 0), (border, border)), mode="reflect") if border else x
    ramp = np.interp(np.arange(CHUNK), [0, CHUNK // 10 - 1, CHUNK - CHUNK // 10, CHUNK - 1], [0, 1, 1, 0])
    sums, weights = np.zeros((2, *x.shape)), np.zeros(x.shape[1])
    for start in range(0, x.shape[1], hop):
        part = x[:, start : start + CHUNK]
        length = part.shape[1]
        mode = "reflect" if join == "weighted" and length > CHUNK // 2 else "constant"
        part = np.pad(part, ((0, 0), (0, CHUNK - length)), mode=mode)
        estimate = net(torch.from_numpy(part)[None])[0].numpy()
        window = ramp.copy() if join == "weighted" else np.ones(CHUNK)
        if start == 0:
            window[: CHUNK // 10] = 1
        elif start + hop >= x.shape[1]:
            window[-(CHUNK // 10) :] = 1
        sums[..., start : start + length] += (estimate * window)[..., :length]
        weights[start : start + length] += window[:length]
    return torch.from_numpy(sums / weights)[..., border : x.shape[1] - border]


@pytest.mark.parametrize("case", RECORDED, ids=str)
def test_the_average_agrees_with_msst(case):
    join, overlaps, samples = case
    found = in_chunks(Positions(), formula_mixture(samples)[0], options_of(join, overlaps))
    picked = found[:, 0][:, [0, samples // 3, 2 * samples // 3, samples - 1]].flatten()
    assert (picked - torch.tensor(RECORDED[case])).abs().max() < 2e-6


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("overlaps", [2, 3, 4, 7, 8, 12, 100])
@pytest.mark.parametrize("join", ["weighted", "average"])
def test_streamed_chunks_agree_with_the_formula(join, overlaps, samples):
    signal = formula_mixture(samples)[0]
    expected = whole_array(Positions(), signal, join, overlaps)
    found = in_chunks(Positions(), signal, options_of(join, overlaps))
    assert found.shape == expected.shape == (2, 2, samples)
    assert (found - expected).abs().max() < 1e-6


@pytest.mark.parametrize("lengths", [(1,), (1, 0, 7, 499, 2), (251,), (10_000,), (0, 10_000, 0)])
@pytest.mark.parametrize("join", ["weighted", "average"])
def test_blocks_of_any_length_give_the_same_result(join, lengths):
    signal, options = formula_mixture(2503)[0], options_of(join, 4)
    found = in_chunks(Positions(), signal, options, lengths)
    assert torch.equal(found, in_chunks(Positions(), signal, options))
    assert torch.allclose(found, in_chunks(Positions(), signal, options_of(join, 4, batch_size=5), lengths), atol=1e-6)


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("overlap", [None, 0.0, 0.1, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("join", ["weighted", "average"])
def test_the_average_of_equal_estimates_is_the_signal(join, overlap, samples):
    """Chunks without overlap are included, whose weights are 0 at both ends in MSST."""
    signal = formula_mixture(samples)[0]
    found = in_chunks(Same(), signal, InferenceOptions(overlap=overlap, join=join))
    assert (found - signal).abs().max() < 1e-6


@pytest.mark.parametrize("join", ["weighted", "average"])
def test_a_signal_without_samples_has_empty_sources(join):
    assert in_chunks(Same(), torch.zeros(2, 0), options_of(join, 2)).shape == (2, 2, 0)
    assert [*separated(model_of(Same()), [], options_of(join, 2), CPU)] == []


@pytest.mark.parametrize("join", ["weighted", "average"])
@pytest.mark.parametrize("overlaps", [2, 8])
def test_memory_holds_few_chunks(join, overlaps):
    """Check that less than 4 chunks of a long signal have been read and not been returned."""
    read = done = furthest = 0

    def blocks():
        nonlocal read
        for _ in range(1000):
            read += 97
            yield torch.full((2, 97), 0.1)

    for sources in separated(model_of(Same()), blocks(), options_of(join, overlaps), CPU):
        furthest = max(furthest, read - done)
        done += sources.shape[-1]
    assert read == done == 97_000 and furthest < 4 * CHUNK


def test_chunks_outside_the_signal_are_not_separated():
    """MSST separates 3 more chunks with `num_overlap: 4`. The samples of these chunks are all cut off."""

    class Counted(Same):
        calls = 0

        def forward(self, mixture):
            self.calls += 1
            return super().forward(mixture)

    net = Counted()
    in_chunks(net, formula_mixture(2503)[0], options_of("weighted", 4))
    assert net.calls == -(-(2503 + CHUNK - CHUNK // 4) // (CHUNK // 4))


@pytest.mark.parametrize("chunk", [441_000, 485_100, 352_800, 131_584, 7])
def test_the_hop_is_rounded_down(chunk):
    for overlaps in range(1, 101):
        assert equal_chunk_sizes(chunk, 1 - 1 / overlaps, True).hop == max(chunk // overlaps, 1)


def test_the_crossfade_is_the_default():
    model = model_of(Same())
    assert chunk_sizes(model, InferenceOptions()) == chunk_sizes(model, InferenceOptions(join="crossfade"))
    assert chunk_sizes(model, InferenceOptions(join="weighted")).fade == CHUNK // 10
    assert chunk_sizes(model, InferenceOptions(join="average")).fade == 0


def test_missing_options_are_completed():
    options = InferenceOptions(chunk_seconds=3.0, shifts=2).completed(
        InferenceOptions(9.0, 0.5, 4, 1, precision="bf16", join="average")
    )
    assert options == InferenceOptions(3.0, 0.5, 4, 2, precision="32", join="average")
