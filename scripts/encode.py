"""Compute the codes of audio files or images with a trained autoencoder, and write them to a file.

Example: `python scripts/encode.py run=RUN input=song.wav output=codes.npy`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("encode")
def main(config: DictConfig) -> None:
    """Write the codes with the config of the command line. The function is in `unbraid.commands.encode`."""
    from unbraid.commands.encode import encode  # heavy import, not needed for --help and --cfg

    encode(config)


if __name__ == "__main__":
    main()
