"""A page in the browser that takes songs apart: `python scripts/app.py run=outputs/…`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("app")
def main(config: DictConfig) -> None:
    from unbraid.commands.app import app  # heavy imports stay out of --help and --cfg

    app(config)


if __name__ == "__main__":
    main()
