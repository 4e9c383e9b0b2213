"""Command `prepare`: decode a data set into the store (folder of decoded tracks) and report problems of the audio files."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from unbraid.commands.experiment import Experiment, check_experiment
from unbraid.data import health
from unbraid.data.decoding import check_headers
from unbraid.data.listings import outline, section
from unbraid.data.module import MultitrackData
from unbraid.data.store import spell_size
from unbraid.data.tracks import SPLITS, Track
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.runs.files import write_json
from unbraid.runs.text import echo


@dataclass
class PrepareConfig(Experiment):
    """Command-line keys of `scripts/prepare.py`, in addition to the keys of `Experiment`.

    Args:
        clean: True to delete outdated decoded tracks. A decoded track is outdated if its audio files have changed or are
            missing, or if an older version of unbraid decoded it.
        verify: True to compare all decoded tracks of the data set with their checksums, and to decode damaged tracks again.
        dry_run: True to print only the list of tracks and files, and the errors in their headers, without decoding.
    """

    clean: bool = False
    verify: bool = False
    dry_run: bool = False


def prepare(config: DictConfig) -> None:
    """Decode the tracks that are not decoded yet. Print a report about problems of the audio, and write the report as JSON.

    Args:
        config: composed config, see `PrepareConfig`.

    Raises:
        InputError: the data set contains no audio tracks (such as a data set of images), cannot be read, or has a split without
            tracks.
    """
    chosen = HydraConfig.get().runtime.choices["data"]
    if "layout" not in config.data:
        raise InputError(
            f"data={chosen}", "this data set contains no audio tracks to decode", hint="Start training without this step"
        )
    check_experiment(config, PrepareConfig)
    data: MultitrackData = build(config.data)
    if config.dry_run:
        _show_listing(data)
        return
    if config.clean:
        echo(f"deleted {spell_size(data.store.clean())} of stale entries")
    damaged = data.collection.drop_damaged() if config.verify else None
    data.prepare_data()
    if damaged is not None:
        _show_damaged(data, damaged)
    entries = [(track.name, track.split, track.health()) for track in data.stored() if not track.is_copy]
    findings = health.findings(entries)
    echo(health.table(entries, findings))
    for line in section("left out", [f"{name}: {reason}" for name, reason in data.left_out.items()], data.root):
        echo(line)
    for line in section("messages", data.messages, data.root):
        echo(line)
    path = data.cache_dir / "health" / f"{chosen}-{_short_hash(config, data)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path, health.report(entries, findings) | {"root": str(data.root), "left_out": data.left_out, "messages": data.messages}
    )
    stale = data.store.stale()
    echo(f"\nstore   {data.store.folder}: {spell_size(data.store.size())} at all rates", end="")
    echo(f". {len(stale)} entries are stale, clean=true deletes them" if stale else "")
    echo(f"report  {path}")
    data.setup("fit")  # raises the errors of training, such as a split without tracks


def _show_damaged(data: MultitrackData, damaged: Sequence[Track]) -> None:
    """Print the number and the names of the tracks that were damaged in the store, and that were decoded again."""
    echo(f"verified {len(data.stored())} decoded tracks: {len(damaged)} were damaged or had no checksum")
    for line in section("decoded again", [track.name for track in damaged], data.root):
        echo(line)


def _show_listing(data: MultitrackData) -> None:
    """Print the tracks and files in the data folder, and check the headers of the files.

    InputError is raised if training cannot use this folder.
    """
    if data.download and not data.root.is_dir():
        problem = "the data set does not exist yet, and a dry run does not download or render it"
        raise InputError(f"data.root={data.root}", problem, hint="Run this command once without dry_run=true")
    listing = data.listing()
    faults, _ = check_headers(listing.tracks, progress=True)
    listing = replace(listing, refused=[*listing.refused, *faults])
    echo(outline(listing, data.root), flush=True)
    if listing.refused:
        found = f"{len(listing.refused)} errors"
        hint = "They are listed above, below the line `to be resolved`"
        raise InputError(f"data.root={data.root}", "training cannot use this data set", found=found, hint=hint)
    data.check(listing, SPLITS)


def _short_hash(config: DictConfig, data: MultitrackData) -> str:
    """Return a hash of the data folder and the layout options, for the file name of the report."""
    layout = OmegaConf.to_yaml(config.data.layout, resolve=True, sort_keys=True)
    return hashlib.sha256(f"{data.root.resolve()} {layout}".encode()).hexdigest()[:8]
