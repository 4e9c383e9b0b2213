"""Write a report on a sweep, with tables of scores, plots and a listening page: `python scripts/report.py sweep=SWEEP`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("report")
def main(config: DictConfig) -> None:
    """Write the report with the config of the command line. The function is in `unbraid.commands.report`."""
    from unbraid.commands.report import report  # heavy import, not needed for --help and --cfg

    report(config)


if __name__ == "__main__":
    main()
