"""Find parts of a sound that differ from the training data of an autoencoder.

Example: `python scripts/anomaly.py run=RUN input=song.wav`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("anomaly")
def main(config: DictConfig) -> None:
    """Run the command, see `unbraid.commands.anomaly`."""
    from unbraid.commands.anomaly import anomaly  # heavy import, not needed for --help and --cfg

    anomaly(config)


if __name__ == "__main__":
    main()
