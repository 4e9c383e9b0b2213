"""Pages of W&B that tests make: offline, by the real wandb, read back by its own reader."""

import time

import pytest

from unbraid.training.loggers.wandb_page import records

KEYS = ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_SWEEP_ID", "WANDB_RUN_ID")


@pytest.fixture(autouse=True)
def _own_wandb(tmp_path, monkeypatch):
    """Nobody's key, and nothing left in anybody's home."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb"))


def pages(folder):
    """All records of each offline file of a run folder, the first one first; whole once the exit is recorded."""
    return [whole(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]


def whole(path):
    """Its records, once the exit is among them: the process ends a moment before the file does."""
    for _ in range(100):
        found = list(records(path))
        if any("exit" in record for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} has no exit: {[record['type'] for record in found]}")


def history(page):
    """What was logged, by step."""
    return {record["history"]["item"]["_step"]: record["history"]["item"] for record in page if "history" in record}


def header(page):
    (found,) = (record["run"] for record in page if record["type"] == "run")
    return found


def exit_code(page):
    (found,) = (record["exit"].get("exit_code", 0) for record in page if "exit" in record)
    return found


def summary(page):
    return {key: value for record in page if "summary" in record for key, value in record["summary"].get("update", {}).items()}
