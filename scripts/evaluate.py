"""Score a trained run, a folder of separated audio files, or an oracle (ideal mask) with a scoring protocol.

Example: `python scripts/evaluate.py run=RUN protocol=musdb18`.
"""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("evaluate")
def main(config: DictConfig) -> None:
    """Compute the scores with the config of the command line. The function is in `unbraid.commands.evaluate`."""
    from unbraid.commands.evaluate import evaluate  # heavy import, not needed for --help and --cfg

    evaluate(config)


if __name__ == "__main__":
    main()
