"""Write the figures of a lesson as one animation."""

import io
from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from unbraid.runs.files import atomic_write


def gif(path: Path, frames: Iterable[Figure], seconds: float = 0.5, dpi: int = 60) -> Path:
    """Write figures of equal size as an animated GIF that repeats. The background is white, because frames replace each other.

    Args:
        path: GIF file to write.
        frames: figures in their order.
        seconds: duration of each figure, in seconds.
        dpi: pixels per inch.

    Returns:
        The path, for `IPython.display.Image(filename=path)`.
    """
    pictures = []
    for figure in frames:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
        # Without alpha channel and dither, because both add coloured pixels to grey lines.
        pictures.append(Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE))
    with atomic_write(path) as partial:
        pictures[0].save(
            partial, "GIF", save_all=True, append_images=pictures[1:], duration=round(1000 * seconds), loop=0, disposal=2
        )
    return path
