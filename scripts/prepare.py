"""Check the audio files of a data set, and decode them once into a cache folder for fast training.

Example: `python scripts/prepare.py data=musdb data.root=/path/to/musdb18`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("prepare")
def main(config: DictConfig) -> None:
    """Prepare the data set with the config of the command line. The function is in `unbraid.commands.prepare`."""
    from unbraid.commands.prepare import prepare  # heavy import, not needed for --help and --cfg

    prepare(config)


if __name__ == "__main__":
    main()
