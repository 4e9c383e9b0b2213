"""A W&B workspace for a sweep, as code: `python scripts/dashboard.py sweep=outputs/…`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("dashboard")
def main(config: DictConfig) -> None:
    from unbraid.commands.dashboard import dashboard  # heavy imports stay out of --help and --cfg

    dashboard(config)


if __name__ == "__main__":
    main()
