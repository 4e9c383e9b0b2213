"""Decode a data set into the store and check its files: `python scripts/prepare.py data=musdb data.root=/path/to/musdb18`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("prepare")
def main(config: DictConfig) -> None:
    """Run the command, see `unbraid.commands.prepare`."""
    from unbraid.commands.prepare import prepare  # heavy import, not needed for --help and --cfg

    prepare(config)


if __name__ == "__main__":
    main()
