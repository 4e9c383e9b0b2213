"""Play one voice by a trained instrument: `python scripts/transfer.py run=outputs/… input=voice.wav output=reed.wav`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("transfer")
def main(config: DictConfig) -> None:
    from unbraid.commands.transfer import transfer  # heavy imports stay out of --help and --cfg

    transfer(config)


if __name__ == "__main__":
    main()
