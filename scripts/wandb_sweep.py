"""Write a search space of `train.py` as a YAML file for a sweep of Weights & Biases (W&B).

Example: `python scripts/wandb_sweep.py model=unet,unet_noskip 'optim.optimizer.lr=tag(log,interval(1e-4,1e-2))'`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("wandb_sweep")
def main(config: DictConfig) -> None:
    """Write the sweep with the config of the command line. The function is in `unbraid.commands.wandb_sweep`."""
    from unbraid.commands.wandb_sweep import wandb_sweep  # heavy import, not needed for --help and --cfg

    wandb_sweep(config)


if __name__ == "__main__":
    main()
