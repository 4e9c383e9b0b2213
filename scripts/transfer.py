"""Play one voice of an audio file with an instrument that was trained on another voice.

Example: `python scripts/transfer.py run=RUN input=voice.wav output=reed.wav`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("transfer")
def main(config: DictConfig) -> None:
    """Run the command, see `unbraid.commands.transfer`."""
    from unbraid.commands.transfer import transfer  # heavy import, not needed for --help and --cfg

    transfer(config)


if __name__ == "__main__":
    main()
