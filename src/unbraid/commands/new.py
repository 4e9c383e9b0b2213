"""Command `new`: create a small project of the user, which is a plugin with a network, configs and tests.

The files are copied from `templates/project`. The names `my-experiments` and `my_experiments` in their paths and texts are
replaced by the names of the project and of its package. The ending `.template` keeps linters and the search for modules away.
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
HIDDEN = frozenset({"gitignore"})  # templates whose files begin with a dot
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*")
PLACEHOLDER = re.compile("my[-_]experiments")
OF_THE_PROJECT = frozenset({"conf", "src", "tests", "train"})  # names of other files of the project


@dataclass
class NewConfig:
    """Command-line keys of `scripts/new.py`.

    Args:
        output: new folder. Its last part is the name of the project.
    """

    output: str | None


def new(config: DictConfig) -> None:
    """Create a project under a temporary name, and rename the complete folder.

    Args:
        config: composed config, see `NewConfig`.

    Raises:
        InputError: the name is invalid or in use, the folder exists, or it cannot be written.
    """
    check(config, NewConfig)
    require(config, output="FOLDER")
    output = Path(os.path.abspath(Path(config.output).expanduser()))  # noqa: PTH100  # without following links
    package = package_name(output.name)
    check_new("output", output)
    if not output.parent.is_dir():
        problem = f"the parent folder {output.parent} does not exist"
        raise InputError(f"output={config.output}", problem, hint="Create this folder, or choose another output")
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
        InputError: the name is invalid, or an installed package has the same name.
    """
    if NAME.fullmatch(name) is None:
        expected = "words of letters and digits, separated by '-' or '_', such as my-experiments"
        raise InputError(
            "output", "the last part of the path is not a valid name of a project", found=repr(name), expected=expected
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package.lower() in OF_THE_PROJECT | plugins.STARTUP:
        raise InputError("output", "this name of a project is reserved", found=name, expected="another name")
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
        folder: new folder of the project, whose last part is its name.
        package: name of its Python package.
    """
    names = {"my-experiments": folder.name, "my_experiments": package}
    for template in sorted(TEMPLATES.rglob(f"*{ENDING}")):
        name = str(template.relative_to(TEMPLATES)).removesuffix(ENDING)
        path = folder / _filled(f".{name}" if name in HIDDEN else name, names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(template.read_text(encoding="utf-8"), names), encoding="utf-8")


def _filled(text: str, names: dict[str, str]) -> str:
    """Replace the names of the templates by those of the project."""
    return PLACEHOLDER.sub(lambda match: names[match[0]], text)
