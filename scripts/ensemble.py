"""Combine trained separators into an ensemble, a run folder that works like every other run.

Example: `python scripts/ensemble.py runs=[RUN1,RUN2] output=FOLDER`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("ensemble")
def main(config: DictConfig) -> None:
    """Build the ensemble with the config of the command line. The function is in `unbraid.commands.ensemble`."""
    from unbraid.commands.ensemble import ensemble  # heavy import, not needed for --help and --cfg

    ensemble(config)


if __name__ == "__main__":
    main()
