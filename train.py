"""Train a model on a data set, then score its best checkpoint on the test tracks: `python train.py model=unet data=musdb`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("train")
def main(config: DictConfig) -> None:
    from unbraid.commands.train import train  # heavy imports stay out of --help and --cfg

    train(config)


if __name__ == "__main__":
    main()
