"""Take audio files apart: `python scripts/separate.py run=outputs/… input=song.mp3`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("separate")
def main(config: DictConfig) -> None:
    from unbraid.commands.separate import separate  # heavy imports stay out of --help and --cfg

    separate(config)


if __name__ == "__main__":
    main()
