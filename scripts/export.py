"""Export a trained separator for other software: `python scripts/export.py run=RUN format=onnx`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("export")
def main(config: DictConfig) -> None:
    """Run the command, see `unbraid.commands.export`."""
    from unbraid.commands.export import export  # heavy import, not needed for --help and --cfg

    export(config)


if __name__ == "__main__":
    main()
