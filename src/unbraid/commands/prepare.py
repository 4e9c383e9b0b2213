"""Prepare: fill the store with a data set, and say how healthy the data set is."""

import hashlib
from dataclasses import dataclass

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from unbraid.commands.experiment import Experiment, check_experiment
from unbraid.data import health
from unbraid.data.module import MultitrackData
from unbraid.data.store import GIGABYTE
from unbraid.runs import build, write_json


@dataclass
class Preparation(Experiment):
    """An experiment whose data is made ready, with one key more.

    Args:
        clean: drop what is stale in the store: entries of files that have changed or gone, and of older versions.
    """

    clean: bool = False


def prepare(config: DictConfig) -> None:
    """Decode what the store lacks, print the health report and write it to the cache."""
    check_experiment(config, Preparation)
    data: MultitrackData = build(config.data)
    if config.clean:
        print(f"dropped {data.store.clean() / GIGABYTE:.2f} GB of stale entries")
    data.prepare_data()
    entries = [(track.name, track.split, track.health()) for track in data.stored() if not track.is_copy]
    found = health.findings(entries)
    print(health.table(entries, found))
    if data.left_out:
        print(f"\nleft out ({len(data.left_out)} tracks)")
        for name, reason in data.left_out.items():
            print(f"  {name}: {reason}")
    place = data.cache_dir / "health" / f"{HydraConfig.get().runtime.choices['data']}-{_short_hash(data)}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, health.report(entries, found) | {"root": str(data.root), "left_out": data.left_out})
    stale = data.store.stale()
    print(f"\nstore   {data.store.folder}: {data.store.size() / GIGABYTE:.2f} GB at all rates", end="")
    print(f", {len(stale)} entries are stale: clean=true drops them" if stale else "")
    print(f"report  {place}")


def _short_hash(data: MultitrackData) -> str:
    return hashlib.sha256(str(data.root.resolve()).encode()).hexdigest()[:8]
