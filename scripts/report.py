"""Make the table, the plots and the listening page of a sweep: `python scripts/report.py sweep=SWEEP`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("report")
def main(config: DictConfig) -> None:
    """Run the command, see `unbraid.commands.report`."""
    from unbraid.commands.report import report  # heavy import, not needed for --help and --cfg

    report(config)


if __name__ == "__main__":
    main()
