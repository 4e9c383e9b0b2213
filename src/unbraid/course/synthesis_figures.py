"""Draw the figure of lesson 8: curves over time, such as pitch and loudness."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from unbraid.course.figures import COLOURS, STYLE


def over_time(panels: Mapping[str, Tensor], points_per_second: float) -> Figure:
    """Draw curves below each other, with a common time axis.

    Args:
        panels: values by the label of their vertical axis.
        points_per_second: number of values per second.

    Returns:
        The figure.

    Shape:
        panels: [points] each.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.6 + 1.5 * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axis, (name, values), colour in zip(axes, panels.items(), cycle(COLOURS), strict=False):
            axis.plot(np.arange(len(values)) / points_per_second, values.detach().cpu().numpy(), color=colour)
            axis.set_ylabel(name)
            axis.grid(True)
        figure.align_ylabels(list(axes))
        axes[-1].set_xlabel("time (s)")
    return figure
