"""Make a W&B dashboard for a sweep whose runs used logger=wandb: `python scripts/dashboard.py sweep=SWEEP`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("dashboard")
def main(config: DictConfig) -> None:
    """Run the command, see `unbraid.commands.dashboard`."""
    from unbraid.commands.dashboard import dashboard  # heavy import, not needed for --help and --cfg

    dashboard(config)


if __name__ == "__main__":
    main()
