"""Add the lessons of the course to the web site, as a hook of MkDocs.

A lesson is shown with its figures and sounds if `make course` has executed it, and without outputs otherwise.
"""

import re
import sys
from base64 import b64decode
from html import escape
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).resolve().parents[2]
PAGE = "tutorials/course.md"
FOLDER = "tutorials/course"
EXECUTED = PROJECT / "outputs" / "course"
TEXT = "font-size: .68rem; line-height: 1.4; white-space: pre-wrap"  # of the text that a cell prints
IMAGES = {"image/png": "png", "image/gif": "gif"}

sys.path.insert(0, str(PROJECT / "course"))
from pages import formulas  # noqa: E402  # the module is in the folder that the line above adds


def lessons() -> list[Path]:
    """Return the files of all lessons."""
    return sorted((PROJECT / "course").glob("lesson_*.py"))


def notebook(lesson: Path) -> nbformat.NotebookNode:
    """Return a lesson, with the outputs of its last execution if its code has not changed since."""
    written = jupytext.read(lesson)
    path = EXECUTED / f"{lesson.stem}.ipynb"
    if path.is_file():
        pairs = [*zip(_code(written), _code(nbformat.read(path, as_version=4)), strict=False)]
        if all(own.source == executed.source for own, executed in pairs):
            for own, executed in pairs:
                own.outputs = executed.outputs
    return written


def _code(lesson: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in lesson.cells if cell.cell_type == "code"]


def on_config(config: Any) -> None:
    """Put the pages of the lessons below the page of the course in the navigation."""
    (tutorials,) = (section["Tutorials"] for section in config.nav if "Tutorials" in section)
    entry = next(entry for entry in tutorials if PAGE in entry.values())
    entry[next(iter(entry))] = [{"Overview": PAGE}, *(f"{FOLDER}/{lesson.stem}.md" for lesson in lessons())]


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each lesson, and a file for each of its figures."""
    for lesson in lessons():
        text, figures = markdown(notebook(lesson), lesson.stem)
        files.append(File.generated(config, f"{FOLDER}/{lesson.stem}.md", content=text))
        for name, content in figures.items():
            files.append(File.generated(config, f"{FOLDER}/{name}", content=content))
    return files


def on_page_markdown(text: str, page: Any, **_: Any) -> str:
    """Link the titles in the table of the page of the course to the lessons."""
    if page.file.src_uri == PAGE:
        for lesson in lessons():
            number = int(lesson.stem.split("_")[1])
            text = re.sub(
                rf"^\| {number} \| (.*?) \|", rf"| {number} | [\1](course/{lesson.stem}.md) |", text, flags=re.MULTILINE
            )
    return text


def markdown(lesson: nbformat.NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """Convert a notebook to Markdown.

    Args:
        lesson: notebook of a lesson.
        name: beginning of the names of the figures.

    Returns:
        Markdown of the page, and the content of each figure by its file name.
    """
    parts, figures = [], dict[str, bytes]()
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            parts.append(formulas(cell.source))
            continue
        shell = cell.source.startswith("%%bash")
        parts.append(f"```{'sh' if shell else 'python'}\n{cell.source.removeprefix('%%bash').strip()}\n```")
        for output in cell.outputs:
            parts.append(_of_output(output, name, figures))
    return "\n\n".join(part for part in parts if part) + "\n", figures


def _of_output(output: Any, name: str, figures: dict[str, bytes]) -> str:
    """Return the HTML of an output of a cell, and add its figure to `figures`."""
    data = output.get("data", {})
    for kind, suffix in IMAGES.items():
        if kind in data:
            file = f"{name}_{len(figures) + 1}.{suffix}"
            figures[file] = b64decode(data[kind])
            return f'<p><img src="{file}" alt="figure drawn by the cell above"></p>'
    if "text/html" in data:
        return f"<div>{''.join(line.strip() for line in data['text/html'].splitlines())}</div>"
    text = output.get("text", data.get("text/plain", "")).strip("\n")
    return "" if not text or output.get("name") == "stderr" else f'<pre style="{TEXT}">{escape(text)}</pre>'
