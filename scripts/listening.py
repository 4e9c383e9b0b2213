"""Make a MUSHRA listening test, or compute its results: `python scripts/listening.py sweep=SWEEP`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("listening")
def main(config: DictConfig) -> None:
    """Make or evaluate the test with the config of the command line. The function is in `unbraid.commands.listening`."""
    from unbraid.commands.listening import listening  # heavy import, not needed for --help and --cfg

    listening(config)


if __name__ == "__main__":
    main()
