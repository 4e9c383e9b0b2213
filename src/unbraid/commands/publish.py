"""Command `publish`: write a trained separator as a folder for `unbraid.load` and for the Hugging Face hub.

The folder contains `model.safetensors`, `config.yaml` without paths of this machine, `scores.json` if the run has scores,
and the model card `README.md`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from unbraid.commands.keys import check_new, require
from unbraid.inference.loading import Loaded, load_separator
from unbraid.interop.initial import Init
from unbraid.interop.origins import CONFIG_KEY, PUBLISHED_WEIGHTS, config_text
from unbraid.interop.published import safetensors
from unbraid.models.separators.base import Separator
from unbraid.runs.config import check, own_config
from unbraid.runs.errors import InputError
from unbraid.runs.files import rename_synced, write_json
from unbraid.runs.metrics_reader import figures
from unbraid.runs.records import own_choices, strip_launch_keys
from unbraid.runs.scores import read_scores
from unbraid.runs.source_version import versions
from unbraid.runs.text import echo, markdown, one_line, redact_paths
from unbraid.runs.weights import named_checkpoint

# Licences of the data sets, by the name of their config. See docs/reference/data_sets.md.
LICENCES = {
    "demo": "Songs that unbraid renders itself, without rights of third parties.",
    "musdb": "MUSDB18, for academic use; the licence differs from song to song, see https://sigsep.github.io/datasets/musdb.html.",
    "ikala": "iKala, under its own terms.",
    "mir1k": "MIR-1K, under its own terms.",
    "medleydb": "MedleyDB, under its own terms.",
    "moisesdb": "MoisesDB, CC BY-NC-SA 4.0.",
    "slakh": "Slakh2100, CC BY 4.0.",
    "dnr": "Divide and Remaster, under its own terms.",
    "urmp": "URMP, under its own terms.",
}
UNKNOWN_LICENCE = "The licence of the training data is not recorded."
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass
class PublishConfig:
    """Command-line keys of `scripts/publish.py`.

    Args:
        run: folder of a trained run.
        checkpoint: checkpoint of the run: best, last, ema or a file.
        plugins: packages whose classes the model may use, see `unbraid.runs.plugins`.
        output: output folder; None: `published` in the run folder.
        license: license of the weights, as an identifier of the Hugging Face hub such as `mit`.
    """

    run: str | None
    checkpoint: str
    plugins: list[str]
    output: str | None
    license: str


def publish(config: DictConfig) -> None:
    """Write a trained separator as a published folder. The folder has a temporary name until it is complete.

    Args:
        config: composed config, see `PublishConfig`.

    Raises:
        InputError: the run cannot be loaded, the output already exists, or safetensors is not installed.
    """
    check(config, PublishConfig)
    require(config, run="FOLDER")
    if not LICENSE.fullmatch(config.license):
        expected = "a license name of the Hugging Face hub, such as mit or cc-by-nc-4.0"
        raise InputError("license", found=config.license, expected=expected)
    run = Path(config.run).expanduser()
    output = run / "published" if config.output is None else Path(config.output).expanduser()
    check_new("output", output)
    if (run / PUBLISHED_WEIGHTS).is_file():
        raise InputError(f"run={run}", "this folder is already a published folder", expected="a run folder")
    own_config(run)
    loaded = load_separator(run, config.checkpoint, "cpu")
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=output.parent) as partial:
        folder = Path(partial) / output.name
        folder.mkdir()
        _write(loaded, config.checkpoint, folder, config.license)
        rename_synced(folder, output)
    echo(f"published  {output}: unbraid.load('{output}')")


def _write(loaded: Loaded, checkpoint: str, folder: Path, license_name: str) -> None:
    separator, run_config = loaded.model, loaded.config
    assert isinstance(separator, Separator) and run_config is not None
    public = _public(run_config)
    metadata = {"format": "pt", "unbraid": versions()["unbraid"], CONFIG_KEY: config_text(public)}
    tensors = {name: tensor.contiguous().clone() for name, tensor in separator.state_dict().items()}
    safetensors()[0].save_file(tensors, folder / PUBLISHED_WEIGHTS, metadata)
    (folder / PUBLISHED_WEIGHTS).chmod(0o644)  # safetensors makes it readable for the user only
    OmegaConf.save(OmegaConf.create(public), folder / "config.yaml")
    scores = _scores(loaded.folder, checkpoint)
    if scores:
        write_json(folder / "scores.json", scores)
    choices = own_choices(loaded.folder)
    (folder / "README.md").write_text(_card(separator, choices, scores, license_name))


def _public(run_config: DictConfig) -> dict[str, Any]:
    """Return the config of a run without launch options and without paths of this machine."""
    tree: Any = OmegaConf.to_container(run_config)
    init = Init.of(tree.get("init"))
    names = {key: None if value is None else Path(value).name for key, value in (("path", init.path), ("config", init.config))}
    public: dict[str, Any] = redact_paths(strip_launch_keys(tree)) | {"init": vars(init) | names}
    return public


def _scores(run: Path, checkpoint: str) -> dict[str, Any] | None:
    """Return the content of a run's `scores.json`; None if the file is missing, or has the scores of another checkpoint.

    The path of the checkpoint is shortened to the file name, so that no folder of this machine is published.
    """
    path = run / "scores.json"
    if not path.is_file():
        return None
    scores = read_scores(path)
    name = Path(str(scores.get("checkpoint", ""))).name
    return {**scores, "checkpoint": name} if name == named_checkpoint(run, checkpoint).name else None


def _card(separator: Separator, choices: Mapping[str, str], scores: Mapping[str, Any] | None, license_name: str) -> str:
    model, data = (str(choices.get(group, "unknown")) for group in ("model", "data"))
    audio_format = f"{separator.sample_rate} Hz {'mono' if separator.channels == 1 else 'stereo'}"
    parameters = f"{sum(parameter.numel() for parameter in separator.parameters()):,} parameters"
    facts = {
        "license": license_name, "library_name": "unbraid", "pipeline_tag": "audio-to-audio",
        "tags": ["music-source-separation", one_line(model)],
    }  # fmt: skip
    return f"""---
{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---

# {markdown(model)}, trained on {markdown(data)}

Separates {markdown(", ".join(separator.targets))} from music. It processes {audio_format} audio and has {parameters}.

```python
import unbraid

stems = unbraid.load("folder with these files").separate(waveform, sample_rate)
```

    unbraid separate run=FOLDER input=song.mp3

## Data

{LICENCES.get(data, UNKNOWN_LICENCE)}

## Scores

{_table(scores)}
"""


def _table(scores: Mapping[str, Any] | None) -> str:
    """Return a Markdown table with a score for each target and measure, followed by a description of the scoring protocol."""
    if not scores:
        return "Scores of this model are missing."
    try:
        rows = [
            f"| {markdown(target)} | {markdown(measure)} | {'undefined' if value is None else f'{value:.2f} dB'} |"
            for (target, measure), value in figures(scores).items()
        ]
        protocol = ", ".join(f"{key} {value}" for key, value in scores["protocol"].items() if not isinstance(value, dict))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "scores.json", "the file lacks a summary or a protocol", hint="Score the run again with scripts/evaluate.py"
        ) from error
    return "\n".join(["| target | measure | value |", "|---|---|---|", *rows, "", f"Protocol: {markdown(protocol)}."])
