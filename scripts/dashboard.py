"""Make a W&B dashboard for a sweep whose runs used logger=wandb: `python scripts/dashboard.py sweep=SWEEP`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("dashboard")
def main(config: DictConfig) -> None:
    """Make the dashboard with the config of the command line. The function is in `unbraid.commands.dashboard`."""
    from unbraid.commands.dashboard import dashboard  # heavy import, not needed for --help and --cfg

    dashboard(config)


if __name__ == "__main__":
    main()
