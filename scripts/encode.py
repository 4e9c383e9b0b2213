"""Write the codes that a trained autoencoder computes for sounds or images.

Example: `python scripts/encode.py run=RUN input=song.wav output=codes.npy`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("encode")
def main(config: DictConfig) -> None:
    """Run the command, see `unbraid.commands.encode`."""
    from unbraid.commands.encode import encode  # heavy import, not needed for --help and --cfg

    encode(config)


if __name__ == "__main__":
    main()
