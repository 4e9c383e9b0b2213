"""Program `unbraid`, which runs one of its commands (verbs), such as `unbraid separate`."""

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

    Each verb is the name of a yaml file directly in `conf/`, of a module in `unbraid.commands`, and of a function in this
    module.
    """
    return [TRAIN, *sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != TRAIN)]


def main() -> None:
    """Run the verb that is the first word of the command line. The remaining words are the overrides of the verb."""
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


if __name__ == "__main__":
    main()
