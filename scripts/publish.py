"""Make one folder for others of a run: `python scripts/publish.py run=outputs/… output=folder`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("publish")
def main(config: DictConfig) -> None:
    from unbraid.commands.publish import publish  # heavy imports stay out of --help and --cfg

    publish(config)


if __name__ == "__main__":
    main()
