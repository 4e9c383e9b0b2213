"""Decode a data set once and check its health: `python scripts/prepare.py data=musdb data.root=/path/to/musdb18`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("prepare")
def main(config: DictConfig) -> None:
    from unbraid.commands.prepare import prepare  # heavy imports stay out of --help and --cfg

    prepare(config)


if __name__ == "__main__":
    main()
