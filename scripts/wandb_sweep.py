"""A search space as a sweep of W&B: `python scripts/wandb_sweep.py model=unet,unet_noskip seed=0,1,2`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("wandb_sweep")
def main(config: DictConfig) -> None:
    from unbraid.commands.wandb_sweep import wandb_sweep  # heavy imports stay out of --help and --cfg

    wandb_sweep(config)


if __name__ == "__main__":
    main()
