"""Draw the figure of lesson 10: how a band-split network compresses the frequency bands."""

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from unbraid.course.figures import COLOURS, STYLE


def compression(layers: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Draw the number of values of each band after each layer, as bars that are divided into bands.

    Args:
        layers: number of values of each band, for the input and after each layer.
        names: names of the bands.

    Returns:
        The figure.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.9 + 0.6 * len(layers)), layout="constrained")
        axis = figure.subplots()
        for place, sizes in enumerate(layers):
            left = 0
            for size, name, colour, hatch in zip(sizes, names, COLOURS, ("", "//", ".."), strict=False):
                label = name if place == 0 else None
                axis.barh(place, size, left=left, color=colour, hatch=hatch, edgecolor="white", label=label)
                if size > 0.05 * sum(layers[0]):
                    axis.text(left + size / 2, place, str(size), ha="center", va="center", color="white", weight="bold")
                left += size
        rows = ["input", *(f"after layer {place}" for place in range(1, len(layers)))]
        axis.set(xlabel="values along the frequency axis", yticks=range(len(layers)), yticklabels=rows)
        axis.invert_yaxis()
        axis.legend(loc="lower right")
    return figure
