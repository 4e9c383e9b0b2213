"""Draw the figures of lessons 5 to 7: windows of the STFT, steps of Griffin-Lim, the levels of a U-Net, and scores as bars."""

from collections.abc import Mapping, Sequence

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from unbraid.course.figures import COLOURS, GREY, STYLE
from unbraid.dsp.stft import STFT
from unbraid.evaluation.pictures import FLOOR_DB
from unbraid.nets.unet import UNet


def unet_levels(net: UNet, bins: int, frames: int) -> Figure:
    """Draw the feature maps of a U-Net: the encoder at the left, the decoder at the right, and the skip connections.

    Args:
        net: network. It processes one input, so that the figure shows the true sizes.
        bins: number of frequency bins of the input, including the bin that the network leaves out.
        frames: number of frames of the input.

    Returns:
        The figure.
    """
    sizes: list[tuple[int, int, int]] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[1:])))
        for layer in [*net.encoder, *net.decoder]
    ]
    with torch.no_grad():
        net.eval()(torch.zeros(1, 1, bins, frames))
    for hook in hooks:
        hook.remove()
    levels = len(net.encoder)
    boxes = [(1, bins - 1, frames), *sizes]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 0.55 * (levels + 1) + 0.6), layout="constrained")
        axis = figure.subplots()
    for place, size in enumerate(boxes):
        row = min(place, 2 * levels - place)
        _box(axis, -1 if place < levels else 0 if place == levels else 1, row, size, levels)
        if net.skips and 0 < row < levels and place < levels:
            arrow = {"arrowstyle": "->", "color": COLOURS[1], "linestyle": "--"}
            axis.annotate("", (1.15, -row), (-1.15, -row), arrowprops=arrow)
    axis.set(xlim=(-3.6, 3.6), ylim=(-levels - 0.5, 0.6))
    axis.set_axis_off()
    return figure


def _box(axis: Axes, side: int, row: int, size: tuple[int, int, int], levels: int) -> None:
    """Draw one feature map as a bar whose length shows its height in bins, with its size next to it."""
    length = 1.5 + 0.7 * (levels - row) / levels
    x = side * 2.3
    axis.add_patch(Rectangle((x - length / 2, -row - 0.25), length, 0.5, fill=False, edgecolor=COLOURS[0], linewidth=2))
    channels, height, width = size
    axis.text(x, -row, f"{channels} × {height} × {width}", ha="center", va="center", color=GREY, fontsize=13)


def score_bars(scores: Mapping[str, Mapping[str, float]], unit: str = "dB") -> Figure:
    """Draw one group of bars for each measure, and one bar for each method.

    Args:
        scores: scores by the name of the method and the name of the measure. A missing measure has no bar.
        unit: unit of the scores.

    Returns:
        The figure.
    """
    measures = list(dict.fromkeys(name for values in scores.values() for name in values))
    width = 0.8 / len(scores)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.5 + 2.0 * len(measures), 3.4), layout="constrained")
        axis = figure.subplots()
        for number, (method, values) in enumerate(scores.items()):
            places = [n + (number - (len(scores) - 1) / 2) * width for n, name in enumerate(measures) if name in values]
            bars = axis.bar(places, [values[name] for name in measures if name in values], 0.92 * width, label=method)
            axis.bar_label(bars, fmt="%.1f", padding=2, fontsize=9, color=GREY)
        axis.axhline(0, color=GREY, linewidth=0.8)
        axis.set_xticks(range(len(measures)), measures)
        axis.set_ylabel(f"score ({unit})")
        axis.margins(y=0.12)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def windows(waveform: Tensor, sizes: Sequence[int], rate: int, top: float) -> Figure:
    """Draw the spectrograms of one waveform with windows of several sizes. The hop is a quarter of the window.

    Args:
        waveform: signal.
        sizes: sizes of the windows in samples.
        rate: sample rate in Hz.
        top: highest frequency of the figure in Hz.

    Shape:
        waveform [samples].

    Returns:
        The figure.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 3.1 * len(sizes), 3.2), layout="constrained")
        axes = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for axis, size in zip(axes, sizes, strict=True):
            magnitudes = STFT(size, size // 4)(waveform).abs()
            _levels(axis, magnitudes, magnitudes.max(), len(waveform) / rate, rate, top)
            axis.set_title(f"{size} samples, {1000 * size / rate:.0f} ms")
        axes[0].set_ylabel("frequency (kHz)")
        figure.colorbar(axes[-1].images[0], ax=list(axes), label="dB")
    return figure


def _levels(axis: Axes, magnitudes: Tensor, loudest: Tensor, seconds: float, rate: int, top: float) -> None:
    """Draw the levels of bins in dB below the magnitude `loudest`."""
    levels = 20 * (magnitudes / loudest).clamp(min=1e-9).log10()
    extent = (0.0, seconds, 0.0, rate / 2000)
    axis.imshow(levels.numpy(), origin="lower", aspect="auto", vmin=FLOOR_DB, vmax=0, cmap="magma", extent=extent)
    axis.set(xlabel="time (s)", ylim=(0, top / 1000))


def reconstruction(waveform: Tensor, truth: Tensor, stft: STFT, rate: int, title: str, span: tuple[float, float]) -> Figure:
    """Draw a part of a reconstructed waveform over the true waveform, and the error of all magnitudes.

    The figure is one frame of an animation.

    Args:
        waveform: reconstructed waveform.
        truth: true waveform.
        stft: STFT of the spectrogram.
        rate: sample rate in Hz.
        title: title of the figure.
        span: start and end of the drawn part of the waveform in seconds.

    Shape:
        waveform and truth [samples].

    Returns:
        The figure.
    """
    first, last = (round(second * rate) for second in span)
    times = torch.arange(first, last) / rate
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(times, truth[first:last], color=COLOURS[1], linewidth=1, label="true")
        left.plot(times, waveform[first:last], color=COLOURS[0], linewidth=1, label="reconstructed")
        limit = 1.6 * float(truth[first:last].abs().max())
        left.set(title=title, xlabel="time (s)", ylim=(-limit, limit))
        left.legend(loc="upper right", fontsize=9)
        magnitudes = stft(truth).abs()
        _levels(right, (stft(waveform).abs() - magnitudes).abs(), magnitudes.max(), len(truth) / rate, rate, rate / 4)
        right.set(ylabel="frequency (kHz)", title="error of the magnitudes")
        figure.colorbar(right.images[0], ax=right, label="dB")
    return figure
