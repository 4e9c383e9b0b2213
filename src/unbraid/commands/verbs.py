"""`unbraid <verb>`: all scripts as one program, for an installed package, which has no scripts."""

import sys
from importlib import import_module

from omegaconf import DictConfig

from unbraid.commands.cli import CONF, hydra_command
from unbraid.runs.errors import unknown
from unbraid.runs.text import echo

TRAIN = "train"


def verbs() -> dict[str, str]:
    """Each verb and the yaml below `conf/` that it starts from; the function of that name in the module of that name is run."""
    return {TRAIN: "train"} | {path.stem: path.stem for path in sorted(CONF.glob("*.yaml")) if path.stem != "train"}


def main() -> None:
    """The verb comes first, and what the script of that name takes comes after it."""
    known, verb = verbs(), sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in ("", "-h", "--help"):
        echo(f"unbraid VERB …   where VERB is one of {', '.join(known)}\nunbraid VERB --help says what it takes.")
        sys.exit(0 if verb else 1)
    if verb not in known:
        echo(f"error: {verb}: there is no such verb; {unknown(verb, known)}", file=sys.stderr)
        sys.exit(1)
    sys.argv[:2] = [f"unbraid {verb}"]

    def command(config: DictConfig) -> None:
        getattr(import_module(f"unbraid.commands.{verb}"), verb)(config)  # heavy imports stay out of --help and --cfg

    hydra_command(known[verb])(command)()
