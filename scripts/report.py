"""The ablation table and listening page of a sweep: `python scripts/report.py sweep=outputs/…`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("report")
def main(config: DictConfig) -> None:
    from unbraid.commands.report import report  # heavy imports stay out of --help and --cfg

    report(config)


if __name__ == "__main__":
    main()
