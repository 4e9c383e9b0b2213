"""Write a trained separator as one folder for others, with weights, config, scores and model card.

Example: `python scripts/publish.py run=RUN license=cc-by-nc-4.0`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("publish")
def main(config: DictConfig) -> None:
    """Run the command, see `unbraid.commands.publish`."""
    from unbraid.commands.publish import publish  # heavy import, not needed for --help and --cfg

    publish(config)


if __name__ == "__main__":
    main()
