"""Write a trained separator as a folder that can be published, with weights, config, scores and model card.

Example: `python scripts/publish.py run=RUN license=cc-by-nc-4.0`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("publish")
def main(config: DictConfig) -> None:
    """Write the folder with the config of the command line. The function is in `unbraid.commands.publish`."""
    from unbraid.commands.publish import publish  # heavy import, not needed for --help and --cfg

    publish(config)


if __name__ == "__main__":
    main()
