"""Score a trained run, a folder of separated files or an oracle with a scoring protocol.

Example: `python scripts/evaluate.py run=RUN protocol=musdb18`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("evaluate")
def main(config: DictConfig) -> None:
    """Run the command, see `unbraid.commands.evaluate`."""
    from unbraid.commands.evaluate import evaluate  # heavy import, not needed for --help and --cfg

    evaluate(config)


if __name__ == "__main__":
    main()
