"""Read the config files of Music-Source-Separation-Training (MSST), and convert them to the config of a separator.

The files contain Python tags. The tag `!!python/tuple` is read as a list. All other tags are errors, so a file cannot run code.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unbraid.interop.msst.family import Family
from unbraid.runs.config import check
from unbraid.runs.documents import read_yaml
from unbraid.runs.errors import InputError
from unbraid.runs.files import check_name

RATE = 44100  # sample rate in Hz, if a config file does not contain a sample rate
MOST_OVERLAPS = 100  # largest num_overlap
KEY = "model.separator"  # of the separator in a config of unbraid
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
        join: method by which MSST joins the chunks, see `unbraid.inference.chunked.InferenceOptions`: `average` for Demucs
            networks, `weighted` for all others.
        normalize: whether a mixture is normalised by mean and standard deviation before the separation in chunks.
    """

    path: Path
    tree: Mapping[str, Any]
    targets: tuple[str, ...]
    sample_rate: int
    channels: int
    chunk_samples: int
    overlap: float
    join: str
    normalize: bool

    @property
    def options(self) -> dict[str, str]:
        """Options of unbraid that the config file implies, as texts: chunks, normalisation and target."""
        target = self.tree.get("training", {}).get("target_instrument")
        return {
            "chunk_seconds": f"{self.chunk_samples / self.sample_rate:.6g}",
            "overlap": f"{self.overlap:.3g}",
            "join": self.join,
            "normalisation": "song" if self.normalize else "none",
        } | ({} if target is None else {"target_instrument": target})

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
            error.raise_at(f"{self.path}, {error.where}")
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
        node |= {"normalisation": "song"} if self.normalize else {}
        with self.named_options(family):
            check(OmegaConf.create({"model": {"separator": node}}), _Tree)
        return node

    @contextmanager
    def named_options(self, family: Family) -> Iterator[None]:
        """Name this file and its option in errors about an argument of the network, in place of the argument.

        Args:
            family: family of the network.

        Yields:
            Nothing, for use in a `with` statement.

        Raises:
            InputError: the block has raised such an error.
        """
        try:
            yield
        except InputError as error:
            if not error.where.startswith(KEY):
                raise
            argument = re.split(r"\W+", error.where)[-1]
            if argument in signature(family.network).parameters:
                error.raise_at(f"{self.path}, {family.options.get(argument, f'model.{argument}')}")
            error.raise_at(f"{self.path}{error.where.removeprefix(KEY)}")


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
    sections = {"audio": audio, "model": model, "training": training, "inference": inference}
    rate = _whole(path, sections, ("audio.sample_rate", "training.samplerate", "model.sample_rate"), RATE)
    overlaps = _whole(path, sections, ("inference.num_overlap",), 2)
    if overlaps > MOST_OVERLAPS:
        where = f"{path}, inference.num_overlap"
        raise InputError(where, found=overlaps, expected=f"an integer of at most {MOST_OVERLAPS}")
    return MsstConfig(
        path=path,
        tree=tree,
        targets=_targets(path, training),
        sample_rate=rate,
        channels=_whole(path, sections, ("audio.num_channels", "training.channels"), 2),
        chunk_samples=_chunk(path, sections, rate, _is_demucs(tree)),
        overlap=1 - 1 / overlaps,
        join="average" if _is_demucs(tree) else "weighted",
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


def _is_demucs(tree: Mapping[str, Any]) -> bool:
    return isinstance(tree.get("model"), str)


def _chunk(path: Path, sections: Mapping[str, Mapping[str, Any]], rate: int, is_demucs: bool) -> int:
    """Return the length of a chunk in samples. In configs of Demucs, `training.segment` states this length in seconds."""
    if is_demucs and "segment" in sections["training"]:
        return rate * _whole(path, sections, ("training.segment",))
    return _whole(path, sections, ("inference.chunk_size", "audio.chunk_size"))


def _whole(path: Path, sections: Mapping[str, Mapping[str, Any]], keys: Sequence[str], default: int | None = None) -> int:
    """Return the value of the first key that the file contains, as an integer. InputError names this key."""
    found = [
        (key, sections[section][name]) for key in keys for section, _, name in [key.partition(".")] if name in sections[section]
    ]
    key, value = found[0] if found else (keys[-1], default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
        raise InputError(f"{path}, {key}", found=repr(value)[:80], expected="an integer of at least 1")
    return int(value)


@dataclass
class _Tree:
    model: dict[str, Any]
