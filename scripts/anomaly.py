"""Find what an autoencoder was not trained on: `python scripts/anomaly.py run=outputs/… input=song.wav`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("anomaly")
def main(config: DictConfig) -> None:
    from unbraid.commands.anomaly import anomaly  # heavy imports stay out of --help and --cfg

    anomaly(config)


if __name__ == "__main__":
    main()
