"""Write web pages that a browser opens as local files, without a server and without internet access."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

TEMPLATES = Path(__file__).parent / "templates"
# The pages load only files of their folder, and run no inline scripts.
POLICY = "default-src 'none'; script-src 'self'; img-src 'self' data:; media-src 'self'; base-uri 'none'; form-action 'none'; "
STYLE = "style-src 'self'"  # the end of the policy of a page without inline styles


def environment() -> Environment:
    """Return the environment that renders the templates of the pages. Values in HTML are escaped."""
    return Environment(loader=PackageLoader("unbraid.reports"), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def copy_static(names: Iterable[str], folder: Path) -> None:
    """Copy scripts and style sheets of the pages to a folder.

    Args:
        names: names of the files.
        folder: folder of the pages.
    """
    for name in names:
        shutil.copyfile(TEMPLATES / name, folder / name)


def write_script(path: Path, name: str, value: Any) -> None:
    """Write the data of a web page as a JavaScript file, which defines a constant with the given name.

    A browser does not allow a local page to load a JSON file, so the data are written to a script. In the script, the data are
    a JSON text and not a JavaScript object, because the key `__proto__` has a special meaning in a JavaScript object.

    Args:
        path: path of the script.
        name: name of the constant.
        value: data of the page. NaN and infinity raise `ValueError`.
    """
    text = json.dumps(json.dumps(value, allow_nan=False))
    path.write_text(f"const {name} = JSON.parse({text});\n", encoding="utf-8")
