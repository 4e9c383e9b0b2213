"""Prepare: fill the store with a data set, and say how healthy the data set is."""

import hashlib
from dataclasses import dataclass

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from unbraid.commands.experiment import Experiment, check_experiment
from unbraid.data import health
from unbraid.data.listings import outline, section
from unbraid.data.module import MultitrackData
from unbraid.data.store import spell_size
from unbraid.data.tracks import SPLITS
from unbraid.runs.config import build, write_json
from unbraid.runs.errors import InputError
from unbraid.runs.text import echo


@dataclass
class Preparation(Experiment):
    """An experiment whose data is made ready, with one key more.

    Args:
        clean: drop what is stale in the store: entries of files that have changed or gone, and of older versions.
        dry_run: print which files each track has, and decode nothing.
    """

    clean: bool = False
    dry_run: bool = False


def prepare(config: DictConfig) -> None:
    """Decode what the store lacks, print the health report and write it to the cache."""
    chosen = HydraConfig.get().runtime.choices["data"]
    if "layout" not in config.data:
        raise InputError(f"data={chosen}: has no tracks to decode; train on it at once")
    check_experiment(config, Preparation)
    data: MultitrackData = build(config.data)
    if config.dry_run:
        _show_listing(data)
        return
    if config.clean:
        echo(f"dropped {spell_size(data.store.clean())} of stale entries")
    data.prepare_data()
    entries = [(track.name, track.split, track.health()) for track in data.stored() if not track.is_copy]
    found = health.findings(entries)
    echo(health.table(entries, found))
    for line in section("left out", [f"{name}: {reason}" for name, reason in data.left_out.items()], data.root):
        echo(line)
    for line in section("messages", data.messages, data.root):
        echo(line)
    place = data.cache_dir / "health" / f"{chosen}-{_short_hash(config, data)}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        place, health.report(entries, found) | {"root": str(data.root), "left_out": data.left_out, "messages": data.messages}
    )
    stale = data.store.stale()
    echo(f"\nstore   {data.store.folder}: {spell_size(data.store.size())} at all rates", end="")
    echo(f", {len(stale)} entries are stale: clean=true drops them" if stale else "")
    echo(f"report  {place}")
    data.setup("fit")  # what training would refuse: a split without tracks that can be used


def _show_listing(data: MultitrackData) -> None:
    """Print what is found under the root, and raise what training would refuse."""
    if data.download and not data.root.is_dir():
        raise InputError(
            "dry_run=true", "makes and downloads nothing", found=f"no {data.root}", hint="Prepare without it first"
        )
    listing = data.listing()
    echo(outline(listing, data.root), flush=True)
    data.check(listing, SPLITS)


def _short_hash(config: DictConfig, data: MultitrackData) -> str:
    """Of the root and of how it is read."""
    how = OmegaConf.to_yaml(config.data.layout, resolve=True, sort_keys=True)
    return hashlib.sha256(f"{data.root.resolve()} {how}".encode()).hexdigest()[:8]
