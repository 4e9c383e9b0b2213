"""Score a run, separated files or an oracle under a protocol: `python scripts/evaluate.py run=outputs/… protocol=musdb18`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("evaluate")
def main(config: DictConfig) -> None:
    from unbraid.commands.evaluate import evaluate  # heavy imports stay out of --help and --cfg

    evaluate(config)


if __name__ == "__main__":
    main()
