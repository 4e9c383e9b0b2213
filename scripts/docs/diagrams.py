"""Draw the two diagrams of the docs: the data flow of a training and the imports between the packages of unbraid.

Run `python scripts/docs/diagrams.py` after a package has been added or an import between packages has changed. A test compares
docs/images/*.svg with the source code.
"""

import ast
import textwrap
from html import escape
from pathlib import Path

PROJECT = Path(__file__).parents[2]
FLOW = [
    ("conf/", "one yaml per choice"),
    ("train.py", "checks and builds"),
    ("data", "songs to batches"),
    ("separator", "network and STFT"),
    ("task", "loss, optimizer"),
    ("Trainer.fit", "epochs, checkpoints"),
    ("evaluation", "scores, audio"),
    ("run folder", "checkpoints, scores"),
]
STYLE = """<style>
rect { fill: #e8eef7; stroke: #33557f; } text { font: 14px sans-serif; fill: #102030; text-anchor: middle; }
.small { font-size: 12px; fill: #44566b; } .left { text-anchor: start; } path { stroke: #33557f; fill: none; }
.arrow { fill: #33557f; stroke: none; }
</style>"""


def svg(width: int, height: int, title: str, body: list[str]) -> str:
    """Return an SVG document with a title, a white background and the given elements."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"><title>{escape(title)}</title>'
    return "\n".join(
        [head, STYLE, f'<path d="M0 0h{width}v{height}h-{width}z" style="fill:#fff;stroke:none"/>', *body, "</svg>\n"]
    )


def box(x: int, y: int, width: int, name: str, note: str = "") -> str:
    """Return a box with a name and an optional note below it."""
    middle = x + width // 2
    small = f'<text class="small" x="{middle}" y="{y + 38}">{escape(note)}</text>' if note else ""
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="48" rx="6"/>'
    return f'{frame}<text x="{middle}" y="{y + 20}">{escape(name)}</text>{small}'


def data_flow() -> str:
    """Return the diagram of a training, from the config to the run folder, in two rows of four boxes."""
    body = []
    for number, (name, note) in enumerate(FLOW):
        row, column = divmod(number, 4)
        x, y = 10 + 190 * column, 10 + 80 * row
        body.append(box(x, y, 150, name, note))
        if column < 3:
            body.append(f'<path d="M{x + 150} {y + 24}h32"/><path class="arrow" d="M{x + 190} {y + 24}l-9 -5v10z"/>')
        elif row == 0:
            body.append('<path d="M655 58v16H85v8"/><path class="arrow" d="M85 90l-5 -9h10z"/>')
    return svg(740, 150, "Data flow of a training", body)


def imports(source: Path) -> dict[str, set[str]]:
    """Return the packages that each package of unbraid imports.

    Args:
        source: folder of the package, `src/unbraid`.

    Returns:
        Names of the imported packages by the name of the importing package, without `runs`, which all packages import.
    """
    names: dict[str, set[str]] = {
        folder.name: set() for folder in sorted(source.iterdir()) if (folder / "__init__.py").is_file()
    }
    for package, imported in names.items():
        for file in (source / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    modules = [f"{node.module}.{alias.name}" for alias in node.names]
                imported |= {module.split(".")[1] for module in modules if module.startswith("unbraid.")}
        imported -= {package, "runs"}
    return names


def order(imported: dict[str, set[str]]) -> list[str]:
    """Return the packages in an order in which each one imports only from packages after it."""
    names: list[str] = []
    while len(names) < len(imported):
        names += sorted(name for name, below in imported.items() if name not in names and below <= {*names})
    return names[::-1]


def architecture(source: Path) -> str:
    """Return the diagram of the packages: one row each, with the first line of its docstring and the packages it imports."""
    imported = imports(source)
    body, y = [], 10
    for name in order(imported):
        summary = (
            (ast.get_docstring(ast.parse((source / name / "__init__.py").read_text())) or "").split("\n")[0].replace("`", "")
        )
        below = ", ".join(other for other in order(imported) if other in imported[name])
        body.append(box(10, y, 120, name))
        lines = [("left", line) for line in textwrap.wrap(summary, 80)]
        lines += [
            ("small left", line) for line in textwrap.wrap(f"imports {below}" if below else "imports no other package", 92)
        ]
        for number, (style, line) in enumerate(lines):
            body.append(f'<text class="{style}" x="145" y="{y + 20 + 18 * number}">{escape(line)}</text>')
        y += max(60, 24 + 18 * len(lines))
    return svg(740, y + 10, "Packages of unbraid and their imports", body)


def diagrams() -> dict[str, str]:
    """Return the text of each diagram by its file name in docs/images."""
    return {"data_flow.svg": data_flow(), "architecture.svg": architecture(PROJECT / "src" / "unbraid")}


if __name__ == "__main__":
    for name, text in diagrams().items():
        (PROJECT / "docs" / "images" / name).write_text(text)
