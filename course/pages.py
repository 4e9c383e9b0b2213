"""Convert executed lessons to HTML that needs no other server: formulas as MathML, figures and sounds inside the page."""

import re
from copy import deepcopy

from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\\w$])\$([^$\n]+?)\$(?!\w)", re.DOTALL)
STYLE = """
:root { color-scheme: light dark; --text: #1d2430; --ground: #fff; --box: #f3f5f8; --mark: #2f5fa5; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e6ec; --ground: #1e2129; --box: #2a2f3a; --mark: #8ab4f8; } }
body { color: var(--text); background: var(--ground); font: 17px/1.6 sans-serif }
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
pre { font-size: 14px; line-height: 1.4; white-space: pre-wrap; margin: 0 } a { color: var(--mark) }
.input_area, .highlight { background: var(--box); border-radius: 6px }
.input_area { margin-top: 1rem; padding: .6rem .8rem }
.output_area { padding: .4rem .8rem } img { max-width: 100%; height: auto } audio { width: 100%; max-width: 24rem }
table { border-collapse: collapse } th, td { border-bottom: 1px solid #8886; padding: .2rem .8rem; text-align: left }
math[display="block"] { margin: 1rem 0 } .anchor-link { display: none }
"""


def formulas(text: str) -> str:
    """Replace the formulas of a text by MathML.

    Args:
        text: text with LaTeX formulas in `$…$` and `$$…$$`.

    Returns:
        The text with `<math>` elements, which browsers draw without a script.
    """
    return FORMULA.sub(lambda found: convert(found[1] or found[2], display="block" if found[1] else "inline"), text)


def fragment(notebook: NotebookNode) -> str:
    """Convert a notebook to the HTML of its cells, without head and style.

    Args:
        notebook: executed or unexecuted notebook.

    Returns:
        HTML of the text, the code and the outputs.
    """
    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = formulas(cell.source)
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    return exporter.from_notebook_node(notebook)[0]


def page(notebook: NotebookNode) -> str:
    """Convert a notebook to a complete HTML page, whose colours follow the settings of the browser.

    Args:
        notebook: executed or unexecuted notebook. Its first cell begins with the title.

    Returns:
        HTML of the page.
    """
    title = notebook.cells[0].source.split("\n")[0].lstrip("# ")
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    style = f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n{STYLE}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f"<!doctype html><html lang=en><head>{head}<style>{style}</style></head><body>{fragment(notebook)}</body></html>\n"
