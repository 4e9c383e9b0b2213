"""Draw the figures of lesson 9: scores of all seeds and songs, and differences with their 95 % intervals."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from unbraid.course.figures import COLOURS, GREY, MARKERS, STYLE
from unbraid.scoring.significance import Difference


def scores(variants: Mapping[str, np.ndarray], unit: str) -> Figure:
    """Draw one point for each run and song, and a line through the mean of each variant.

    Args:
        variants: scores of each variant, by the name in the legend.
        unit: label of the vertical axis, with unit.

    Returns:
        The figure.

    Shape:
        variants: [seeds, songs] each.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.8), layout="constrained")
        axis = figure.subplots()
        shifts = np.linspace(-0.15, 0.15, len(variants))
        for (name, values), shift, colour, marker in zip(variants.items(), shifts, COLOURS, cycle(MARKERS), strict=False):
            songs = np.arange(1, values.shape[1] + 1) + shift
            axis.plot(np.tile(songs, (len(values), 1)).T, values.T, linestyle="", marker=marker, color=colour, alpha=0.6)
            axis.plot(songs, values.mean(axis=0), color=colour, label=f"{name}, mean of {len(values)} seeds")
        axis.set(xlabel="test song", ylabel=unit, xticks=range(1, values.shape[1] + 1))
        axis.grid(True)
        axis.legend()
    return figure


def intervals(rows: Mapping[str, Difference], unit: str) -> Figure:
    """Draw differences with their 95 % intervals, one row per comparison. Intervals without 0 have another colour.

    Args:
        rows: differences by the label of the row.
        unit: label of the horizontal axis, with unit.

    Returns:
        The figure.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.9 + 0.36 * len(rows)), layout="constrained")
        axis = figure.subplots()
        for place, row in enumerate(rows.values()):
            low, high = (row.mean if end is None else end for end in (row.low, row.high))
            excludes = low > 0 or high < 0
            axis.plot([low, high], [place, place], color=COLOURS[1] if excludes else COLOURS[0])
            axis.plot(row.mean, place, color=COLOURS[1] if excludes else COLOURS[0], marker="s" if excludes else "o")
        axis.axvline(0, color=GREY, linewidth=1, linestyle="--")
        axis.set(xlabel=unit, yticks=range(len(rows)), yticklabels=list(rows))
        axis.invert_yaxis()
    return figure
