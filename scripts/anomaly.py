"""Find parts of an audio file that differ from the training data of a trained autoencoder.

Example: `python scripts/anomaly.py run=RUN input=song.wav`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("anomaly")
def main(config: DictConfig) -> None:
    """Run the search with the config of the command line. The function is in `unbraid.commands.anomaly`."""
    from unbraid.commands.anomaly import anomaly  # heavy import, not needed for --help and --cfg

    anomaly(config)


if __name__ == "__main__":
    main()
