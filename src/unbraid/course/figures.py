"""Draw the figures of the lessons.

The colours are Paul Tol's scheme "bright", which readers with colour blindness can distinguish. The background is transparent,
and lines and text are grey, so that a figure is readable on a light and on a dark page.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from torch import Tensor

from unbraid.dsp.stft import STFT
from unbraid.evaluation.pictures import FLOOR_DB

COLOURS = ("#4477AA", "#EE6677", "#228833", "#AA3377", "#CCBB44", "#66CCEE")
TEN_COLOURS = (*COLOURS, "#EE7733", "#808080", "#8855DD", "#885522")  # one colour per digit
GREY = "#808080"  # the same contrast, 4 to 1, on white and on the dark pages
STYLE: dict[Any, Any] = {
    "figure.facecolor": "none", "savefig.facecolor": "none", "axes.facecolor": "none", "legend.facecolor": "none",
    "text.color": GREY, "axes.labelcolor": GREY, "axes.edgecolor": GREY, "axes.titlecolor": GREY, "xtick.color": GREY,
    "ytick.color": GREY, "grid.color": GREY, "grid.alpha": 0.25, "axes.grid": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.prop_cycle": cycler(color=COLOURS), "lines.linewidth": 2, "font.size": 12,
    "axes.titlesize": 12, "legend.frameon": False, "image.interpolation": "nearest", "figure.dpi": 90,
    "figure.constrained_layout.use": True,
}  # fmt: skip
MARKERS = "os^Dv*"


def use_style() -> None:
    """Use the colours of the lessons for all figures of a notebook, and show figures below their cells."""
    import matplotlib.pyplot as plt

    plt.switch_backend(matplotlib.get_backend())
    matplotlib.rcParams.update(STYLE)


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str, log_x: bool = False, log_y: bool = False
) -> Figure:
    """Draw one line with markers for each name.

    Args:
        lines: horizontal and vertical values of each line, by the name in the legend.
        x: label of the horizontal axis, with unit.
        y: label of the vertical axis, with unit.
        log_x: logarithmic horizontal axis.
        log_y: logarithmic vertical axis.

    Returns:
        The figure.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        axis = figure.subplots()
        for (name, (xs, ys)), marker in zip(lines.items(), cycle(MARKERS), strict=False):
            axis.plot(xs, ys, marker=marker, markersize=5, label=name)
        axis.set(xlabel=x, ylabel=y, xscale="log" if log_x else "linear", yscale="log" if log_y else "linear")
        axis.grid(True)
        if not log_y:
            axis.ticklabel_format(axis="y", scilimits=(-2, 4), useMathText=True)  # one power of ten above the axis
        if log_y:
            for set_formatter in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
                set_formatter(LogFormatter(minor_thresholds=(2, 0.5)))  # 20 instead of 2 × 10¹
        if log_x:
            ticks = sorted({value for values, _ in lines.values() for value in values})
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
        if len(lines) > 1:
            axis.legend()
    return figure


def images(
    rows: Mapping[str, Tensor], colours: str = "gray", low: float | None = None, high: float | None = None, size: float = 0.75
) -> Figure:
    """Draw rows of small images with one colour scale.

    Args:
        rows: images of each row, by the name of the row.
        colours: name of a colour map of matplotlib.
        low: value of the first colour; None: the smallest value of the first row.
        high: value of the last colour; None: the largest value of the first row.
        size: width of an image in inches.

    Returns:
        The figure.

    Shape:
        rows: [images, height, width] each.
    """
    first = next(iter(rows.values()))
    n = max(len(row) for row in rows.values())
    limits = float(first.min()) if low is None else low, float(first.max()) if high is None else high
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.4 + size * n, (size + 0.05) * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), n, squeeze=False)
        for line, (name, row) in zip(grid, rows.items(), strict=True):
            for axis in line:
                axis.set_axis_off()
            for axis, image in zip(line, row, strict=False):
                axis.imshow(image.detach().cpu().numpy(), cmap=colours, vmin=limits[0], vmax=limits[1])
            line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center")
    return figure


def points(coordinates: Tensor, labels: Sequence[int], x: str = "code 1", y: str = "code 2") -> Figure:
    """Draw points on a plane, each as the digit of its class, in one colour per class.

    Args:
        coordinates: position of each point.
        labels: class of each point, an integer from 0 to 9.
        x: label of the horizontal axis.
        y: label of the vertical axis.

    Returns:
        The figure.

    Shape:
        coordinates: [points, 2].
    """
    values = coordinates.detach().cpu().numpy()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 5), layout="constrained")
        axis = figure.subplots()
        for label in sorted({int(label) for label in labels}):
            chosen = values[np.asarray([int(other) == label for other in labels])]
            colour = TEN_COLOURS[label % len(TEN_COLOURS)]
            axis.scatter(chosen[:, 0], chosen[:, 1], marker=f"${label}$", s=60, color=colour, linewidths=0.3)
        axis.set(xlabel=x, ylabel=y)
    return figure


def spectrograms(waveforms: Mapping[str, Tensor], stft: STFT, rate: int, top: float | None = None) -> Figure:
    """Draw the spectrograms of waveforms next to each other, in dB below the loudest bin of all of them.

    Args:
        waveforms: waveforms by the title of their panel.
        stft: STFT that computes the spectrograms.
        rate: sample rate in Hz.
        top: highest frequency of the figure in Hz; None: half the sample rate.

    Returns:
        The figure.

    Shape:
        waveforms: [samples] or [channels, samples] each; the mean over the channels is drawn.
    """
    magnitudes = {name: stft(torch.atleast_2d(wave).mean(dim=0)).abs() for name, wave in waveforms.items()}
    loudest = max(float(values.max()) for values in magnitudes.values()) or 1.0
    levels = {name: 20 * (values / loudest).clamp(min=1e-9).log10() for name, values in magnitudes.items()}
    return spectra(levels, stft, rate, top)


def spectra(
    panels: Mapping[str, Tensor], stft: STFT, rate: int, top: float | None = None, low: float = FLOOR_DB, high: float = 0,
    unit: str = "dB", colours: str = "magma",
) -> Figure:  # fmt: skip
    """Draw values of time-frequency bins, such as levels or masks, one panel per name.

    Args:
        panels: values by the title of their panel.
        stft: STFT of the bins.
        rate: sample rate in Hz.
        top: highest frequency of the figure in Hz; None: half the sample rate.
        low: value of the first colour.
        high: value of the last colour.
        unit: label of the colour bar.
        colours: name of a colour map of matplotlib.

    Returns:
        The figure.

    Shape:
        panels: [bins, frames] each.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 3.1 * len(panels), 3.2), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (name, values) in zip(axes, panels.items(), strict=True):
            seconds = values.shape[1] * stft.hop_length / rate
            image = axis.imshow(
                values.detach().cpu().numpy(), origin="lower", aspect="auto", vmin=low, vmax=high, cmap=colours,
                extent=(0, seconds, 0, rate / 2000),
            )  # fmt: skip
            axis.set(title=name, xlabel="time (s)", ylim=(0, (top or rate / 2) / 1000))
        axes[0].set_ylabel("frequency (kHz)")
        figure.colorbar(image, ax=list(axes), label=unit)
    return figure


def waveforms(signals: Mapping[str, Tensor], rate: int) -> Figure:
    """Draw waveforms below each other, with a common vertical scale.

    Args:
        signals: waveforms by the title of their panel.
        rate: sample rate in Hz.

    Returns:
        The figure.

    Shape:
        signals: [samples] each.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.6 + 1.3 * len(signals)), layout="constrained")
        axes: list[Axes] = list(figure.subplots(len(signals), 1, sharex=True, sharey=True, squeeze=False)[:, 0])
        for axis, (name, values), colour in zip(axes, signals.items(), cycle(COLOURS), strict=False):
            axis.plot(np.arange(len(values)) / rate, values.detach().cpu().numpy(), linewidth=0.8, color=colour)
            axis.set_title(name, loc="left")
        axes[-1].set_xlabel("time (s)")
    return figure


def layers(widths: Sequence[int], names: Mapping[int, str] | None = None) -> Figure:
    """Draw the layers of a network as bars, whose height grows with the logarithm of their number of values.

    Args:
        widths: number of values of each layer, from the input to the output.
        names: texts below single layers, by index.

    Returns:
        The figure.
    """
    heights = [0.3 + np.log10(width) for width in widths]
    code = int(np.argmin(widths))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.6 * len(widths), 2.6), layout="constrained")
        axis = figure.subplots()
        for index, (width, height) in enumerate(zip(widths, heights, strict=True)):
            axis.bar(index, height, 0.22, bottom=-height / 2, color=COLOURS[1 if index == code else 0])
            axis.text(index, height / 2 + 0.1, f"{width:,}", ha="center")
            axis.text(index, -max(heights) / 2 - 0.5, (names or {}).get(index, ""), ha="center")
            if index:
                axis.annotate("", (index - 0.18, 0), (index - 0.82, 0), arrowprops={"arrowstyle": "->", "color": GREY})
        axis.set(ylim=(-max(heights) / 2 - 0.7, max(heights) / 2 + 0.5), xlim=(-0.5, len(widths) - 0.5))
        axis.set_axis_off()
    return figure


def histogram(groups: Mapping[str, Tensor], x: str, bins: int = 40) -> Figure:
    """Draw the histograms of several groups of numbers.

    Args:
        groups: numbers of each group, by the name in the legend.
        x: label of the horizontal axis.
        bins: number of intervals.

    Returns:
        The figure.
    """
    values = {name: group.detach().cpu().numpy() for name, group in groups.items()}
    low, high = min(group.min() for group in values.values()), max(group.max() for group in values.values())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 3), layout="constrained")
        axis = figure.subplots()
        for (name, group), hatch in zip(values.items(), cycle(("", "///")), strict=False):
            axis.hist(group, bins=list(np.linspace(low, high, bins)), alpha=0.7, label=name, hatch=hatch)
        axis.set(xlabel=x, ylabel="number")
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(values))
    return figure
