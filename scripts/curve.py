"""Compute a reference curve from runs with different seeds: `python scripts/curve.py sweep=SWEEP output=curve.yaml`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("curve")
def main(config: DictConfig) -> None:
    """Compute the curve with the config of the command line. The function is in `unbraid.commands.curve`."""
    from unbraid.commands.curve import curve  # heavy import, not needed for --help and --cfg

    curve(config)


if __name__ == "__main__":
    main()
