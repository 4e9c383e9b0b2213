"""Separate audio files into stems (vocals, drums, …): `python scripts/separate.py run=RUN input=song.mp3`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("separate")
def main(config: DictConfig) -> None:
    """Separate the files with the config of the command line. The function is in `unbraid.commands.separate`."""
    from unbraid.commands.separate import separate  # heavy import, not needed for --help and --cfg

    separate(config)


if __name__ == "__main__":
    main()
