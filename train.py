"""Train a model on a data set, then score its best checkpoint on the test tracks: `python train.py model=unet data=musdb`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("train")
def main(config: DictConfig) -> None:
    """Train and score with the config of the command line. The function is in `unbraid.commands.train`."""
    from unbraid.commands.train import train  # heavy import, not needed for --help and --cfg

    train(config)


if __name__ == "__main__":
    main()
