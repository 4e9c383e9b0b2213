"""Test the pages of the lessons in the web site: formulas, cells and outputs."""

import importlib.util
import sys
from base64 import b64encode

import pytest

from tests.conftest import PROJECT


@pytest.fixture(scope="module")
def hook():
    """Return the hook of MkDocs in scripts/docs/lessons.py."""
    for name in ("jupytext", "mkdocs", "nbconvert"):
        pytest.importorskip(name)
    spec = importlib.util.spec_from_file_location("lessons_hook", PROJECT / "scripts/docs/lessons.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(PROJECT / "course"))


def test_outputs_become_files_and_html(hook):
    new = pytest.importorskip("nbformat").v4
    picture = new.new_output("display_data", {"image/png": b64encode(b"PNG").decode(), "text/plain": "<Figure>"})
    player = new.new_output("display_data", {"text/html": "\n  <audio controls>\n  </audio>\n"})
    outputs = [new.new_output("stream", name="stdout", text="a < b\n"), new.new_output("stream", name="stderr", text="warning")]
    code = new.new_code_cell("%%bash\nunbraid train", outputs=[*outputs, picture, player])
    text, figures = hook.markdown(new.new_notebook(cells=[new.new_markdown_cell("# Title\n$x^2$"), code]), "lesson")
    assert figures == {"lesson_1.png": b"PNG"}
    assert "```sh\nunbraid train\n```" in text and "a &lt; b" in text and "warning" not in text
    assert "<div><audio controls></audio></div>" in text and 'src="lesson_1.png"' in text


def test_formulas_become_mathml(hook):
    pytest.importorskip("latex2mathml")
    assert hook.formulas("cost $x^2$ and $5 or $6").count("<math") == 1
    assert 'display="block"' in hook.formulas("$$ a\n= b $$") and hook.formulas("no formula") == "no formula"


def test_unexecuted_lessons_have_no_outputs(hook, tmp_path, monkeypatch):
    monkeypatch.setattr(hook, "EXECUTED", tmp_path)
    for lesson in hook.lessons():
        assert not any(cell.get("outputs") for cell in hook.notebook(lesson).cells)


def test_titles_link_to_lessons(hook):
    class Page:
        file = type("file", (), {"src_uri": hook.PAGE})

    text = hook.on_page_markdown("| 1 | A title | b |\n| 99 | No lesson | c |", Page)
    assert text.startswith("| 1 | [A title](course/lesson_01") and "| 99 | No lesson |" in text
