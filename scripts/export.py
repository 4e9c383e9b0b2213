"""A trained separator for other software: `python scripts/export.py run=outputs/… format=onnx`."""

from omegaconf import DictConfig

from unbraid.commands.cli import hydra_command


@hydra_command("export")
def main(config: DictConfig) -> None:
    from unbraid.commands.export import export  # heavy imports stay out of --help and --cfg

    export(config)


if __name__ == "__main__":
    main()
