"""Make the help text that `unbraid COMMAND --help` prints, from the comments in the yaml file of the command.

The yaml file is directly in `conf` and has the name of the command, such as `conf/separate.yaml`.

The first comment line of the yaml file describes the command. All comment lines that begin with
`python` or `unbraid` are examples. The
comment behind a key explains the key. The value of the key is the default.
"""

import re
import textwrap
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from unbraid.commands.choices import OWN, choices, group_names
from unbraid.commands.overrides import LISTS, POSITIONAL

# The settings of train.py that most people change. A name without a dot is a config group, a key or both.
MAIN_SETTINGS = {
    "model": "network, loss and separator",
    "data": "data set",
    "data.root": "folder of the data set; data=demo needs no folder",
    "targets": "sources to separate, such as all or [vocals,drums]",
    "trainer.max_epochs": "largest number of epochs",
    "trainer.accelerator": "auto, cpu or gpu; trainer=ddp trains on all GPUs of the machine",
    "data.batch_size": "number of chunks in a training step",
    "data.num_workers": "number of processes that load data",
    "optim.optimizer.lr": "learning rate",
    "logger": "csv, tensorboard, wandb or mlflow; several as [csv,wandb]",
    "protocol": "scoring protocol of the test tracks",
    "seed": "random seed of weights, data order and dropout",
    "hydra.run.dir": "run folder",
}
SCRIPTS = {"train": "python train.py", "inspect": "unbraid inspect"}  # all others are in the folder scripts
BASES = frozenset({"base"})  # folders of yaml files that only other yaml files use
KEY = re.compile(r"( *)(\w+):(?: (.*?))?(?: +# (.*))?")
INDENT, WIDTH = 22, 120


def help_text(config_name: str, conf: Path, program: str) -> str:
    """Return the help text of a command.

    Args:
        config_name: name of the main config of the command: a yaml file directly in `conf`, without the suffix.
        conf: folder of the configs.
        program: first words of the command line, such as `unbraid separate` or `separate.py`. The examples in the help text
            begin with `unbraid` if `program` begins with `unbraid`, and otherwise with `python`.

    Returns:
        The help text, with several lines.
    """
    path = conf / f"{config_name}.yaml"
    parts = [summary(path), f"Usage: {usage(config_name)}   (a value with spaces or brackets needs quotes)"]
    if config_name == "train":
        parts += [_section("Settings", _main_settings(conf)), _section("Config groups", groups())]
    else:
        parts.append(_section("Keys and defaults", _keys(path)))
        if "train" in OmegaConf.select(OmegaConf.load(path), "defaults"):
            parts.append("Settings and config groups of training are accepted too, see: python train.py --help")
    parts.append("\n".join(["Examples", *(f"  {example}" for example in examples(path))]))
    parts.append("--cfg job prints the composed config and does not run it. --hydra-help lists the options of Hydra.")
    text = "\n\n".join(parts)
    return re.sub(r"python (?:scripts/)?(\w+)\.py", r"unbraid \1", text) if program.startswith("unbraid ") else text


def summary(path: Path) -> str:
    """Return the description of a command: the first comment line of its yaml file."""
    with path.open() as file:
        return file.readline().removeprefix("# ").strip()


def examples(path: Path) -> list[str]:
    """Return the example commands in the yaml file of a command: the comment lines that begin with `python` or `unbraid`."""
    return re.findall(r"^# ((?:python|unbraid) .*)$", path.read_text(), re.MULTILINE)


def usage(config_name: str) -> str:
    """Return the form of the command line of a command, such as `python scripts/separate.py [RUN] [INPUT …] KEY=VALUE …`.

    Args:
        config_name: name of the main config of the command: a yaml file directly in `conf`, without the suffix.

    Returns:
        The form. In square brackets are the words that need no key.
    """
    script = SCRIPTS.get(config_name, f"python scripts/{config_name}.py")
    words = [f"[{key.upper()}{' …' if key in LISTS else ''}]" for key in POSITIONAL.get(config_name, ())]
    return " ".join([script, *words, "KEY=VALUE …"])


def groups() -> dict[str, str]:
    """Return a dictionary from config group to a text that lists the choices of the group, separated by commas.

    A choice of a plugin is followed by the name of the plugin in brackets.
    """
    names = [name for name in group_names() if name not in BASES]
    listed = {name: choices(name).items() for name in names}
    return {
        name: ", ".join(choice if origin == OWN else f"{choice} ({origin})" for choice, origin in origins)
        for name, origins in listed.items()
        if origins
    }


def _main_settings(conf: Path) -> dict[str, str]:
    with hydra.initialize_config_dir(str(conf), version_base="1.3"):
        config = hydra.compose("train", return_hydra_config=True)
    return {key: f"{meaning} ({_default(config, key)})" for key, meaning in MAIN_SETTINGS.items()}


def _default(config: DictConfig, key: str) -> str:
    choices = config.hydra.runtime.choices
    if key in choices:
        return str(choices[key])
    if key.startswith("hydra."):
        return "outputs/DATE/TIME-NAME"
    if OmegaConf.is_missing(OmegaConf.select(config, key.rpartition(".")[0]), key.rpartition(".")[2]):
        return "required"
    value = OmegaConf.select(config, key)
    return ", ".join(map(str, value)) if OmegaConf.is_dict(value) else str(value)


def _keys(path: Path) -> dict[str, str]:
    """Return the explanation of each key in a yaml file: the comment behind the key, and the default value of the key.

    Keys without a comment and keys in the `hydra:` block are left out.
    """
    keys: dict[str, str] = {}
    parent = ""
    for line in path.read_text().partition("\nhydra:")[0].splitlines():
        if (match := KEY.fullmatch(line)) is None:
            continue
        indent, name, default, meaning = match.groups()
        parent = parent if indent else name
        if meaning:
            keys[f"{parent}.{name}" if indent else name] = f"{meaning} ({default})"
    return keys


def _section(title: str, rows: dict[str, str]) -> str:
    lines = [
        textwrap.fill(text, WIDTH, initial_indent=f"  {key:<{INDENT}} ", subsequent_indent=" " * (INDENT + 3))
        for key, text in rows.items()
    ]
    return "\n".join([title, *lines])
