"""Create a small project of your own: a plugin with a network, configs and tests.

Example: `python scripts/new.py output=my-experiments`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("new")
def main(config: DictConfig) -> None:
    """Create the project with the config of the command line. The function is in `unbraid.commands.new`."""
    from unbraid.commands.new import new

    new(config)


if __name__ == "__main__":
    main()
