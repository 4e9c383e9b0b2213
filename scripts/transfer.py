"""Play the melody of an audio file, such as a singing voice, with a trained instrument (timbre transfer).

Example: `python scripts/transfer.py run=RUN input=voice.wav output=reed.wav`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("transfer")
def main(config: DictConfig) -> None:
    """Run the timbre transfer with the config of the command line. The function is in `unbraid.commands.transfer`."""
    from unbraid.commands.transfer import transfer  # heavy import, not needed for --help and --cfg

    transfer(config)


if __name__ == "__main__":
    main()
