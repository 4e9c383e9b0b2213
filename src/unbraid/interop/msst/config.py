"""Read the config files of Music-Source-Separation-Training (MSST), and convert them to the config of a separator.

The files contain Python tags. The tag `!!python/tuple` is read as a list. All other tags are errors, so a file cannot run code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unbraid.interop.msst.family import Family
from unbraid.runs.documents import read_yaml
from unbraid.runs.errors import InputError
from unbraid.runs.files import check_name

RATE = 44100  # sample rate in Hz, if a config file does not contain a sample rate
MOST_OVERLAP = 0.75  # largest overlap of `unbraid.inference.chunked`; num_overlap=4
SEPARATOR = "unbraid.models.separators.waveform.WaveformSeparator"


@dataclass(frozen=True)
class MsstConfig:
    """Store the content of an MSST config file. Values that all network families use are also stored as attributes.

    Args:
        path: path of the file.
        tree: whole content of the file.
        targets: names of the stems that the network estimates: `target_instrument`, or all `instruments`.
        sample_rate: sample rate in Hz.
        channels: number of channels.
        chunk_samples: length of a chunk in samples.
        overlap: share of a chunk that overlaps with the next chunk.
        normalize: whether a mixture is normalised by mean and standard deviation before the separation in chunks.
    """

    path: Path
    tree: Mapping[str, Any]
    targets: tuple[str, ...]
    sample_rate: int
    channels: int
    chunk_samples: int
    overlap: float
    normalize: bool

    def separator(self, family: Family) -> dict[str, Any]:
        """Return the config node of the separator that the config file describes.

        Args:
            family: family of the network.

        Returns:
            Config node with the key `_target_`.

        Raises:
            InputError: the network does not support an option, or an option is missing or has a wrong type.
        """
        network = family.network
        try:
            arguments = family.arguments(self.tree)
        except InputError as error:
            where = f"{self.path}, {error.where}"
            raise InputError(where, error.problem, found=error.found, expected=error.expected, hint=error.hint) from error
        except KeyError as error:
            raise InputError(self.path, f"the file lacks the section or option {error} of {network.__name__}") from error
        except (TypeError, AttributeError, IndexError) as error:
            problem = f"an option of {network.__name__} has a wrong type ({type(error).__name__}: {str(error)[:200]})"
            raise InputError(self.path, problem) from error
        node = {
            "_target_": SEPARATOR,
            "net": {"_target_": f"{network.__module__}.{network.__qualname__}", "_partial_": True} | arguments,
            "targets": [*self.targets],
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "chunk_seconds": self.chunk_samples / self.sample_rate,
        }
        return node | ({"normalisation": "song"} if self.normalize else {})


def read_msst_config(path: Path) -> MsstConfig:
    """Read and check a config file of MSST.

    Args:
        path: yaml file.

    Returns:
        Content of the file.

    Raises:
        InputError: the file is missing or invalid, contains a tag other than `!!python/tuple`, or lacks a required value.
    """
    try:
        tree = read_yaml(path, tuples=True)
    except OSError as error:
        raise InputError(f"config={path}", f"this file cannot be read ({error.strerror})") from error
    if not isinstance(tree, dict):
        problem = "this is not a config file of MSST"
        raise InputError(path, problem, found=type(tree).__name__, expected="a mapping (key: value)")
    audio, model, training, inference = (_section(path, tree, name) for name in ("audio", "model", "training", "inference"))
    rate = _whole(path, "sample_rate", audio.get("sample_rate", training.get("samplerate", model.get("sample_rate", RATE))))
    overlaps = _whole(path, "inference.num_overlap", inference.get("num_overlap", 2))
    return MsstConfig(
        path=path,
        tree=tree,
        targets=_targets(path, training),
        sample_rate=rate,
        channels=_whole(path, "channels", audio.get("num_channels", training.get("channels", 2))),
        chunk_samples=_chunk(path, tree, rate),
        overlap=min(1 - 1 / overlaps, MOST_OVERLAP),
        normalize=inference.get("normalize") is True,
    )


def _section(path: Path, tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = tree.get(name, {})
    if name == "model" and isinstance(value, str):  # configs of Demucs: the name of the section with the options
        value = tree.get(value, {})
    if not isinstance(value, dict):
        raise InputError(f"{path}, {name}", found=type(value).__name__, expected="a mapping (key: value)")
    return value


def _targets(path: Path, training: Mapping[str, Any]) -> tuple[str, ...]:
    names, target = training.get("instruments"), training.get("target_instrument")
    if target is not None:
        names = [target]
    if not isinstance(names, list) or not names or len({*map(str, names)}) < len(names):
        expected = "a list of different names of stems"
        raise InputError(f"{path}, training.instruments", found=repr(names)[:80], expected=expected)
    for name in names:
        check_name(f"{path}, training.instruments", name)
    return tuple(names)


def _chunk(path: Path, tree: Mapping[str, Any], rate: int) -> int:
    """Return the length of a chunk in samples. In configs of Demucs, `training.segment` states this length in seconds."""
    audio, training, inference = (_section(path, tree, name) for name in ("audio", "training", "inference"))
    if isinstance(tree.get("model"), str) and "segment" in training:
        return rate * _whole(path, "training.segment", training["segment"])
    return _whole(path, "audio.chunk_size", inference.get("chunk_size", audio.get("chunk_size")))


def _whole(path: Path, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
        raise InputError(f"{path}, {key}", found=repr(value)[:80], expected="an integer of at least 1")
    return int(value)
