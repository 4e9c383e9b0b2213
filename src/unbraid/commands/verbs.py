"""Program `unbraid`, which runs one of its commands (verbs), such as `unbraid separate`, without the folder `scripts/`."""

import sys
from importlib import import_module
from importlib.metadata import version

from omegaconf import DictConfig

from unbraid.commands.cli import CONF, HELP_FLAGS, hydra_command
from unbraid.commands.help import summary
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.text import echo

TRAIN = "train"


def verbs() -> list[str]:
    """Return the names of all commands (verbs), such as `separate`. `train` is the first.

    For each verb, three things have the name of the verb: a yaml file directly in `conf/`, a module in `unbraid.commands`, and
    a function in the module.
    """
    return [TRAIN, *sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != TRAIN)]


def main() -> None:
    """Run the command that the first word of the command line names. The remaining words are its overrides."""
    known, verb = verbs(), sys.argv[1] if len(sys.argv) > 1 else ""
    if verb == "--version":
        echo(f"unbraid {version('unbraid')}")
        return
    if verb == "" or verb in HELP_FLAGS:
        lines = [f"  {name:<12} {summary(CONF / f'{name}.yaml')}" for name in known]
        echo("Usage: unbraid VERB KEY=VALUE …\n", *lines, "\nunbraid VERB --help lists the keys of a verb.", sep="\n")
        sys.exit(0 if verb else 1)
    if verb not in known:
        echo(f"error: {InputError('unbraid', 'unknown verb', found=verb, hint=unknown(verb, known))}", file=sys.stderr)
        sys.exit(1)
    sys.argv[:2] = [f"unbraid {verb}"]

    def command(config: DictConfig) -> None:
        getattr(import_module(f"unbraid.commands.{verb}"), verb)(config)  # not imported for --help and --cfg

    hydra_command(verb)(command)()
