"""Draw the figures of lesson 4: tables of numbers, the steps of a transposed convolution, and overlapping kernels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional

from unbraid.course import animations, figures

CELL = 0.36  # width of a cell in inches
BLUES = LinearSegmentedColormap.from_list("cells", ["#ffffff", "#6baed6"])  # light enough for black numbers
CUT, FRAME = "#bdbdbd", "#d55e00"  # colour of removed cells, and of the frame of the current step


def tables(panels: Mapping[str, Tensor], columns: int = 3, cut: Mapping[str, int] | None = None) -> Figure:
    """Draw matrices as tables of numbers. Larger numbers have a darker blue.

    Args:
        panels: dictionary from the title of each table to its matrix.
        columns: number of tables in a row.
        cut: dictionary from a title to the width of a border in cells. The border is grey, because an operation removes it.

    Shape:
        panels [rows, columns] each.

    Returns:
        The figure.
    """
    rows = -(-len(panels) // columns)
    height, width = (max(matrix.shape[side] for matrix in panels.values()) for side in (0, 1))
    figure = Figure(figsize=(columns * (width + 1) * CELL, rows * (height * CELL + 0.45)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, (title, matrix) in zip(axes, panels.items(), strict=False):
        _table(axis, matrix, (cut or {}).get(title, 0), float(max(m.abs().max() for m in panels.values())))
        axis.set_title(title, fontsize=9, color=figures.GREY)
    for axis in axes:
        axis.set(xlim=(-0.5, width - 0.4), ylim=(height - 0.4, -0.6), aspect="equal")
        axis.set_axis_off()
    return figure


def _table(axis: Axes, matrix: Tensor, border: int, largest: float) -> None:
    height, width = matrix.shape
    for row in range(height):
        for column in range(width):
            kept = border <= row < height - border and border <= column < width - border
            value = float(matrix[row, column])
            colour = BLUES(abs(value) / (largest or 1.0)) if kept else CUT
            axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="#777777", linewidth=0.6))
            axis.text(column, row, f"{value:.4g}", ha="center", va="center", fontsize=8, color="black")


def transposed_steps(path: Path, x: Tensor, kernel: Tensor, stride: int, padding: int) -> Path:
    """Write an animation of a transposed convolution. Each step adds the kernel times one number of the input.

    Args:
        path: GIF file to write.
        x: input.
        kernel: kernel of the transposed convolution.
        stride: distance between two copies of the kernel in cells.
        padding: width of the border that the last step removes, in cells.

    Shape:
        x [H, W], kernel [K, K].

    Returns:
        The path of the animation.
    """
    places = [(row, column) for row in range(x.shape[0]) for column in range(x.shape[1])]
    totals = [torch.zeros_like(transposed(x, kernel, stride, 0))]
    for row, column in places:
        only = torch.zeros_like(x)
        only[row, column] = x[row, column]
        totals.append(totals[-1] + transposed(only, kernel, stride, 0))
    frames = [_step(x, kernel, total, places[:step], stride, 0) for step, total in enumerate(totals)]
    frames += [_step(x, kernel, totals[-1], places, stride, padding)] * 3
    return animations.gif(path, frames, seconds=1.0, dpi=120)


def _step(x: Tensor, kernel: Tensor, total: Tensor, done: Sequence[tuple[int, int]], stride: int, border: int) -> Figure:
    """Draw input, kernel and the sum of the copies that are done, with frames around the last copy."""
    largest = float(transposed(x.abs(), kernel.abs(), stride, 0).max())
    title = f"output without a border of {border}" if border else f"sum of {len(done)} copies"
    panels = {"input": x, "kernel": kernel, title: total}
    widths = [matrix.shape[1] + 1 for matrix in panels.values()]
    figure = Figure(figsize=(sum(widths) * CELL, (len(total) + 1.6) * CELL), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=widths)
    for axis, (name, matrix) in zip(axes, panels.items(), strict=True):
        _table(axis, matrix, border if matrix is total else 0, largest)
        axis.set(xlim=(-0.6, matrix.shape[1] - 0.4), ylim=(len(total) - 0.4, -0.6), aspect="equal")
        axis.set_axis_off()
        axis.set_title(name, fontsize=8, color="black")
    if done and not border:
        row, column = done[-1]
        axes[0].add_patch(_frame(row, column, 1))
        axes[2].add_patch(_frame(row * stride, column * stride, len(kernel)))
    return figure


def _frame(row: int, column: int, size: int) -> Rectangle:
    return Rectangle((column - 0.5, row - 0.5), size, size, fill=False, edgecolor=FRAME, linewidth=2.5)


def transposed(x: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
    """Apply a transposed convolution to one matrix. Shape: x [H, W], kernel [K, K] -> [H', W']."""
    return functional.conv_transpose2d(x[None, None], kernel[None, None], stride=stride, padding=padding)[0, 0]


def overlaps(kernel_sizes: list[int], stride: int, inputs: int = 6) -> Figure:
    """Draw the number of kernels that overlap at each output of a one-dimensional transposed convolution.

    Args:
        kernel_sizes: kernel size of each panel.
        stride: stride of all panels.
        inputs: number of inputs.

    Returns:
        The figure.
    """
    with matplotlib.rc_context(figures.STYLE):
        figure = Figure(figsize=(3 * len(kernel_sizes), 2.4), layout="constrained")
        axes = figure.subplots(1, len(kernel_sizes), sharey=True, squeeze=False)[0]
    for axis, size in zip(axes, kernel_sizes, strict=True):
        counts = functional.conv_transpose1d(torch.ones(1, 1, inputs), torch.ones(1, 1, size), stride=stride)[0, 0]
        axis.bar(range(len(counts)), counts.numpy(), width=0.9)
        axis.set(title=f"kernel {size}, stride {stride}", xlabel="output position", yticks=range(int(counts.max()) + 1))
    axes[0].set_ylabel("overlapping kernels")
    return figure
