"""Write a slide deck for each executed lesson, as HTML that opens from the disk.

python course/slides.py     decks in outputs/course/slides, from the notebooks of `make course`

Each heading begins a slide. The code cells below it follow as vertical slides. The decks use reveal.js, which `make slides`
downloads with npm.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pages
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from pygments.formatters import HtmlFormatter

OUTPUT = Path("outputs/course")
REVEAL = Path("outputs/npm/node_modules/reveal.js")
FILES = ("dist/reveal.css", "dist/reveal.js", "LICENSE")
HEADING = re.compile(r"^(?=#{1,2} )", re.MULTILINE)
STYLE = """
:root { color-scheme: light dark; --text: #1d2430; --ground: #fff; --box: #f3f5f8; --mark: #2f5fa5; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e6ec; --ground: #1e2129; --box: #2a2f3a; --mark: #8ab4f8; } }
body { margin: 0 } .reveal-viewport { background: var(--ground); color: var(--text) }
.reveal { font: 24px/1.45 sans-serif; color: var(--text) } .reveal a { color: var(--mark) }
.reveal .slides { text-align: left } .reveal .slides section { max-height: 100%; overflow-y: auto; box-sizing: border-box }
.reveal h1 { font-size: 2em } .reveal h2 { font-size: 1.5em } .reveal h1, .reveal h2 { margin: 0 0 .6em; line-height: 1.2 }
.reveal p, .reveal ul, .reveal table { margin: 0 0 .5em } .reveal ul { padding-left: 1.2em }
.reveal pre { font-size: 15px; line-height: 1.4; white-space: pre-wrap; margin: 0; width: auto; box-shadow: none }
.reveal .highlight, .reveal .input_area { background: var(--box); border-radius: 6px } .input_area { padding: .5rem .8rem }
.reveal .output_area { padding: .3rem .8rem } .reveal img { max-width: 100%; max-height: 420px }
.reveal table { border-collapse: collapse; font-size: .85em } th, td { border-bottom: 1px solid #8886; padding: .2rem .8rem }
math[display="block"] { margin: .6rem 0 } .anchor-link { display: none } .reveal code { font-size: .9em }
.reveal .progress { color: var(--mark) } .reveal .slide-number { background: none; color: var(--text) }
"""


def slides(notebook: NotebookNode) -> Iterator[list[list[NotebookNode]]]:
    """Divide a notebook into slides: one for each heading, with vertical slides for its text and for its code cells.

    A code cell without an output shares the vertical slide of the next cell.

    Args:
        notebook: notebook whose first cell begins with a heading.

    Yields:
        The vertical slides of a heading, as lists of cells.
    """
    stack: list[list[NotebookNode]] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for part in filter(str.strip, HEADING.split(cell.source)):
                if HEADING.match(part) and stack:
                    yield stack
                    stack = []
                stack.append([new_markdown_cell(part)])
        elif stack and stack[-1][-1].cell_type == "code" and not stack[-1][-1].outputs:
            stack[-1].append(cell)
        else:
            stack.append([cell])
    yield stack


def deck(notebook: NotebookNode) -> str:
    """Convert a notebook to a slide deck, whose files of reveal.js are in the folder `reveal` next to it.

    Args:
        notebook: executed notebook. Its first cell begins with the title.

    Returns:
        HTML of the deck.
    """
    title = notebook.cells[0].source.split("\n")[0].lstrip("# ")
    body = "".join(
        f"<section>{''.join(f'<section>{pages.fragment(new_notebook(cells=cells))}</section>' for cells in stack)}</section>\n"
        for stack in slides(notebook)
    )
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    style = f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n{STYLE}"
    options = "hash: true, center: false, width: 1100, height: 720, transition: 'none', slideNumber: 'c/t', controls: false"
    head = f'<meta charset="utf-8"><title>{title}</title><link rel="stylesheet" href="reveal/reveal.css">'
    script = f'<script src="reveal/reveal.js"></script><script>Reveal.initialize({{ {options} }});</script>'
    return (
        f"<!doctype html><html lang=en><head>{head}<style>{style}</style></head><body>"
        f'<div class="reveal"><div class="slides">\n{body}</div></div>{script}</body></html>\n'
    )


def write(notebooks: list[Path], output: Path, reveal: Path = REVEAL) -> list[Path]:
    """Write the decks of executed lessons, and copy reveal.js next to them.

    Args:
        notebooks: executed lessons.
        output: folder of the decks.
        reveal: folder of the package reveal.js.

    Returns:
        The decks.
    """
    (output / "reveal").mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(reveal / name, output / "reveal")
    decks = []
    for notebook in notebooks:
        decks.append(output / f"{notebook.stem}.html")
        decks[-1].write_text(deck(nbformat.read(notebook, as_version=4)))
    return decks


def main() -> None:
    """Write the decks of all executed lessons, and print their paths."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the executed lessons")
    options = parser.parse_args()
    notebooks = sorted(options.output.glob("lesson_*.ipynb"))
    if not notebooks:
        sys.exit(f"error: {options.output}: no executed lessons. Type make course first.")
    if not (REVEAL / FILES[0]).is_file():
        sys.exit(f"error: {REVEAL}: reveal.js is missing. Type make slides, which downloads it.")
    for path in write(notebooks, options.output / "slides"):
        print(path)


if __name__ == "__main__":
    main()
