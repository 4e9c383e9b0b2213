"""Start a web page on this machine with which its user separates songs: `python scripts/app.py run=RUN`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("app")
def main(config: DictConfig) -> None:
    """Start the web page with the config of the command line. The function is in `unbraid.commands.app`."""
    from unbraid.commands.app import app  # heavy import, not needed for --help and --cfg

    app(config)


if __name__ == "__main__":
    main()
