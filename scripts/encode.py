"""Write the codes of a trained autoencoder: `python scripts/encode.py run=outputs/… input=song.wav output=codes.npy`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("encode")
def main(config: DictConfig) -> None:
    from unbraid.commands.encode import encode  # heavy imports stay out of --help and --cfg

    encode(config)


if __name__ == "__main__":
    main()
