"""Publish: a trained separator as one folder that others load, and that the Hugging Face hub takes as it is.

`model.safetensors`, `config.yaml` without paths, `scores.json` where the run has been scored, and `README.md`, the model card.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from unbraid.inference.loading import PUBLISHED_WEIGHTS, Loaded, load_separator
from unbraid.interop.published import safetensors
from unbraid.models.separators.base import Separator
from unbraid.runs.config import check, checkpoint_path, own_config, versions, write_json
from unbraid.runs.errors import InputError
from unbraid.runs.metrics_reader import figures
from unbraid.runs.records import own_choices, redact_paths, strip_launch_keys
from unbraid.runs.scores import read_scores
from unbraid.runs.text import echo, markdown, one_line

# What is known of the music that a model has heard; docs/data.md says more.
LICENCES = {
    "demo": "Songs that unbraid renders itself: nobody else has rights in them.",
    "musdb": "MUSDB18, for academic use; the licence differs from song to song, see https://sigsep.github.io/datasets/musdb.html.",
    "ikala": "iKala, under the terms that it came with.",
    "mir1k": "MIR-1K, under the terms that it came with.",
    "medleydb": "MedleyDB, under the terms that it came with.",
    "moisesdb": "MoisesDB, CC BY-NC-SA 4.0.",
    "slakh": "Slakh2100, CC BY 4.0.",
    "dnr": "Divide and Remaster, under the terms that it came with.",
    "urmp": "URMP, under the terms that it came with.",
}
UNKNOWN_LICENCE = "Files of whoever trained it; their licence is not recorded."
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass
class Publication:
    """What to write.

    Args:
        run: folder of a trained run.
        checkpoint: of the run: best, last or a file.
        output: folder that is made; None: one in the run.
        license: of the weights, by the name that the hub has for it.
    """

    run: str | None
    checkpoint: str
    output: str | None
    license: str


def publish(config: DictConfig) -> None:
    """Write the folder, whole or not at all.

    Raises:
        InputError: there is no such run, the output is there already, or safetensors is not installed.
    """
    check(config, Publication)
    if config.run is None:
        raise InputError("run has no default and must be given: run=FOLDER")
    if not LICENSE.fullmatch(config.license):
        raise InputError(f"license={config.license}: expected the hub's name of one, such as mit or cc-by-nc-4.0")
    run = Path(config.run).expanduser()
    output = run / "published" if config.output is None else Path(config.output).expanduser()
    if output.exists():
        raise InputError(f"output={output}: is there already; choose another name or remove it")
    if (run / PUBLISHED_WEIGHTS).is_file():
        raise InputError(f"run={run}: is published already, expected the folder of a run")
    own_config(run), checkpoint_path(run, config.checkpoint)
    loaded = load_separator(run, config.checkpoint, "cpu")
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=output.parent) as partial:
        folder = Path(partial) / output.name
        folder.mkdir()
        _write(loaded, folder, config.license)
        folder.rename(output)
    echo(f"published  {output}: unbraid.load('{output}')")


def _write(loaded: Loaded, folder: Path, license_name: str) -> None:
    separator, own = loaded.model, loaded.config
    assert isinstance(separator, Separator) and own is not None
    tensors = {name: tensor.contiguous().clone() for name, tensor in separator.state_dict().items()}
    safetensors()[0].save_file(tensors, folder / PUBLISHED_WEIGHTS, {"format": "pt", "unbraid": versions()["unbraid"]})
    (folder / PUBLISHED_WEIGHTS).chmod(0o644)  # safetensors makes it the user's alone
    tree: Any = OmegaConf.to_container(own)
    init = None if tree.get("init") is None else Path(str(tree["init"])).name
    OmegaConf.save(OmegaConf.create(redact_paths(strip_launch_keys(tree)) | {"init": init}), folder / "config.yaml")
    scores = _scores(loaded.folder)
    if scores:
        write_json(folder / "scores.json", scores)
    choices = own_choices(loaded.folder)
    (folder / "README.md").write_text(_card(separator, choices, scores, license_name))


def _scores(run: Path) -> dict[str, Any] | None:
    """Of the run's own `scores.json`, with the checkpoint's name and not its place; None where there are none."""
    path = run / "scores.json"
    if not path.is_file():
        return None
    scores = read_scores(path)
    return {**scores, "checkpoint": Path(str(scores.get("checkpoint", ""))).name}


def _card(separator: Separator, choices: Mapping[str, str], scores: Mapping[str, Any] | None, license_name: str) -> str:
    model, data = (str(choices.get(group, "unknown")) for group in ("model", "data"))
    heard = f"{separator.sample_rate} Hz {'mono' if separator.channels == 1 else 'stereo'}"
    parameters = f"{sum(parameter.numel() for parameter in separator.parameters()):,} parameters"
    facts = {
        "license": license_name, "library_name": "unbraid", "pipeline_tag": "audio-to-audio",
        "tags": ["music-source-separation", one_line(model)],
    }  # fmt: skip
    return f"""---
{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---

# {markdown(model)}, trained on {markdown(data)}

Takes {markdown(", ".join(separator.targets))} out of music. It hears {heard} and has {parameters}.

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
    """Of the summary, and the protocol that it is of."""
    if not scores:
        return "It has not been scored."
    try:
        rows = [
            f"| {markdown(target)} | {markdown(measure)} | {'undefined' if value is None else f'{value:.2f} dB'} |"
            for (target, measure), value in figures(scores).items()
        ]
        protocol = ", ".join(f"{key} {value}" for key, value in scores["protocol"].items() if not isinstance(value, dict))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError("scores.json: is of another version, it has no summary or no protocol") from error
    return "\n".join(["| target | measure | value |", "|---|---|---|", *rows, "", f"Protocol: {markdown(protocol)}."])
