"""Separate songs in a web page that only this machine can open: `python scripts/app.py run=RUN`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("app")
def main(config: DictConfig) -> None:
    """Run the command, see `unbraid.commands.app`."""
    from unbraid.commands.app import app  # heavy import, not needed for --help and --cfg

    app(config)


if __name__ == "__main__":
    main()
