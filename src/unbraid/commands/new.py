"""Command `new`: create a small project, which is a plugin of unbraid with a network, configs and tests.

The files of the project are copies of the files in `templates/project`. In the paths and contents of the copies,
`my-experiments` is replaced by the name of the project, and `my_experiments` by the name of its Python package. The templates
have the ending `.template`, so linters ignore the templates, and Python cannot import them.
"""

import keyword
import os
import re
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from unbraid.commands.keys import check_new, require
from unbraid.runs import plugins
from unbraid.runs.config import check
from unbraid.runs.errors import InputError
from unbraid.runs.files import relative_path
from unbraid.runs.text import echo

TEMPLATES = Path(__file__).parent / "templates" / "project"
ENDING = ".template"
CREATE = "Create the parent folder first"
HIDDEN = frozenset({"gitignore"})  # templates whose files begin with a dot
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*")
PLACEHOLDER = re.compile("my[-_]experiments")
OF_THE_PROJECT = frozenset({"conf", "src", "tests", "train"})  # names of other files of the project


@dataclass
class NewConfig:
    """Command-line keys of `scripts/new.py`.

    Args:
        output: path of the new folder. The last part of the path is the name of the project.
    """

    output: str | None


def new(config: DictConfig) -> None:
    """Create a project. The folder has a temporary name until all files are written.

    Args:
        config: composed config, see `NewConfig`.

    Raises:
        InputError: the name of the project is invalid or in use, the folder already exists, or the folder cannot be written.
    """
    check(config, NewConfig)
    require(config, output="FOLDER")
    output = Path(os.path.abspath(Path(config.output).expanduser()))  # noqa: PTH100  # without following links
    package = package_name(output.name)
    check_new("output", output)
    if not output.parent.is_dir():
        raise InputError(f"output={config.output}", "the parent folder does not exist", found=output.parent, hint=CREATE)
    try:
        with TemporaryDirectory(prefix=".partial-", dir=output.parent) as partial:
            folder = Path(partial) / output.name
            write_project(folder, package)
            folder.rename(output)
    except OSError as error:
        raise InputError(f"output={config.output}", f"the project cannot be written ({error.strerror})") from error
    echo(f"created  {relative_path(output)}: README.md lists its commands; begin with make install and make test")


def package_name(name: str) -> str:
    """Return the name of the Python package of a project, such as `my_experiments` for `my-experiments`.

    Args:
        name: name of the project.

    Returns:
        The name of the package.

    Raises:
        InputError: the name is invalid, is already used by Python, or is the name of an installed package.
    """
    if NAME.fullmatch(name) is None:
        expected = "letters and digits that begin with a letter, with single - or _ between them, such as my-experiments"
        raise InputError(
            "output", "the last part of this path is not a valid project name", found=repr(name), expected=expected
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package.lower() in OF_THE_PROJECT | plugins.STARTUP:
        raise InputError(
            "output", "Python or a folder of the project already uses this name", found=name, expected="another name"
        )
    plugins.checked(package.lower(), "output")
    if _is_installed(name, package):
        raise InputError("output", "a package with this name is already installed", found=name, expected="another name")
    return package


def _is_installed(name: str, package: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return find_spec(package) is not None
    return True


def write_project(folder: Path, package: str) -> None:
    """Write the files of a project.

    Args:
        folder: path of the new folder. The last part of the path is the name of the project.
        package: name of the Python package of the project.
    """
    names = {"my-experiments": folder.name, "my_experiments": package}
    for template in sorted(TEMPLATES.rglob(f"*{ENDING}")):
        name = str(template.relative_to(TEMPLATES)).removesuffix(ENDING)
        path = folder / _filled(f".{name}" if name in HIDDEN else name, names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(template.read_text(encoding="utf-8"), names), encoding="utf-8")


def _filled(text: str, names: dict[str, str]) -> str:
    """Replace the placeholders `my-experiments` and `my_experiments` in a text by the values in `names`."""
    return PLACEHOLDER.sub(lambda match: names[match[0]], text)
