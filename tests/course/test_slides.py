"""Test the slide decks: division into slides, and a deck in a browser."""

import importlib.util
import sys

import pytest

from tests.conftest import PROJECT, wait_for
from tests.reports.conftest import watched as watched

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbconvert")
REVEAL = PROJECT / "outputs/npm/node_modules/reveal.js"


@pytest.fixture(scope="module")
def decks():
    """Return the module course/slides.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT / "course")
        spec = importlib.util.spec_from_file_location("slides", PROJECT / "course/slides.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
        sys.modules.pop("pages", None)


@pytest.fixture
def notebook():
    """Return a notebook with three headings, a picture and a sound."""
    v4 = nbformat.v4
    picture = '<svg width="9" height="9"></svg>'
    sound = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA=="
    player = f'<audio controls src="data:audio/wav;base64,{sound}"></audio>'
    shown = [v4.new_output("display_data", {"text/html": html}) for html in (picture, player)]
    return v4.new_notebook(
        cells=[
            v4.new_markdown_cell("# Lesson 1: title\n\n- a goal"),
            v4.new_code_cell("import torch"),
            v4.new_code_cell("print(1)", outputs=[v4.new_output("stream", text="1")]),
            v4.new_markdown_cell("## First part\n\ntext\n\n## Second part\n\n### not a slide"),
            v4.new_code_cell("show()", outputs=shown),
            v4.new_markdown_cell("more text"),
        ]
    )


def test_headings_begin_slides(decks, notebook):
    found = [[[cell.source for cell in cells] for cells in stack] for stack in decks.slides(notebook)]
    assert found == [
        [["# Lesson 1: title\n\n- a goal"], ["import torch", "print(1)"]],
        [["## First part\n\ntext\n\n"]],
        [["## Second part\n\n### not a slide"], ["show()"], ["more text"]],
    ]


def test_missing_files_are_one_error(decks, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["slides.py", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as error:
        decks.main()
    assert str(error.value).startswith(f"error: {tmp_path}: ")
    (tmp_path / "lesson_01_a.ipynb").write_text("{}")
    monkeypatch.setattr(decks, "REVEAL", tmp_path)
    with pytest.raises(SystemExit) as error:
        decks.main()
    assert "reveal.js is missing" in str(error.value)


def test_deck_opens_from_the_disk(decks, notebook, watched, tmp_path):
    if not REVEAL.is_dir():
        pytest.skip("reveal.js is not installed: make slides")
    file = tmp_path / "lesson_01_a.ipynb"
    nbformat.write(notebook, file)
    (deck,) = decks.write([file], tmp_path / "slides", REVEAL)
    page = watched.open(deck)
    wait_for(page, "Reveal.isReady()")
    assert page.evaluate("Reveal.getTotalSlides()") == 6
    page.keyboard.press("ArrowRight")
    assert page.locator("section.present h2").inner_text().startswith("First part")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    wait_for(page, "document.querySelector('section.present section.present audio').readyState > 0")
    assert page.locator("section.present section.present svg").is_visible()
