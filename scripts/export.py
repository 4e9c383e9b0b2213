"""Export a trained separator for use without unbraid, such as an ONNX file: `python scripts/export.py run=RUN`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("export")
def main(config: DictConfig) -> None:
    """Write the exported file with the config of the command line. The function is in `unbraid.commands.export`."""
    from unbraid.commands.export import export  # heavy import, not needed for --help and --cfg

    export(config)


if __name__ == "__main__":
    main()
