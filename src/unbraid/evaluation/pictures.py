"""Draw pictures: spectrograms, reconstructions, codes, pitch and loudness curves, errors and anomaly scores.

NaN and infinite values raise InputError, since matplotlib omits them without a warning.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.image import imread
from PIL import Image
from torch import Tensor
from torch.nn import functional

from unbraid.dsp.stft import STFT
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write

FLOOR_DB = -80  # lowest level of a spectrogram
SHADES = 48  # number of colours of a strip; more colours make larger files
COLOURS = colormaps["tab10"]


def spectrograms(path: Path, title: str, waveforms: Mapping[str, Tensor], mask: Tensor | None, stft: STFT, rate: int) -> None:
    """Draw the spectrograms of several waveforms, one panel per waveform, and optionally a mask.

    The colours show dB relative to the loudest bin of all panels.

    Args:
        path: PNG file to write.
        title: title of the picture.
        waveforms: dictionary from the name of each panel to its waveform. The mean over the channels is drawn.
        mask: values in [0, 1], drawn as the second panel; None: no mask.
        stft: STFT with which the spectrograms are computed.
        rate: sample rate in Hz.

    Shape:
        waveforms [channels, samples] each, mask [bins, frames].
    """
    check_finite(path, waveforms if mask is None else {**waveforms, "mask": mask})
    magnitudes = {name: stft(waveform.mean(dim=0)).abs() for name, waveform in waveforms.items()}
    loudest = max(float(m.max()) for m in magnitudes.values()) or 1.0
    panels = {name: (20 * (m / loudest).clamp(min=1e-9).log10(), FLOOR_DB, 0, "dB") for name, m in magnitudes.items()}
    if mask is not None:
        first, *others = panels.items()
        panels = dict([first, ("mask", (mask, 0, 1, "share")), *others])
    figure = Figure(figsize=(4 * len(panels), 3.4), layout="constrained")
    seconds = next(iter(waveforms.values())).shape[-1] / rate
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (name, (values, low, high, unit)) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(
            values.cpu().numpy(), origin="lower", aspect="auto", vmin=low, vmax=high, interpolation="nearest",
            extent=(0, seconds, 0, rate / 2000), cmap="magma" if unit == "dB" else "viridis",
        )  # fmt: skip
        axis.set(title=name, xlabel="time (s)")
        figure.colorbar(image, ax=axis, label=unit)
    axes[0].set_ylabel("frequency (kHz)")
    figure.suptitle(title)
    _save(figure, path, None)


def rows(path: Path, shown: Mapping[str, Tensor], colours: str, axes_names: tuple[str, str] | None = None) -> None:
    """Draw rows of small images with one common colour scale.

    Args:
        path: PNG file to write.
        shown: dictionary from the name of each row to the images in this row.
        colours: name of a colour map of matplotlib. With `gray_r`, the images are drawn as photos, with the first line of
            pixels at the top. With any other name, they are drawn as spectrograms, with the lowest bin at the bottom.
        axes_names: names of the horizontal and the vertical axis, such as `frame` and `bin`. The names are written at the first
            image of the last row. None: no axes are drawn.

    Shape:
        shown [number of images, height, width] for each row.
    """
    check_finite(path, shown)
    n = max(len(images) for images in shown.values())
    height, width = next(iter(shown.values())).shape[1:]
    images_of_pixels = colours == "gray_r"
    figure = Figure(figsize=(1.2 + n * (0.8 if images_of_pixels else 1.0), 1.0 * len(shown) * max(1, min(2, height / width))))
    axes = figure.subplots(len(shown), n, squeeze=False)
    first = next(iter(shown.values()))
    low, high = float(first.min()), float(first.max())
    for line, (name, images) in zip(axes, shown.items(), strict=True):
        for axis, image in zip(line, images, strict=False):
            axis.imshow(
                image.cpu().numpy(), cmap=colours, vmin=low, vmax=high, aspect="auto" if not images_of_pixels else "equal",
                origin="upper" if images_of_pixels else "lower", interpolation="nearest",
            )  # fmt: skip
        for axis in line:
            axis.set(xticks=[], yticks=[], frame_on=False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    if axes_names is not None:
        corner, (horizontal, vertical) = axes[-1, 0], axes_names
        corner.set(xticks=sorted({0, width - 1}), yticks=sorted({0, height - 1}), xlabel=horizontal, frame_on=True)
        corner.text(-0.1, 0.5, vertical, transform=corner.transAxes, rotation=90, ha="right", va="center")
        corner.yaxis.set_label_coords(-0.6, 0.5)
    _save(figure, path)


def scatter(path: Path, points: Tensor, labels: Sequence[str], order: Sequence[str], axes: tuple[str, str]) -> None:
    """Draw a scatter plot with one colour per label.

    Args:
        path: PNG file to write.
        points: coordinates of the points.
        labels: label of each point.
        order: all labels, in the order of the legend.
        axes: names of the horizontal and the vertical axis. If the second name is empty, the second coordinate is not drawn:
            the points of each label have a line of their own.

    Shape:
        points [n, 2].
    """
    check_finite(path, {"points": points})
    figure = Figure(figsize=(6, 5), layout="constrained")
    axis = figure.subplots()
    for number, label in enumerate(order):
        x, y = points[[point_label == label for point_label in labels]].T.cpu().numpy()
        axis.scatter(
            x, y if axes[1] else [number] * len(x), s=8, alpha=0.7, label=label, color=COLOURS(number % COLOURS.N), linewidths=0
        )
    axis.set(xlabel=axes[0], ylabel=axes[1])
    if not axes[1]:
        axis.set_yticks(range(len(order)), order)
    axis.legend(markerscale=2, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _save(figure, path)


def check_finite(path: Path, values: Mapping[str, Tensor]) -> None:
    """Check that the values of a picture are finite.

    Args:
        path: file of the picture, for the error message.
        values: dictionary from the name of each panel to its array.

    Raises:
        InputError: an array contains NaN or infinite values.
    """
    for name, array in values.items():
        if not array.isfinite().all():
            raise InputError(path, f"the picture cannot be drawn, since '{name.strip()}' contains NaN or infinite values")


def _save(figure: Figure, path: Path, cut: Literal["tight"] | None = "tight") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=90, bbox_inches=cut)


def controls(path: Path, title: str, curves: Mapping[str, Tensor], seconds: float) -> None:
    """Draw curves of a DDSP synthesizer over time, such as pitch, loudness and amplitudes, one panel per curve.

    Args:
        path: PNG file to write.
        title: title of the picture.
        curves: dictionary from the label of each panel to its curve. For each point in time, a curve has one value or K values.
            A curve with K values is drawn as an image: the colours show dB, and the vertical axis shows the index from 1 to K.
        seconds: time between two points, in seconds.

    Shape:
        curves [points] or [points, K] each.
    """
    check_finite(path, curves)
    figure = Figure(figsize=(10, 1.9 * len(curves)), layout="constrained")
    axes = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, values) in zip(axes, curves.items(), strict=True):
        end = len(values) * seconds
        array = values.cpu().numpy()
        if values.dim() == 1:
            axis.plot([n * seconds for n in range(len(values))], array, linewidth=1)
        else:
            image = axis.imshow(
                array.T, origin="lower", aspect="auto", vmin=FLOOR_DB, vmax=0, interpolation="nearest",
                extent=(0, end, 0.5, array.shape[1] + 0.5), cmap="magma",
            )  # fmt: skip
            figure.colorbar(image, ax=axis, label="dB")
        axis.set(ylabel=name, xlim=(0, end))
    axes[-1].set_xlabel("time (s)")
    figure.suptitle(title)
    _save(figure, path)


def code_sizes(path: Path, table: Sequence[Mapping[str, Any]], shown: Mapping[int, Path]) -> None:
    """Draw the reconstruction error of autoencoders over the code size (number of values in the code).

    Below this plot, the picture shows reconstructions by one autoencoder of each code size.

    Args:
        path: PNG file to write.
        table: one dictionary for each code size: `code size`, `error`, `deviation` (standard deviation of the error over runs;
            None: no error bar) and `PCA` (error of PCA).
        shown: dictionary from each code size to the path of a picture with reconstructions. Missing files are skipped.
    """
    strips = {size: imread(picture) for size, picture in shown.items() if picture.is_file()}
    heights = [3.2, *(8 * strip.shape[0] / strip.shape[1] for strip in strips.values())]
    figure = Figure(figsize=(8, sum(heights) + 0.4 * len(heights)), layout="constrained")
    curve, *others = figure.subplots(1 + len(strips), 1, height_ratios=heights, squeeze=False)[:, 0]
    sizes = [row["code size"] for row in table]
    deviations = [row["deviation"] or 0.0 for row in table]
    bars = {"yerr": deviations, "label": "autoencoder: mean and standard deviation over runs"} if any(deviations) else {}
    curve.errorbar(sizes, [row["error"] for row in table], **{"label": "autoencoder"} | bars, marker="o", capsize=3)
    curve.plot(sizes, [row["PCA"] for row in table], marker="s", label="PCA")
    curve.set_xscale("log", base=2)
    curve.set_xticks(sizes, [f"{size:g}" for size in sizes])
    curve.set(xlabel="code size (number of values)", ylabel="squared error on test data", ylim=(0, None))
    curve.legend(frameon=False)
    for axis, (size, strip) in zip(others, strips.items(), strict=True):
        axis.imshow(strip)
        axis.set_axis_off()
        axis.set_title(f"code size {size}", fontsize=10)
    _save(figure, path)


def anomalies(
    path: Path,
    title: str,
    scores: Tensor,
    seconds_per_frame: float,
    flagged: Sequence[tuple[float, float, float]],
    known: Sequence[tuple[float, float, str]],
) -> None:
    """Draw anomaly scores over time, and mark detected and known anomalies.

    Args:
        path: PNG file to write.
        title: title of the picture.
        scores: anomaly score of each frame; a frame with a score above 1 is anomalous.
        seconds_per_frame: time between two frames, in seconds.
        flagged: start in seconds, stop in seconds and score of each detected anomaly.
        known: start in seconds, stop in seconds and kind of each known anomaly.

    Shape:
        scores [frames].
    """
    check_finite(path, {"scores": scores})
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    axis = figure.subplots()
    times = [frame * seconds_per_frame for frame in range(len(scores))]
    axis.plot(times, scores.cpu().numpy(), linewidth=1, label="anomaly score")
    axis.axhline(1, color="black", linewidth=0.8, linestyle="--", label="limit")
    for number, (start, stop, _) in enumerate(flagged):
        axis.axvspan(start, stop, color="tab:red", alpha=0.2, linewidth=0, label=None if number else "flagged")
    for number, (start, stop, kind) in enumerate(known):
        axis.axvspan(start, stop, ymin=0.96, color="tab:green", linewidth=0, label=None if number else "known")
        axis.annotate(kind, ((start + stop) / 2, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8)
    axis.set(xlabel="time (s)", ylabel="anomaly score (limit: 1)", ylim=(0, None), xlim=(0, times[-1] if times[-1] else 1))
    axis.set_title(title, pad=18, fontsize=10)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _save(figure, path)


def strip(path: Path, waveform: Tensor, stft: STFT, loudest: float, columns: int, rows: int) -> None:
    """Draw the spectrogram of a whole waveform without axes, as the background of an audio player.

    Args:
        path: PNG file to write.
        waveform: waveform; the mean over the channels is drawn.
        stft: STFT with which the spectrogram is computed.
        loudest: magnitude that gets the brightest colour.
        columns: largest width of the picture, in pixels. If a pixel covers several bins, it shows the loudest bin.
        rows: largest height of the picture, in pixels.

    Shape:
        waveform [channels, samples].
    """
    check_finite(path, {"waveform": waveform})
    magnitudes = stft(waveform.mean(dim=0)).abs()[None]
    size = min(rows, magnitudes.shape[1]), min(columns, magnitudes.shape[2])
    pooled = functional.adaptive_max_pool2d(magnitudes, size)[0]
    decibels = 20 * (pooled / (loudest or 1.0)).clamp(min=1e-9).log10()
    shades = ((1 - decibels / FLOOR_DB).clamp(0, 1) * (SHADES - 1)).round().byte().flipud()  # high frequencies on top
    image = Image.fromarray(shades.cpu().numpy())
    image.putpalette((colormaps["magma"].resampled(SHADES)(range(SHADES))[:, :3] * 255).round().astype("uint8").tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, compress_level=3)
