"""Pictures of a separation: spectrograms side by side."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from unbraid.dsp import STFT

FLOOR_DB = -80


def spectrograms(path: Path, title: str, waveforms: Mapping[str, Tensor], mask: Tensor | None, stft: STFT, rate: int) -> None:
    """Draw one panel per waveform, in dB below the loudest bin of all of them, and the mask after the first.

    Args:
        path: of the PNG.
        title: of the picture.
        waveforms: each [C, T], by the name of its panel; the mean of the channels is drawn.
        mask: [F, frames] in [0, 1], drawn as it is.
        stft: the transform.
        rate: sample rate in Hz.
    """
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
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
