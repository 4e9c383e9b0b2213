"""Test the figures and animations of the lessons: labels, shapes, and readable colours on light and dark pages."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from unbraid.course import animations, figures
from unbraid.dsp.stft import STFT


def contrast(colour: str, ground: str) -> float:
    """Return the contrast ratio of two colours, as WCAG defines it."""

    def luminance(name):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(name)]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    low, high = sorted((luminance(colour), luminance(ground)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", ["#ffffff", "#1e2129"])
def test_text_is_readable_on_light_and_dark_pages(ground):
    assert contrast(figures.GREY, ground) > 3.8


def drawn():
    """Return one figure of each kind."""
    wave, stft = torch.randn(4000, generator=torch.Generator().manual_seed(0)), STFT(256, 128)
    return {
        "curves": figures.curves(
            {"a": ([1, 2, 3], [3, 2, 1]), "b": ([1, 2], [2, 2])}, "epoch", "error", log_x=True, log_y=True
        ),
        "points": figures.points(torch.randn(20, 2), [n % 10 for n in range(20)]),
        "histogram": figures.histogram({"a": wave.abs(), "b": 2 * wave.abs()}, "error"),
        "waveforms": figures.waveforms({"a": wave, "b": wave}, 8000),
        "spectrograms": figures.spectrograms({"a": wave, "b": wave[None]}, stft, 8000, top=2000),
    }


@pytest.mark.parametrize("name", ["curves", "points", "histogram", "waveforms", "spectrograms"])
def test_axes_have_labels_and_figures_are_transparent(name, tmp_path):
    figure = drawn()[name]
    assert any(axis.get_xlabel() for axis in figure.axes)
    figure.savefig(tmp_path / "figure.png")
    assert np.asarray(Image.open(tmp_path / "figure.png"))[0, 0, 3] == 0


def test_spectrogram_covers_the_duration_up_to_a_frequency():
    axis = drawn()["spectrograms"].axes[0]
    assert axis.get_ylim() == (0, 2) and axis.images[0].get_extent()[1] == pytest.approx(0.5, abs=0.05)


def test_images_of_a_row_share_the_scale():
    figure = figures.images({"a": torch.arange(8.0).view(2, 2, 2), "b": torch.zeros(1, 2, 2)})
    assert {image.get_clim() for axis in figure.axes for image in axis.images} == {(0.0, 7.0)}
    assert sum(len(axis.images) for axis in figure.axes) == 3


def test_layers_mark_the_code():
    axis = figures.layers([784, 2, 784], {1: "code"}).axes[0]
    assert {"784", "2", "code"} <= {text.get_text() for text in axis.texts}


def test_animation_has_all_frames(tmp_path):
    path = animations.gif(
        tmp_path / "a.gif", [figures.curves({"a": ([1, 2], [1, n])}, "x", "y") for n in range(3)], seconds=0.2
    )
    with Image.open(path) as picture:
        assert picture.n_frames == 3 and picture.info["duration"] == 200 and picture.info["loop"] == 0


def test_each_digit_has_a_colour_of_its_own():
    axis = figures.points(torch.randn(10, 2), range(10)).axes[0]
    assert len({tuple(points.get_facecolor()[0]) for points in axis.collections}) == 10


def test_images_have_the_wanted_size():
    rows = {"a": torch.zeros(2, 3, 3)}
    wide, narrow = figures.images(rows, size=1.5), figures.images(rows, size=0.5)
    assert wide.get_figwidth() - narrow.get_figwidth() == pytest.approx(2.0)
